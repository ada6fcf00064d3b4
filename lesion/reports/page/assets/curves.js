// Drop against amount, a panel a stage: linear up to one point, logarithmic beyond.

const PANEL = { left: 42, right: 10, top: 10, bottom: 34, height: 210 };
const TICKS = [-100, -50, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100];

const bent = (drop) =>
  Math.abs(drop) <= 1 ? drop : Math.sign(drop) * (1 + 1.6 * Math.log10(Math.abs(drop)));

/** The part of the drops that a family's panels show, so that they can be compared. */
function range() {
  const of = family();
  if (!of.range) {
    const drops = of.curves.flat().flatMap((cell) => [cell.drop, cell.low, cell.high])
      .filter((drop) => drop !== null && drop !== undefined);
    of.scale = of.unit ? 1 : Math.max(...drops.map(Math.abs), 1e-12) / 20;
    const low = Math.min(0, ...drops);
    const high = Math.max(1.5 * of.scale, ...drops);
    of.range = [bent(low / of.scale) - 0.15, bent(high / of.scale) + 0.15];
  }
  return of.range;
}

/** An SVG of the curves of some targets, one of them chosen. */
function panel(targets, chosen, width) {
  const of = family();
  const [low, high] = range();
  const count = of.amounts.length;
  const inside = { w: width - PANEL.left - PANEL.right, h: PANEL.height - PANEL.top - PANEL.bottom };
  const x = (place) => PANEL.left + (inside.w * (place + 1)) / count;
  const y = (drop) => PANEL.top + inside.h * (1 - (bent(drop / of.scale) - low) / (high - low));
  const shown = targets.filter((target) => target !== chosen);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${PANEL.height}`, "aria-hidden": "true" },
    axes(x, y, width, inside),
    shown.map((target) => curve(target, x, y, "")),
    chosen === null || !targets.includes(chosen) ? null : curve(chosen, x, y, "chosen"));
  return drawing;
}

function axes(x, y, width, inside) {
  const of = family();
  const [low, high] = range();
  const bottom = PANEL.top + inside.h;
  const ticks = TICKS.filter((tick) => bent(tick) >= low && bent(tick) <= high);
  const apart = [];
  for (const tick of ticks) {
    const place = y(tick * of.scale);
    if (tick === 0 || apart.every((before) => Math.abs(before - place) >= 13)) apart.push(place);
    else continue;
  }
  const lines = ticks.filter((tick) => apart.includes(y(tick * of.scale))).map((tick) => [
    svg("line", { class: tick ? "grid" : "zero", x1: PANEL.left, x2: width - PANEL.right,
      y1: y(tick * of.scale), y2: y(tick * of.scale) }),
    svg("text", { class: "tick", x: PANEL.left - 5, y: y(tick * of.scale) + 3.5, "text-anchor": "end" },
      number(tick * of.scale, of.unit ? 1 : 4)),
  ]);
  const every = Math.ceil((of.amounts.length * 34) / inside.w);
  const names = of.amount_texts.map((name, place) =>
    place % every && place !== of.amounts.length - 1 ? null
      : amountTick(shortened(name.replace(` ${unitOf(of)}`, ""), 9), x(place), bottom + 14, width));
  const tolerance = y(answer().max_drop);
  return [
    ...lines.flat(),
    svg("line", { class: "tolerance", x1: PANEL.left, x2: width - PANEL.right, y1: tolerance,
      y2: tolerance }),
    ...names.filter(Boolean),
    svg("text", { class: "axis", x: PANEL.left + inside.w / 2, y: bottom + 29, "text-anchor": "middle" },
      shortened(of.axis, 44)),
  ];
}

/** A word at its place on the axis, or as near as it fits. */
function amountTick(word, x, y, width) {
  const fits = x + 3 * word.length <= width;
  return svg("text", { class: "tick", x: fits ? x : width - 1, y, "text-anchor": fits ? "middle" : "end" },
    word);
}

/** What stands behind the numbers of all amounts. */
function unitOf(of) {
  const units = new Set(of.amount_texts.map((name) => name.split(" ").slice(1).join(" ")));
  return units.size === 1 ? [...units][0] : "\u0000";
}

function curve(target, x, y, kind) {
  const points = family().curves[target].filter((cell) => cell.drop !== undefined);
  const known = verdict(target);
  const names = ["curve", kind, known && known.skipped ? "skipped" : ""].join(" ");
  const path = `M${x(-1)} ${y(0)}` + points.map((cell) => `L${x(cell.at)} ${y(cell.drop)}`).join("");
  const withEnds = points.filter((cell) => cell.low !== null);
  const marks = kind === "chosen" ? [
    withEnds.map((cell) => svg("line", { class: "interval", x1: x(cell.at), x2: x(cell.at),
      y1: y(cell.low), y2: y(cell.high) })),
    points.map((cell) => svg("circle", { class: "point", cx: x(cell.at), cy: y(cell.drop), r: 3.2 },
      svg("title", {}, `${family().amount_texts[cell.at]}: ${dropText(cell)}`))),
  ].flat() : [];
  return svg("g", { class: names, "data-target": target, onclick: () => chooseTarget(target) },
    svg("title", {}, shortened(targetName(target), 120)),
    svg("path", { class: "line", d: path }), svg("path", { class: "hit", d: path }), marks);
}

/** The targets of each stage, in order. */
function byStage() {
  const groups = new Map();
  family().targets.forEach((_, target) => {
    const stage = targetStage(target);
    if (!groups.has(stage)) groups.set(stage, []);
    groups.get(stage).push(target);
  });
  return groups;
}

function drawCurves() {
  const figures = [...byStage()].map(([stage, targets]) =>
    el("figure", { class: "panel" },
      el("figcaption", {}, `${stageName(stage)}, ${targets.length} ${family().target}${targets.length === 1 ? "" : "s"}`),
      panel(targets, state.target, 330)));
  replace("curves", figures);
  at("curves").setAttribute("aria-label", curvesWords());
}

function curvesWords() {
  const chosen = state.target === null ? "none is chosen" : `${shortened(targetName(state.target), 80)}: ` +
    family().curves[state.target].filter((cell) => cell.drop !== undefined)
      .map((cell) => `${family().amount_texts[cell.at]} cost ${dropText(cell)}`).join("; ");
  return `Drop against ${family().axis}. Arrow keys choose a ${family().target}. Now ${chosen}`;
}
