// A small chart of the last values.

const SVG = "http://www.w3.org/2000/svg";
const KEPT = 60;
const WIDTH = 72;
const HEIGHT = 18;

export class Spark {
  /** `least`: what the top of the chart stands for at least, so that noise does not look like a peak. */
  constructor(least) {
    this.least = least;
    this.values = [];
    this.line = document.createElementNS(SVG, "polyline");
    this.area = document.createElementNS(SVG, "polygon");
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("aria-hidden", "true"); // the number beside it says the same
    this.element.append(this.area, this.line);
  }

  /** `value` null: nothing runs, and what was before is over. */
  add(value) {
    if (value === null || value === undefined) {
      if (this.values.length === 0) return;
      this.values = [];
    } else {
      this.values.push(value);
      if (this.values.length > KEPT) this.values.shift();
    }
    const top = Math.max(this.least, ...this.values);
    const step = WIDTH / (KEPT - 1);
    const left = WIDTH - step * (this.values.length - 1);
    const points = this.values.map((one, at) => {
      const y = HEIGHT - 1 - (one / top) * (HEIGHT - 2);
      return `${(left + at * step).toFixed(1)},${y.toFixed(1)}`;
    });
    this.line.setAttribute("points", points.join(" "));
    const closed = points.length > 1 ? [`${left.toFixed(1)},${HEIGHT}`, ...points, `${WIDTH},${HEIGHT}`] : [];
    this.area.setAttribute("points", closed.join(" "));
  }
}
