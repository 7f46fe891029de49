// Plots that move: uPlot with the page's colours, in both themes.

import { h } from "./dom.js";

const { uPlot } = globalThis;
const HEIGHT = 190;
// uPlot's table of tick labels: least step in seconds, label, and what the first tick of a day adds.
const CLOCK = [
  [86_400, "{D} {MMM}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
];
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** One plot over time; each series is `{label, colour (a CSS variable), bars, fill}`. */
export class Plot {
  constructor(element, series) {
    Object.assign(this, { element, series });
    new ResizeObserver(() => this.plot?.setSize({ width: element.clientWidth, height: HEIGHT })).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.drop();
      if (this.data) this.draw();
    });
  }

  drop() {
    this.plot?.destroy();
    this.plot = null;
  }

  /** Show values over times (seconds since 1970), one list a series; `none` where all is zero. */
  show(times, lists, none) {
    this.data = [times, ...lists];
    if (!lists.flat().some(Boolean)) {
      this.drop();
      this.element.replaceChildren(h("div", { class: "none", text: none }));
    } else if (this.plot) {
      this.plot.setData(this.data);
    } else {
      this.draw();
    }
  }

  draw() {
    this.drop();
    this.element.replaceChildren();
    const axis = {
      stroke: token("--soft"),
      grid: { stroke: token("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const series = this.series.map(({ label, colour, bars, fill }) => ({
      label,
      stroke: token(colour),
      width: bars ? 0 : 2,
      points: { show: false },
      fill: bars || fill ? `${token(colour)}${bars ? "cc" : "26"}` : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.75, 24] }) : uPlot.paths.stepped({ align: 1 }),
    }));
    this.plot = new uPlot(
      {
        width: this.element.clientWidth,
        height: HEIGHT,
        cursor: { y: false },
        axes: [
          { ...axis, values: CLOCK },
          { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000] },
        ],
        scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
        series: [{ value: "{HH}:{mm}" }, ...series],
      },
      this.data,
      this.element,
    );
  }
}
