// Everything is drawn once, and again where what it shows has changed.

function draw() {
  drawControls();
  drawTableControls();
  drawStrip();
  walk(at("curves"));
  walk(at("heatmap"));
  redraw(["family", "answer"], drawTolerance);
  redraw(["family", "answer"], drawAdvice);
  redraw(["family", "answer"], colourStrip);
  redraw(["family", "target", "layer"], markStrip);
  redraw(["family", "answer", "target", "layer", "hovered"], drawDetails);
  redraw(["family", "answer", "target"], drawCurves);
  redraw(["family"], drawHeatmap);
  redraw(["family", "answer", "target"], markHeatmap);
  redraw(["family", "answer"], drawTable);
  redraw(["target"], markTable);
  drawMore();
  for (const { draw: first } of drawings) first();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

state.answer = family().start;
draw();
