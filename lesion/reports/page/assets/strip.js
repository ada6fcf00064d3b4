// The network as a strip of layers, in stages and blocks, coloured by how little each stands.

let cells = [];

function drawStrip() {
  cells = data.layers.map((_, place) => stripCell(place));
  const stages = [];
  data.layers.forEach((layer, place) => {
    let stage = stages.at(-1);
    if (!stage || stage.stage !== layer.stage) stages.push((stage = { stage: layer.stage, blocks: [] }));
    let block = stage.blocks.at(-1);
    if (!block || layer.block === null || block.name !== layer.block) {
      stage.blocks.push((block = { name: layer.block, cells: [] }));
    }
    block.cells.push(cells[place]);
  });
  replace("strip", stages.map(({ stage, blocks }) =>
    el("div", { class: "stage", role: "group", "aria-label": stageName(stage) },
      el("span", { class: "stage-name", "aria-hidden": "true" }, stageName(stage)),
      el("div", { class: "blocks" }, blocks.map((block) =>
        el("span", { class: block.name === null ? "block alone" : "block" }, block.cells))))));
  walk(at("strip"));
}

function stripCell(layer) {
  return el("button", {
    type: "button",
    class: "cell",
    tabindex: layer ? -1 : 0,
    onclick: () => chooseLayer(layer),
    onpointerenter: () => update({ hovered: layer }),
    onpointerleave: () => update({ hovered: null }),
    onfocus: () => update({ hovered: layer }),
    onblur: () => update({ hovered: null }),
  });
}

/** Colours and names of the cells at the chosen tolerance. */
function colourStrip() {
  cells.forEach((cell, layer) => {
    const target = targetOf(layer);
    const known = verdict(target);
    const level = target === null ? null : sensitivity(target);
    const skipped = Boolean(known && known.skipped);
    cell.classList.toggle("skipped", skipped);
    cell.classList.toggle("absent", target === null);
    cell.classList.toggle("undecided", target !== null && level === null);
    cell.style.setProperty("--level", level === null ? 0 : level.toFixed(3));
    const sign = skipped ? "×" : target === null ? "" : level === null ? "?" : "";
    cell.replaceChildren(sign || String(data.layers[layer].number ?? "·"));
    cell.setAttribute("aria-label", layerWords(layer));
  });
}

function layerWords(layer) {
  const { name, number: count } = data.layers[layer];
  const target = targetOf(layer);
  const known = verdict(target);
  const stands = target === null ? "not measured"
    : !known ? "no advice" : known.skipped ? "to skip" : known.stands ? `safe ${family().upto} ${known.stands}` : known.status;
  return `${count === null ? "" : `${count} `}${shortened(name, 80)}: ${stands}`;
}

function markStrip() {
  const inside = new Set(state.target === null ? [state.layer] : family().targets[state.target].layers);
  const focused = cells.includes(document.activeElement);
  cells.forEach((cell, layer) => {
    cell.classList.toggle("chosen", inside.has(layer));
    cell.setAttribute("aria-pressed", String(inside.has(layer)));
    cell.tabIndex = layer === (state.layer ?? 0) ? 0 : -1;
  });
  if (focused && state.layer !== null) cells[state.layer].focus();
}

/** What is known of the layer under the pointer, or else of the chosen one. */
function drawDetails() {
  const layer = state.hovered ?? state.layer;
  const target = state.hovered === null ? state.target : targetOf(state.hovered);
  if (layer === null && target === null) {
    replace("details", el("p", { class: "soft" },
      "Choose a layer: by pointer, or by Tab and the arrow keys."));
    return;
  }
  const facts = layer === null ? [] : layerFacts(data.layers[layer]);
  const known = verdict(target);
  const reason = target === null ? absence(layer) : known ? known.reason : text(answer().refusal);
  const title = target === null ? data.layers[layer].name : targetName(target);
  replace("details",
    el("h3", {}, named(title)),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, named(value))])),
    el("p", {}, known && known.skipped ? el("strong", {}, "Skip. ") : null, reason),
    target === null ? null : el("div", { class: "mini" }, panel([target], target, 300)));
}

function layerFacts(layer) {
  const place = [stageName(layer.stage), layer.block, layer.position].filter(Boolean).join(", ");
  return [
    ["where", place],
    ["channels", `${layer.channels} (${layer.kind})`],
    ["MACs", grouped(layer.macs)],
    ["unit", layer.unit],
  ];
}
