// What was measured besides: kinds of lesions side by side, classes, trade-off, pairs, checks.

function drawMore() {
  offer("beside", data.families.length > 1);
  redraw(["answer", "family", "target"], drawBeside);
  if (offer("classes", data.classes)) redraw(["family", "target"], drawClasses);
  if (offer("tradeoff", data.tradeoff.length)) drawTradeoff();
  if (offer("pairs", data.pairs.length)) drawPairs();
  if (offer("checks", data.checks.length)) drawChecks();
}

/** Show a section and the way to it, if there is something in it. */
function offer(name, there) {
  at(`${name}-section`).hidden = !there;
  document.querySelector(`nav a[href="#${name}-section"]`).parentElement.hidden = !there;
  return there;
}

/** Of each layer what it stands of every kind of damage at the chosen tolerance. */
function drawBeside() {
  if (data.families.length < 2) return;
  const tolerance = answer().max_drop;
  const asked = data.families.map((of) => of.answers.find((each) => each.max_drop === tolerance));
  const measured = data.layers.map((_, layer) => layer)
    .filter((layer) => data.families.some((of) => targetOf(layer, of) !== null));
  const head = data.families.map((of) => el("th", { scope: "col" }, named(shortened(of.name, 60))));
  const rows = measured.map((layer) =>
    el("tr", { class: layer === state.layer ? "chosen" : "", onclick: () => chooseLayer(layer) },
      el("th", { scope: "row", title: data.layers[layer].name },
        named(`${data.layers[layer].number ?? ""} ${data.layers[layer].name}`.trim())),
      data.families.map((of, place) => besideCell(layer, of, asked[place]))));
  replace("beside", el("table", { class: "heat beside" },
    title(`The most harmful amount that is safe at ${family().tolerance_texts[state.answer]}, and the stored bytes that it saves of the layers it changes`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "layer"), head)),
    el("tbody", {}, rows)));
}

function besideCell(layer, of, at) {
  const target = targetOf(layer, of);
  if (target === null) return el("td", { class: "blank", title: "not measured" }, "–");
  const known = at && verdict(target, of, at);
  if (!known) return el("td", { class: "blank", title: "no advice at this tolerance" }, "?");
  if (known.status !== "safe") {
    const node = el("td", { class: known.status === "undecided" ? "blank" : "loss" },
      known.status === "undecided" ? "?" : "none");
    node.style.setProperty("--level", 1);
    return node;
  }
  const cell = of.curves[target].find((each) => of.amounts[each.at] === known.rate);
  const saved = cell && cell.bytes !== null && cell.bytes !== undefined ? ` (${number(cell.bytes, 0)} %)` : "";
  const node = el("td", { class: "loss" }, `${known.stands}${saved}`);
  node.style.setProperty("--level", sensitivity(target, of, at).toFixed(3));
  return node;
}

function drawClasses() {
  if (state.target === null) {
    replace("classes", el("p", { class: "soft" }, "Choose a layer to see which classes it hurts."));
    return;
  }
  const { name, kind } = family().targets[state.target];
  const drops = data.classes.drops[state.family];
  const rows = family().curves[state.target].map((cell) => {
    const amount = family().amounts[cell.at];
    return [cell.at, drops[`${kind}/${name}/${Number(amount.toPrecision(6))}`]];
  }).filter(([, every]) => every);
  if (!rows.length) {
    replace("classes", el("p", {}, "No lesion of it has seen all images."));
    return;
  }
  replace("classes", plainTable(
    `${shortened(targetName(state.target), 80)}: points that classes lose, those that lose most first`,
    ["amount", "classes"],
    rows.map(([place, every]) => [family().amount_texts[place],
      el("ul", { class: "classes" }, every.map(([label, drop]) =>
        el("li", {}, named(data.classes.names[label]), " ", el("strong", {}, number(drop, 1)))))])));
}

function drawPairs() {
  const rows = data.pairs.map((each) => [
    named(each.first), named(each.second), number(each.interaction),
    `${number(each.low)} to ${number(each.high)}`, number(each.together),
    number(each.first_drop), number(each.second_drop), grouped(each.images)]);
  replace("pairs", plainTable("Points that pairs of cuts lose beyond the sum of both",
    ["first", "second", "interaction", "interval", "together", "first alone", "second alone",
      "images"], rows));
}

function drawChecks() {
  const rows = data.checks.map((each) => [
    String(each.number), each.goal, `${number(each.macs, 1)} %`,
    each.predicted === null ? "" : number(each.predicted), number(each.drop),
    `${number(each.low)} to ${number(each.high)}`, `${each.verdict} for ${each.max_drop}`,
    `${grouped(each.images)} of ${grouped(each.held)}`]);
  replace("checks", plainTable("Rates that were applied together, on images kept back",
    ["check", "asked", "MACs left", "predicted drop", "measured", "interval", "verdict", "images"],
    rows));
}
