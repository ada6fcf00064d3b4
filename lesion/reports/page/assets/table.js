// The table of all targets: sorted by any column, filtered, copied as CSV.

const sorting = { column: 0, falling: false };

/** Titles, and each target's values by the same place; numbers stay numbers for sorting. */
function columns() {
  const of = family();
  const titles = ["place", of.target, "stage", "channels", "verdict", "safe " + of.upto, "rank", "drop there"];
  const rows = of.targets.map((target, place) => {
    const known = verdict(place);
    const layer = target.layers.length === 1 ? data.layers[target.layers[0]] : null;
    const rate = known && known.status === "safe" ? known.rate : null;
    const cell = rate === null ? null
      : of.curves[place].find((each) => of.amounts[each.at] === rate);
    return {
      target: place,
      values: [
        place + 1,
        targetName(place),
        targetStage(place) === null ? "" : stageName(targetStage(place)),
        layer ? layer.channels : null,
        known ? (known.skipped ? `${known.status}, skip` : known.status) : "no advice",
        rate,
        known ? known.rank : null,
        cell && cell.drop !== undefined ? cell.drop : null,
      ],
      reason: known ? known.reason : text(answer().refusal),
    };
  });
  return { titles: [...titles, "reason"], rows };
}

function sorted(rows) {
  const { column, falling } = sorting;
  const value = (row) => (column < row.values.length ? row.values[column] : row.reason);
  const harm = (amount) => (column === 5 && amount !== null ? family().amounts.indexOf(amount) : amount);
  const order = (a, b) => {
    const [first, second] = [harm(value(a)), harm(value(b))];
    if (first === null || second === null) return (first === null) - (second === null);
    const by = typeof first === "number" ? first - second
      : first.localeCompare(second, "en", { numeric: true });
    return (falling ? -by : by) || a.target - b.target;
  };
  return [...rows].sort(order);
}

function wanted(rows) {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const content = (row) => [...row.values, row.reason].join(" ").toLowerCase();
  return rows.filter((row) => words.every((word) => content(row).includes(word)));
}

function drawTable() {
  const { titles, rows } = columns();
  const shown = sorted(wanted(rows));
  const head = titles.map((title, place) => {
    const now = sorting.column === place;
    const order = now ? (sorting.falling ? "descending" : "ascending") : "none";
    return el("th", { scope: "col", "aria-sort": order },
      el("button", { type: "button", class: "sort", onclick: () => sortBy(place) }, title,
        el("span", { "aria-hidden": "true" }, now ? (sorting.falling ? " ▼" : " ▲") : "")));
  });
  replace("table", el("table", {},
    title(`All ${family().target}s at the tolerance of ${family().tolerance_texts[state.answer]}`),
    el("thead", {}, el("tr", {}, head)), el("tbody", {}, shown.map(tableRow))));
  replace("shown", `${shown.length} of ${rows.length} rows`);
  markTable();
}

function tableRow({ target, values, reason }) {
  const [place, , stage, channels, status, rate, rank, drop] = values;
  const cells = [
    String(place), null, stage, channels === null ? "" : grouped(channels), status,
    rate === null ? "" : amountText(rate), rank === null ? "" : String(rank),
    number(drop, family().unit ? 2 : 4), reason,
  ];
  return el("tr", { "data-target": target }, cells.map((cell, column) =>
    column === 1 ? el("th", { scope: "row" }, targetButton(target))
      : el("td", { class: [0, 3, 5, 6, 7].includes(column) ? "right" : "" }, cell)));
}

function sortBy(place) {
  sorting.falling = sorting.column === place && !sorting.falling;
  sorting.column = place;
  drawTable();
  at("table").querySelectorAll("button.sort")[place].focus();
}

function markTable() {
  for (const row of at("table").querySelectorAll("tbody tr")) {
    row.classList.toggle("chosen", Number(row.dataset.target) === state.target);
  }
}

/** The rows that are shown, as CSV; amounts are the numbers that --amounts takes. */
function tableAsCsv() {
  const { titles, rows } = columns();
  return csv([titles, ...sorted(wanted(rows)).map((row) => [...row.values, row.reason])]);
}

function drawTableControls() {
  at("filter").addEventListener("input", drawTable);
  at("copy").addEventListener("click", () => copy(tableAsCsv(), at("copied")));
}
