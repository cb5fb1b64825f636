// The live log of one service: search, pause, follow.

import { h, setText, the } from "./dom.js";
import { count } from "./format.js";
import { get, service as path } from "./session.js";
import { Stream } from "./stream.js";

const KEPT = 5_000;
const FIRST = 500;

export class Log {
  constructor() {
    this.box = the("log-lines");
    this.search = the("log-search");
    this.button = the("log-pause");
    this.name = null;
    this.stream = null;
    this.waiting = []; // arrived and not shown: the next frame, or the end of the pause, shows them
    this.frame = 0;
    this.filling = false;
    this.search.addEventListener("input", () => this.filter());
    this.button.addEventListener("click", () => this.pause(!this.paused));
    the("log-wrap").addEventListener("change", (event) => this.box.classList.toggle("nowrap", !event.target.checked));
  }

  get paused() {
    return this.button.getAttribute("aria-pressed") === "true";
  }

  async show(name) {
    this.hide();
    this.name = name;
    this.pause(false);
    this.open();
    this.stream = new Stream(`kinds=log&logs=${encodeURIComponent(name)}`, {
      hello: () => this.refill(name),
      log: ({ lines, dropped }) => {
        if (dropped > 0) this.add([{ line: `… ${count(dropped, "line")} left out of a flood …`, ours: true }]);
        this.add(lines);
      },
    });
  }

  /** The last lines again: nothing is replayed to a stream. What arrives meanwhile may be among them. */
  async refill(name) {
    this.open();
    this.filling = true;
    let lines;
    try {
      ({ lines } = await get(`${path(name)}/logs?lines=${FIRST}`));
    } catch (problem) {
      lines = [{ line: problem.message, ours: true }];
    }
    if (name !== this.name) return;
    this.filling = false;
    const arrived = this.waiting;
    this.waiting = [];
    this.add([...lines, ...arrived.slice(overlap(lines, arrived))]);
  }

  open() {
    this.box.replaceChildren();
    this.waiting = [];
    this.filling = false;
    this.filter();
  }

  hide() {
    this.name = null;
    this.stream?.close();
    this.stream = null;
  }

  pause(paused) {
    this.button.setAttribute("aria-pressed", String(paused));
    this.flush();
  }

  add(lines) {
    this.waiting.push(...lines);
    if (this.waiting.length > KEPT) this.waiting.splice(0, this.waiting.length - KEPT);
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.flush();
      });
    }
  }

  flush() {
    if (this.filling) return;
    if (this.paused) {
      setText(this.button, this.waiting.length ? `Go on (${this.waiting.length} new)` : "Go on");
      return;
    }
    setText(this.button, "Pause");
    if (this.waiting.length === 0) return;
    const atEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40;
    const wanted = this.search.value.toLowerCase();
    this.box.append(...this.waiting.map((one) => line(one, wanted)));
    this.waiting = [];
    while (this.box.childElementCount > KEPT) this.box.firstElementChild.remove();
    if (wanted) this.tally();
    if (atEnd) this.box.scrollTop = this.box.scrollHeight;
  }

  filter() {
    const wanted = this.search.value.toLowerCase();
    for (const element of this.box.children) mark(element, wanted);
    this.tally();
  }

  tally() {
    const found = this.search.value ? this.box.querySelectorAll(".line:not([hidden])").length : 0;
    setText(the("log-count"), this.search.value ? count(found, "line") : "");
  }
}

/** How many of the first `arrived` are the last of `lines`. */
function overlap(lines, arrived) {
  for (let size = Math.min(lines.length, arrived.length); size > 0; size -= 1) {
    const from = lines.length - size;
    if (arrived.slice(0, size).every((one, at) => one.line === lines[from + at].line)) return size;
  }
  return 0;
}

function line({ line: text, ours = false }, wanted) {
  const element = h("div", { class: ours ? "line ours" : "line", text });
  if (wanted) mark(element, wanted);
  return element;
}

/** Hide a line without `wanted`; else point out where it has it, as text nodes. */
function mark(element, wanted) {
  const text = element.textContent;
  const lower = text.toLowerCase();
  element.hidden = wanted !== "" && !lower.includes(wanted);
  if (element.hidden) return;
  if (wanted === "" || lower.length !== text.length) {
    if (element.childElementCount > 0) element.textContent = text;
    return;
  }
  const parts = [];
  let from = 0;
  for (let at = lower.indexOf(wanted); at !== -1; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), h("mark", { text: text.slice(at, at + wanted.length) }));
    from = at + wanted.length;
  }
  element.replaceChildren(...parts.filter((part) => part !== ""), text.slice(from));
}
