// What one service is made of: its log, its processes, and why each is the service's.

import { h, the } from "./dom.js";
import { bytes, clock, count, percent } from "./format.js";
import { Log } from "./log.js";
import { get, service as path } from "./session.js";

const TABS = ["log", "processes"];

export class Drawer {
  /** `closed(name)` is told when it closes, to give the focus back. */
  constructor(closed) {
    this.element = the("drawer");
    this.closed = closed;
    this.name = null;
    this.log = new Log();
    this.asked = 0;
    the("drawer-close").addEventListener("click", () => this.close());
    for (const [at, tab] of TABS.entries()) {
      the(`tab-${tab}`).addEventListener("click", () => this.select(tab));
      the(`tab-${tab}`).addEventListener("keydown", (event) => {
        if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
        const next = TABS[(at + (event.key === "ArrowRight" ? 1 : -1) + TABS.length) % TABS.length];
        this.select(next);
        the(`tab-${next}`).focus();
      });
    }
  }

  get isOpen() {
    return !this.element.hidden;
  }

  open(name) {
    this.name = name;
    the("drawer-title").textContent = name;
    this.element.hidden = false;
    document.body.classList.add("with-drawer");
    this.select("log");
    the("drawer-title").focus();
  }

  close() {
    if (!this.isOpen) return;
    const name = this.name;
    this.name = null;
    this.element.hidden = true;
    document.body.classList.remove("with-drawer");
    this.log.hide();
    this.closed(name);
  }

  select(chosen) {
    for (const tab of TABS) {
      the(`tab-${tab}`).setAttribute("aria-selected", String(tab === chosen));
      the(`tab-${tab}`).tabIndex = tab === chosen ? 0 : -1;
      the(`panel-${tab}`).hidden = tab !== chosen;
    }
    if (chosen === "log") this.log.show(this.name);
    else {
      this.log.hide();
      this.refresh();
    }
  }

  /** Read the processes again, where they are shown. */
  async refresh() {
    if (!this.isOpen || the("panel-processes").hidden) return;
    const asked = (this.asked += 1);
    const name = this.name;
    let parts;
    try {
      parts = tree(await get(`${path(name)}/processes`));
    } catch (problem) {
      parts = [h("p", { class: "bad", text: problem.message })];
    }
    if (asked === this.asked && name === this.name) the("panel-processes").replaceChildren(...parts);
  }
}

function tree({ services, rejected }) {
  const parts = [];
  for (const { name, guarantee, processes } of services) {
    if (services.length > 1) parts.push(h("h3", { text: name }));
    if (processes.length === 0) parts.push(h("p", { class: "quiet", text: "Nothing of it runs." }));
    if (guarantee) parts.push(h("p", { class: "quiet", text: `Held together by ${guarantee}.` }));
    const known = new Set(processes.map((process) => process.pid));
    const children = Map.groupBy(processes, (process) => (known.has(process.ppid) ? process.ppid : 0));
    if (processes.length > 0) parts.push(branch(children, 0));
  }
  if (rejected.length > 0) {
    parts.push(
      h("details", { class: "rejected" },
        h("summary", { text: `${count(rejected.length, "process", "processes")} considered and left alone` }),
        h("ul", {}, ...rejected.map((row) =>
          h("li", {}, h("code", { text: String(row.pid) }), " ", h("span", { class: "command", text: row.command }), h("p", { class: "quiet", text: row.reason })),
        )),
      ),
    );
  }
  return parts;
}

function branch(children, above) {
  return h("ul", { class: "tree" }, ...(children.get(above) ?? []).map((process) => {
    const facts = [
      `since ${clock(process.started_at)}`,
      process.cpu_percent === null ? null : percent(process.cpu_percent),
      bytes(process.rss_bytes),
      process.ports.length ? `port ${process.ports.join(", ")}` : null,
      process.cwd,
    ];
    return h("li", {},
      h("code", { text: String(process.pid) }), " ", h("span", { class: "command", text: process.command }),
      h("p", { class: "quiet", text: facts.filter(Boolean).join(" · ") }),
      h("ul", { class: "evidence" }, ...process.evidence.map((one) => h("li", {}, h("b", { text: one.kind }), ` ${one.detail}`))),
      children.has(process.pid) && process.pid !== above ? branch(children, process.pid) : null,
    );
  }));
}
