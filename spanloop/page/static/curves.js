// Zooming: a curve that is clicked is drawn anew by uPlot over its own place, with every point; dragging zooms, a double click
// shows all. Without scripts the drawn curves stay.
"use strict";

const enlarge = async (section, button) => {
  button.disabled = true;
  const { metric, series } = await (await fetch(section.dataset.series)).json();
  const colors = ["--series-0", "--series-1", "--series-2", "--series-3", "--series-4", "--series-5"];
  const style = getComputedStyle(document.documentElement);
  const named = Object.entries(series).filter(([, points]) => points.length);
  const xs = [...new Set(named.flatMap(([, points]) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const data = [xs, ...named.map(([, points]) => { const at = new Map(points); return xs.map((x) => at.get(x) ?? null); })];
  const axis = { stroke: style.getPropertyValue("--soft"), grid: { stroke: style.getPropertyValue("--line") } };
  section.querySelector("svg")?.remove();
  section.style.gridColumn = "1 / -1";
  const plot = document.createElement("div");
  section.append(plot);
  new uPlot({
    width: section.clientWidth - 24, height: 320, scales: { x: { time: false } }, axes: [axis, axis],
    series: [{ label: "update" }, ...named.map(([id], index) => ({ label: named.length > 1 ? id : metric, stroke: style.getPropertyValue(colors[index % 6]), width: 1.5, spanGaps: true }))],
  }, data, plot);
  button.remove();
};

for (const section of document.querySelectorAll(".curve[data-series]")) {
  if (!section.querySelector("svg")) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Zoom";
  button.setAttribute("aria-label", `Zoom ${section.dataset.metric}`);
  button.addEventListener("click", () => enlarge(section, button));
  section.append(button);
}
