// Elements whose content is always text, and keys that walk through layers.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);
const at = (id) => document.getElementById(id);

/** A name of others, which may be of a script that runs from right to left. */
const named = (name, attributes = {}) => el("bdi", attributes, name);

function replace(id, ...children) {
  at(id).replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
}

/** Arrows, Home and End on a figure choose the next or another target. */
function walk(node) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -1e9, End: 1e9 };
  node.addEventListener("keydown", (event) => {
    const by = steps[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(by);
  });
}

/** The title of a table, which stays in sight where the table is wider than its box. */
const title = (words) => el("caption", {}, el("span", {}, words));

/** A table with a title for each column; rows of texts and elements. */
function plainTable(caption, titles, rows) {
  const head = titles.map((title) => el("th", { scope: "col" }, title));
  const body = rows.map((cells) =>
    el("tr", {}, cells.map((cell, place) =>
      place ? el("td", { class: cell.length < 24 ? "short" : "" }, cell)
        : el("th", { scope: "row" }, cell))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {}, title(caption), el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, body)));
}

/** Rows as CSV, in which no text is a formula (OWASP: CSV injection). */
function csv(rows) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const plain = /^[=+\-@\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n");
}

/** Copy a text; where the browser does not let a page do so, show it to be copied by hand. */
async function copy(content, status) {
  try {
    await navigator.clipboard.writeText(content);
    status.replaceChildren("Copied.");
  } catch {
    const area = el("textarea", { rows: 8, readonly: true, "aria-label": "to be copied" });
    area.value = content;
    status.replaceChildren("The browser forbids it; copy from here: ", area);
    area.select();
  }
}
