// What the page knows: the study's values, what is chosen, and who is told when that changes.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const state = { family: 0, answer: 0, layer: null, target: null, hovered: null };
const drawings = [];

/** Let a drawing be made anew whenever one of the named parts of the state changes. */
function redraw(parts, draw) {
  drawings.push({ parts, draw });
}

function update(changes) {
  const changed = Object.keys(changes).filter((name) => state[name] !== changes[name]);
  Object.assign(state, changes);
  for (const { parts, draw } of drawings) {
    if (parts.some((name) => changed.includes(name))) draw();
  }
}

const family = () => data.families[state.family];
const answer = () => family().answers[state.answer];
const answered = () => answer().status !== undefined;
const text = (number) => data.texts[number];

/** The target of a family that changes a layer: the layer itself before units and blocks. */
function targetOf(layer, of = family()) {
  if (!of.byLayer) {
    of.byLayer = new Map();
    const plain = (target) => (["free", "branch", "layer"].includes(target.kind) ? 0 : 1);
    const order = of.targets.map((target, place) => [plain(target), place]);
    order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const [, place] of order) {
      for (const inside of of.targets[place].layers) {
        if (!of.byLayer.has(inside)) of.byLayer.set(inside, place);
      }
    }
  }
  return of.byLayer.has(layer) ? of.byLayer.get(layer) : null;
}

/** The first layer of a target, null for what is of the whole network. */
function layerOf(target) {
  return family().targets[target].layers[0] ?? null;
}

function chooseLayer(layer) {
  update({ layer, target: targetOf(layer) });
}

function chooseTarget(target) {
  update({ target, layer: layerOf(target) });
}

/** Go on from what is chosen by some targets, to either side. */
function step(by) {
  const last = family().targets.length - 1;
  const from = state.target ?? (by > 0 ? -1 : last + 1);
  chooseTarget(Math.max(0, Math.min(last, from + by)));
}

/** Status, rate and reason of a target at the chosen tolerance. */
function verdict(target, of = family(), at = answer()) {
  if (target === null || at.status === undefined) return null;
  const status = { s: "safe", x: "sensitive", u: "undecided" }[at.status[target]];
  return {
    status,
    rate: at.rates[target],
    shared: at.shared[target],
    skipped: at.skipped[target] === "1",
    rank: at.ranks[target],
    reason: text(at.reasons[target]),
    stands: status === "safe" ? amountText(at.rates[target], of) : "",
  };
}

/** How little a target stands, from 0 for the most harmful amount to 1 for none. */
function sensitivity(target, of = family(), at = answer()) {
  const found = verdict(target, of, at);
  if (!found || found.status === "undecided") return null;
  const place = found.status === "safe" ? of.amounts.indexOf(found.rate) + 1 : 0;
  return 1 - place / of.amounts.length;
}

function amountText(amount, of = family()) {
  const place = of.amounts.indexOf(amount);
  return place < 0 ? (of.prunes ? percent(amount) : String(amount)) : of.amount_texts[place];
}

function stageName(stage) {
  if (stage === null) return "no stage";
  return stage ? `stage ${stage}` : "stem";
}

const KINDS = { coupled: "coupled unit", branch: "branch" };

/** What a target is called: its layer's number, its name, and its kind where that says more. */
function targetName(target, of = family()) {
  const { name, kind, layers } = of.targets[target];
  const number = layers.length === 1 ? data.layers[layers[0]].number : null;
  const more = KINDS[kind] ? ` (${KINDS[kind]})` : "";
  return `${number === null ? "" : `${number} `}${name}${more}`;
}

/** The stage of a target, null where it is of none or of several. */
function targetStage(target, of = family()) {
  const stages = new Set(of.targets[target].layers.map((layer) => data.layers[layer].stage));
  return stages.size === 1 ? [...stages][0] : null;
}

/** Why a layer has no lesion of this family. */
function absence(layer) {
  const { name, reason } = data.layers[layer];
  const known = family().absent[name];
  return known === undefined ? reason || "the study has no lesion of it of this kind" : text(known);
}

function number(value, digits = 2) {
  if (value === null || value === undefined) return "";
  const short = Number(value.toFixed(digits));
  return String(short === 0 ? 0 : short).replace("-", "−");
}

const percent = (share) => `${number(100 * share)} %`;
const grouped = (count) => String(count).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

/** A drop with its interval, in the family's unit. */
function dropText(cell) {
  const digits = family().unit ? 2 : 4;
  const ends = cell.low === null ? "" : ` [${number(cell.low, digits)}, ${number(cell.high, digits)}]`;
  return `${number(cell.drop, digits)}${family().unit ? " points" : ""}${ends}`;
}

/** A short form of a long name, for where there is no room; its ends tell it from others. */
function shortened(name, most) {
  const signs = [...name];
  if (signs.length <= most) return name;
  const half = Math.floor((most - 1) / 2);
  return `${signs.slice(0, half).join("")}…${signs.slice(-half).join("")}`;
}
