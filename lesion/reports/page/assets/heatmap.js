// The heatmap: a row a target, a column an amount; a table, so that its numbers can be read.

/** How strong a colour is: linear up to one point, logarithmic beyond, and full at the 98th
 * percentile, so that a single outlier flattens nothing. */
function strength(drop) {
  const of = family();
  if (of.full === undefined) {
    range();
    const sizes = of.curves.flat().filter((cell) => cell.drop !== undefined)
      .map((cell) => Math.abs(bent(cell.drop / of.scale))).sort((a, b) => a - b);
    of.full = Math.max(sizes[Math.floor(0.98 * (sizes.length - 1))] ?? 1, 1);
  }
  return Math.min(1, Math.abs(bent(drop / of.scale)) / of.full);
}

function drawHeatmap() {
  const of = family();
  const head = of.amount_texts.map((name) => el("th", { scope: "col" }, named(shortened(name, 12))));
  const rows = of.targets.map((_, target) => heatRow(target));
  replace("heatmap", el("table", { class: "heat" },
    title(`Drop${of.unit ? " in points" : ""}: a row a ${of.target}, a column an amount, harm rising to the right; ${of.axis}`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, of.target), head)),
    el("tbody", {}, rows)));
}

function heatRow(target) {
  const of = family();
  const known = new Map(of.curves[target].map((cell) => [cell.at, cell]));
  const name = targetName(target);
  return el("tr", { "data-target": target, onclick: () => chooseTarget(target) },
    el("th", { scope: "row", title: name }, named(name)),
    of.amounts.map((_, place) => heatCell(known.get(place), place)));
}

function heatCell(cell, place) {
  if (!cell || cell.drop === undefined || cell.drop === null) {
    const why = cell && cell.reason !== undefined ? text(cell.reason) : "not in the study";
    return el("td", { class: "blank", title: why, "data-at": place }, "–");
  }
  const node = el("td", { class: cell.drop < 0 ? "gain" : "loss", "data-at": place, title: dropText(cell) },
    number(cell.drop, family().unit ? 1 : 3));
  node.style.setProperty("--level", strength(cell.drop).toFixed(3));
  return node;
}

/** Frames the chosen row, and the most harmful safe amount of each at the tolerance. */
function markHeatmap() {
  for (const row of at("heatmap").querySelectorAll("tbody tr")) {
    const target = Number(row.dataset.target);
    const known = verdict(target);
    const safe = known && known.status === "safe" ? family().amounts.indexOf(known.rate) : -1;
    row.classList.toggle("chosen", target === state.target);
    row.classList.toggle("skipped", Boolean(known && known.skipped));
    for (const cell of row.querySelectorAll("td")) {
      cell.classList.toggle("edge", Number(cell.dataset.at) === safe);
    }
    if (target === state.target) reveal(row, at("heatmap"));
  }
}

/** Scroll a box, and nothing else, so far that a row in it is seen. */
function reveal(row, box) {
  const head = box.querySelector("thead").offsetHeight;
  const top = row.offsetTop - head;
  if (top < box.scrollTop) box.scrollTop = top;
  const bottom = row.offsetTop + row.offsetHeight;
  if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}
