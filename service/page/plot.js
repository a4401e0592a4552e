// A plot of one series, made by hand: history, forecast, intervals, what really came, and a cursor to read values with.

import { ticks, writer } from "./numbers.js";
import { timeTicks, writeTime } from "./times.js";

const SVG = "http://www.w3.org/2000/svg";
const TOP = 10, RIGHT = 14, BOTTOM = 26;

/**
 * A picture is { start, step, history, mean, bands, actuals, steps, shown }: times in milliseconds, one number a step,
 * bands as [{ name, low, high }] with the widest first, and how many values of the history are shown.
 */
export class Plot {
  #canvas;
  #legend;
  #picture = { history: [] };
  #at = 0;
  /** Where a step lies across the canvas. */
  #x;

  constructor(canvas, legend) {
    this.#canvas = canvas;
    this.#legend = legend;
    canvas.addEventListener("pointermove", (event) => this.#follow(event));
    canvas.addEventListener("pointerdown", (event) => this.#follow(event));
    canvas.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.#draw()).observe(canvas);
  }

  show(picture) {
    if (this.#picture.history !== picture.history) this.#at = picture.history.length;
    this.#picture = picture;
    this.#draw();
  }

  get #empty() {
    return !this.#picture.history.length;
  }

  get #first() {
    return Math.max(0, this.#picture.history.length - this.#picture.shown);
  }

  get #last() {
    return this.#picture.history.length + this.#picture.steps - 1;
  }

  #draw() {
    this.#canvas.replaceChildren();
    for (const item of this.#legend.children) item.lastElementChild.textContent = "–";
    const { width, height } = this.#canvas.getBoundingClientRect();
    if (this.#empty || !width) return;
    const rises = this.#rises(height);
    const low = rises[0].value, high = rises.at(-1).value, floor = height - BOTTOM, end = width - RIGHT;
    const left = 14 + 7.2 * Math.max(...rises.map(({ label }) => label.length));
    const x = (this.#x = (place) => left + ((place - this.#first) / Math.max(1, this.#last - this.#first)) * (end - left));
    const y = (value) => TOP + ((high - value) / (high - low)) * (floor - TOP);
    const origin = x(this.#picture.history.length - 0.5);
    const svg = made("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    svg.append(
      made("rect", { class: "ahead", x: origin, y: TOP, width: end - origin, height: floor - TOP }),
      ...rises.map(({ value }) => made("line", { class: "grid", x1: left, x2: end, y1: y(value), y2: y(value) })),
      ...rises.map(({ value, label }) => made("text", { class: "rise", x: left - 8, y: y(value) + 4 }, label)),
      ...this.#times(floor, width, (end - left) / 76),
      ...this.#curves(x, y),
      made("line", { class: "cursor", y1: TOP, y2: floor }),
    );
    this.#canvas.append(svg);
    this.#move(this.#at);
  }

  /** Ticks of the values; the axis begins at 0 unless they lie far from it. */
  #rises(height) {
    const { history, mean, actuals, bands } = this.#picture;
    const seen = [history.slice(this.#first), mean, actuals, ...bands.flatMap(({ low, high }) => [low, high])];
    const values = seen.flat().filter((value) => value !== null);
    const low = Math.min(...values), high = Math.max(...values);
    return ticks(low >= 0 && low < high / 2 ? 0 : low, high, height / 50);
  }

  #times(floor, width, most) {
    const { start, step } = this.#picture;
    return timeTicks(start + this.#first * step, start + this.#last * step, step, most).flatMap(({ time, label }) => {
      const across = this.#x((time - start) / step);
      const tick = made("line", { class: "tick", x1: across, x2: across, y1: floor, y2: floor + 5 });
      return [tick, made("text", { class: "time", x: Math.min(across, width - 24), y: floor + 19 }, label)];
    });
  }

  #curves(x, y) {
    const { history, mean, actuals, bands } = this.#picture, size = history.length;
    const dot = (value, place) => made("circle", { class: "actual", cx: x(size + place), cy: y(value), r: 3 });
    return [
      ...bands.map((band) => made("path", { class: `band band-${band.name}`, d: area(band, size, x, y) })),
      made("path", { class: "line history", d: line(history, 0, this.#first, x, y) }),
      made("path", { class: "line mean", d: line(mean, size, 0, x, y) }),
      ...actuals.flatMap((value, place) => (value === null ? [] : dot(value, place))),
    ];
  }

  #follow(event) {
    if (this.#empty) return;
    const from = this.#x(this.#first), to = this.#x(this.#last);
    const across = event.clientX - this.#canvas.getBoundingClientRect().left;
    this.#move(this.#first + Math.round(((across - from) / (to - from)) * (this.#last - this.#first)) || 0);
  }

  #press(event) {
    const at = this.#at, page = this.#picture.steps;
    const arrows = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1 };
    const moves = { ...arrows, PageUp: at + page, PageDown: at - page, Home: 0, End: Infinity };
    if (this.#empty || !(event.key in moves)) return;
    event.preventDefault();
    this.#move(moves[event.key]);
  }

  /** Put the cursor at a step, its values into the legend, and into words for those who hear the page. */
  #move(place) {
    const at = (this.#at = Math.min(this.#last, Math.max(this.#first, place)));
    const cursor = this.#canvas.querySelector(".cursor"), heard = [], told = this.#told(at);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, this.#x(at));
    for (const item of this.#legend.children) {
      const [name, value] = item.children, text = told[item.dataset.of];
      value.textContent = text || "–";
      if (text) heard.push(`${name.textContent} ${text}`);
    }
    const slider = { valuemin: this.#first, valuemax: this.#last, valuenow: at, valuetext: heard.join(", ") };
    for (const [name, value] of Object.entries(slider)) this.#canvas.setAttribute(`aria-${name}`, value);
  }

  #told(at) {
    const { history, mean, bands, actuals, start, step } = this.#picture, ahead = at - history.length;
    const was = writer([...history, ...actuals]), will = writer([...mean, ...bands.flatMap(({ high }) => high)]);
    const told = { when: writeTime(start + at * step, step, "long"), history: was(history[at]) };
    if (ahead < 0) return told;
    for (const { name, low, high } of bands) told[`band-${name}`] = `${will(low[ahead])} to ${will(high[ahead])}`;
    return { ...told, mean: will(mean[ahead]), actual: was(actuals[ahead]) };
  }
}

function made(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value.toFixed ? value.toFixed(2) : value);
  element.textContent = text;
  return element;
}

/** A path through values, broken where one is missing; a value that stands alone is a dot. */
function line(values, offset, from, x, y) {
  const has = (place) => place >= from && place < values.length && values[place] !== null;
  const part = (value, place) => {
    if (!has(place)) return "";
    const point = `${x(offset + place).toFixed(2)} ${y(value).toFixed(2)}`;
    return has(place - 1) ? `L${point}` : has(place + 1) ? `M${point}` : `M${point}h0`;
  };
  return values.map(part).join("");
}

/** A closed path between two rows of values; of a single step, a bar. */
function area({ low, high }, offset, x, y) {
  const half = low.length === 1 ? 0.4 : 0;
  const point = (place, value) => `${x(offset + place).toFixed(2)} ${y(value).toFixed(2)}`;
  const edge = (values) => values.flatMap((value, place) => [point(place - half, value), point(place + half, value)]);
  return `M${[...edge(high), ...edge(low).reverse()].join("L")}Z`;
}
