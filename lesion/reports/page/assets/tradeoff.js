// Accuracy by the multiply-accumulates that remain: a colour and a mark for each way of choosing
// rates; after recovery dashed, with hollow marks.

const ROOM = { width: 420, height: 270, left: 46, right: 12, top: 12, bottom: 40 };
const WAYS = ["--ink", "--mark", "--skip", "--soft"]; // the intact network comes first
const MARKS = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,9h-10z", "M0,-5l5,5l-5,5l-5,-5z",
];

function drawTradeoff() {
  const known = data.tradeoff.filter((each) => each.accuracy !== null);
  const ways = [...new Set(known.map(({ way }) => way))];
  const ends = known.flatMap(({ accuracy, low, high }) => [accuracy, low ?? accuracy, high ?? accuracy]);
  const every = nice(Math.max(...ends) - Math.min(...ends));
  const from = Math.floor(Math.min(...ends) / every) * every;
  const to = Math.max(Math.ceil(Math.max(...ends) / every) * every, from + every);
  const wide = ROOM.width - ROOM.left - ROOM.right;
  const tall = ROOM.height - ROOM.top - ROOM.bottom;
  const x = (share) => ROOM.left + (wide * share) / 100;
  const y = (accuracy) => ROOM.top + tall * (1 - (accuracy - from) / (to - from));
  const lines = ways.flatMap((way, place) => [false, true].map((tuned) =>
    wayLine(known.filter((each) => each.way === way && each.tuned === tuned), place, tuned, x, y)));
  const words = "Accuracy by the multiply-accumulates that remain";
  replace("tradeoff",
    el("figure", { class: "tradeoff" },
      el("figcaption", {}, words),
      svg("svg", { viewBox: `0 0 ${ROOM.width} ${ROOM.height}`, "aria-hidden": "true" },
        tradeoffAxes(from, to, every, x, y), lines)),
    el("ul", { class: "key" }, ways.map((way, place) => el("li", {}, keyMark(place), named(way))),
      known.some(({ tuned }) => tuned) ? el("li", {}, "hollow, dashed: after recovery") : null,
      el("li", {}, "bars: intervals")),
    plainTable(words, ["way", "when", "MACs left", "accuracy", "interval"],
      data.tradeoff.map((each) => [
        named(each.way), each.tuned ? "after recovery" : "one-shot", `${number(each.share, 1)} %`,
        each.accuracy === null ? "" : `${number(each.accuracy)} %`,
        each.low === null ? "" : `${number(each.low)} to ${number(each.high)}`])));
}

/** A step of 1, 2 or 5 times a power of ten, of which a span has six at most. */
function nice(span) {
  const power = 10 ** Math.floor(Math.log10(Math.max(span, 0.1) / 6));
  return [1, 2, 5, 10].map((each) => each * power).find((step) => span / step <= 6);
}

function tradeoffAxes(from, to, every, x, y) {
  const label = (content, attributes) => svg("text", { "text-anchor": "middle", ...attributes }, content);
  const rows = Array.from({ length: Math.round((to - from) / every) + 1 }, (_, place) => from + place * every);
  return [
    rows.map((accuracy) => [
      svg("line", { class: "grid", x1: x(0), x2: x(100), y1: y(accuracy), y2: y(accuracy) }),
      label(number(accuracy), { class: "tick", x: x(0) - 6, y: y(accuracy) + 3.5, "text-anchor": "end" })]),
    [0, 20, 40, 60, 80, 100].map((share) =>
      label(share, { class: "tick", x: x(share), y: y(from) + 15 })),
    svg("line", { class: "zero", x1: x(0), x2: x(100), y1: y(from), y2: y(from) }),
    label("MACs left (%)", { class: "axis", x: x(50), y: y(from) + 32 }),
    label("accuracy (%)", { class: "axis", transform: `translate(11 ${(y(from) + y(to)) / 2}) rotate(-90)` }),
  ];
}

/** The points of a way, joined from the fewest multiply-accumulates to the most. */
function wayLine(points, place, tuned, x, y) {
  const rising = [...points].sort((a, b) => a.share - b.share);
  const path = rising.map(({ share, accuracy }) => `${x(share)},${y(accuracy)}`).join(" ");
  return svg("g", { class: tuned ? "way tuned" : "way", style: `color: var(${WAYS[place % 4]})` },
    svg("polyline", { points: path }),
    rising.filter(({ low, high }) => low !== null && high !== null).map(({ share, low, high }) =>
      svg("line", { x1: x(share), x2: x(share), y1: y(low), y2: y(high) })),
    rising.map(({ share, accuracy }) =>
      svg("path", { d: MARKS[place % 4], transform: `translate(${x(share)} ${y(accuracy)})` })));
}

const keyMark = (place) => svg("svg",
  { class: "mark", viewBox: "-7 -7 14 14", style: `color: var(${WAYS[place % 4]})`, "aria-hidden": "true" },
  svg("g", { class: "way" }, svg("path", { d: MARKS[place % 4] })));
