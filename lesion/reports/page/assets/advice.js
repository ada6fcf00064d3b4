// The tolerance, and what is recommended at it: always an answer of `lesion recommend`, never one
// that is worked out here.

function drawControls() {
  const select = at("family");
  select.append(...data.families.map(({ name }, place) =>
    el("option", { value: place, dir: "auto" }, shortened(name, 60))));
  select.addEventListener("change", () => chooseFamily(Number(select.value)));
  const slider = at("tolerance");
  slider.addEventListener("input", () => update({ answer: Number(slider.value) }));
  at("only-one").hidden = data.families.length < 2;
}

/** Another family, at the same tolerance where that is asked there, and with the same layer. */
function chooseFamily(place) {
  const chosen = data.families[place];
  const same = chosen.answers.findIndex((each) => each.max_drop === answer().max_drop);
  const target = state.layer === null ? null : targetOf(state.layer, chosen);
  update({ family: place, answer: same < 0 ? chosen.start : same, target, hovered: null });
}

function drawTolerance() {
  const slider = at("tolerance");
  const words = family().tolerance_texts[state.answer];
  slider.max = family().answers.length - 1;
  slider.value = state.answer;
  slider.setAttribute("aria-valuetext", words);
  at("family").value = state.family;
  replace("tolerance-value", words);
}

function drawAdvice() {
  if (!answered()) {
    replace("advice", el("p", { class: "refusal" }, text(answer().refusal)));
    return;
  }
  const now = answer();
  const sentences = [now.guarantee, now.boundaries, now.judged].map(text).filter(Boolean);
  replace("advice",
    el("div", { class: "figures", id: "summary" }, figures()),
    el("div", { class: "columns" }, skipList(), family().prunes ? stageRates() : standing()),
    el("p", {}, prose(sentences.join(" "))),
    el("p", { class: "caveat" }, prose(text(now.caveat))),
    now.together ? el("p", { class: "soft" }, prose(text(now.together.guarantee))) : null);
}

/** A text in which commands stand between backticks. */
const prose = (words) =>
  words.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));

/** The few numbers that matter most. */
function figures() {
  const { together } = answer();
  const skipped = skippedTargets().length;
  const all = family().targets.length;
  const figure = (value, title, id) =>
    el("div", { class: "figure" }, el("strong", { id }, value), el("span", {}, title));
  const left = ([some, whole]) => `${number((100 * some) / whole, 1)} %`;
  const boxes = [
    figure(`${skipped} of ${all}`, `to ${family().prunes ? "skip" : `keep ${family().spared}`}`,
      "skipped-count"),
  ];
  if (together) {
    boxes.push(figure(left(together.macs), "of the MACs left by the stages' rates", "macs-left"));
    boxes.push(figure(left(together.parameters), "of the parameters left", "params-left"));
    const { drop, high } = together;
    boxes.push(drop === null
      ? figure("none", "joint drop is predicted", "joint-drop")
      : figure(`${number(drop)} points`, `predicted to be lost together, at most ${number(high)}`,
        "joint-drop"));
  }
  return boxes;
}

function skippedTargets() {
  return family().targets.map((_, place) => place).filter((place) => verdict(place).skipped);
}

/** A button that chooses a target. */
function targetButton(target) {
  return el("button", { type: "button", class: "link", onclick: () => chooseTarget(target) },
    named(targetName(target)));
}

function skipList() {
  const title = family().prunes ? "To skip" : `To keep ${family().spared}`;
  const entries = skippedTargets().map((target) =>
    el("li", {}, targetButton(target), el("span", { class: "soft" }, ` ${verdict(target).reason}`)));
  const list = entries.length ? el("ul", { id: "skip-list" }, entries) : el("p", {}, "None.");
  return el("div", { class: "long" }, el("h3", {}, title), list);
}

function stageRates() {
  const rows = answer().stages.map(({ stage, rate, layers, skipped }) =>
    [stageName(stage), percent(rate), `${layers} of ${layers + skipped}`]);
  return el("div", { id: "stages" }, el("h3", {}, "Rates by stage"),
    rows.length ? plainTable("Rate of each stage", ["stage", "rate", "layers that take it"], rows)
      : el("p", {}, "No stage has measured layers."));
}

/** Of other damage than filters: how many targets stand how much. */
function standing() {
  const counts = new Map();
  family().targets.forEach((_, place) => {
    const { status, stands } = verdict(place);
    const name = status === "safe" ? stands : status;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  });
  const names = ["sensitive", ...family().amount_texts, "undecided"].filter((n) => counts.has(n));
  return el("div", { id: "standing" }, el("h3", {}, `Safe ${family().upto}`),
    plainTable(`How many ${family().target}s stand how much`, ["amount", `${family().target}s`],
      names.map((name) => [name, String(counts.get(name))])));
}
