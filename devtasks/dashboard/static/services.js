// The table: a row a service, the instances of one together.

import { h, setText, the } from "./dom.js";
import { bytes, duration, percent } from "./format.js";
import { Spark } from "./spark.js";

const ALIVE = new Set(["running", "starting", "unhealthy", "orphaned"]);
const BAD = new Set(["unhealthy", "stale", "orphaned", "failed", "foreign"]);
const MEBIBYTE = 1 << 20;

export class Services {
  /** `act(action, service)` and `open(name)` are called for the buttons. */
  constructor(act, open) {
    this.table = the("services");
    this.act = act;
    this.open = open;
    this.rows = new Map();
    this.known = [];
  }

  /** `services` as /api/services tells them. */
  update(services) {
    const names = services.map((service) => service.name);
    if (names.join("\0") !== this.known.join("\0")) this.arrange(services);
    this.known = names;
    for (const service of services) this.rows.get(service.name).update(service);
    for (const group of this.table.querySelectorAll("tbody[data-group]")) this.count(group, services);
    the("empty").hidden = services.length > 0;
    this.table.hidden = services.length === 0;
    setText(the("summary"), summary(services));
  }

  /** `samples` as the event `resources` tells them. */
  sample(samples) {
    for (const one of samples) this.rows.get(one.name)?.sample(one);
  }

  /** The service whose row has the focus. */
  get current() {
    const row = document.activeElement?.closest?.("tr[data-service]");
    return row ? this.rows.get(row.dataset.service).service : null;
  }

  /** Move the focus to the next service (1) or the one before (-1). */
  step(by) {
    const at = this.current === null ? (by > 0 ? -1 : this.known.length) : this.known.indexOf(this.current.name);
    this.rows.get(this.known[Math.min(this.known.length - 1, Math.max(0, at + by))])?.name.focus();
  }

  focus(name) {
    this.rows.get(name)?.name.focus();
  }

  arrange(services) {
    for (const body of [...this.table.tBodies]) body.remove();
    for (const name of [...this.rows.keys()]) {
      if (!services.some((service) => service.name === name)) this.rows.delete(name);
    }
    let body = null;
    let group = null;
    for (const service of services) {
      const several = service.group !== service.name;
      if (body === null || service.group !== group || !several) {
        body = h("tbody", several ? { data: { group: service.group } } : {});
        if (several) body.append(this.heading(service.group));
        this.table.append(body);
        group = service.group;
      }
      if (!this.rows.has(service.name)) this.rows.set(service.name, new Row(service, this.act, this.open));
      body.append(this.rows.get(service.name).element);
    }
  }

  heading(group) {
    const buttons = ["start", "stop", "restart"].map((action) =>
      h("button", {
        type: "button",
        text: `${action} all`,
        "aria-label": `${action} all of ${group}`,
        onclick: () => this.act(action, { name: group, state: "" }),
      }),
    );
    return h(
      "tr",
      { class: "group" },
      h("th", { scope: "rowgroup", text: group }),
      h("td", { colspan: 7, class: "quiet" }),
      h("td", { class: "actions" }, h("div", {}, ...buttons)),
    );
  }

  count(body, services) {
    const members = services.filter((service) => service.group === body.dataset.group);
    const running = members.filter((service) => service.state === "running").length;
    setText(body.querySelector(".group td"), `${running} of ${members.length} running`);
  }
}

class Row {
  constructor(service, act, open) {
    this.service = service;
    this.cpu = new Spark(100);
    this.memory = new Spark(32 * MEBIBYTE);
    this.name = h("button", {
      type: "button",
      class: "name",
      text: service.name,
      "aria-label": `${service.name}: log and processes`,
      onclick: () => open(service.name),
    });
    this.why = h("p", { class: "why" });
    this.state = h("span", { class: "state" });
    this.health = h("span", { class: "quiet" });
    this.cells = Object.fromEntries(
      ["pid", "ports", "up", "restarts", "cpu", "memory"].map((key) => [key, h("span", { class: "value" })]),
    );
    this.buttons = Object.fromEntries(
      ["start", "stop", "restart", "force-clean"].map((action) => [
        action,
        h("button", {
          type: "button",
          text: action,
          class: action === "force-clean" ? "danger" : null,
          "aria-label": `${action} ${service.name}`,
          onclick: () => act(action, this.service),
        }),
      ]),
    );
    const cell = (label, ...children) => h("td", { data: { label } }, ...children);
    this.element = h(
      "tr",
      { data: { service: service.name } },
      h("th", { scope: "row" }, this.name, this.why),
      cell("State", this.state, this.health),
      cell("PID", this.cells.pid),
      cell("Ports", this.cells.ports),
      cell("Up", this.cells.up),
      cell("Restarts", this.cells.restarts),
      h("td", { class: "chart", data: { label: "CPU" } }, this.cells.cpu, this.cpu.element),
      h("td", { class: "chart", data: { label: "Memory" } }, this.cells.memory, this.memory.element),
      h("td", { class: "actions" }, h("div", {}, ...Object.values(this.buttons))),
    );
  }

  update(service) {
    this.service = service;
    const alive = ALIVE.has(service.state);
    this.element.dataset.state = service.state;
    setText(this.state, service.action ? `${service.state} · ${service.action} …` : service.state);
    setText(this.health, service.health && service.health !== service.state ? service.health : "");
    setText(this.why, why(service));
    setText(this.cells.pid, service.pid === null ? "–" : String(service.pid));
    this.showPorts(service);
    setText(this.cells.restarts, restarts(service));
    this.sample(service, { chart: false });
    this.element.setAttribute("aria-busy", String(service.action !== null));
    this.buttons.start.hidden = alive;
    this.buttons.start.disabled = !service.startable || service.action !== null;
    this.buttons.stop.hidden = !alive;
    this.buttons.stop.disabled = service.action !== null;
    this.buttons.restart.disabled = !alive || !service.startable || service.action !== null;
    this.buttons["force-clean"].disabled = service.action !== null;
  }

  sample(one, { chart = true } = {}) {
    setText(this.cells.up, duration(one.uptime_seconds));
    setText(this.cells.cpu, percent(one.cpu_percent));
    setText(this.cells.memory, bytes(one.rss_bytes));
    if (chart) {
      this.cpu.add(one.cpu_percent);
      this.memory.add(one.rss_bytes);
    }
  }

  showPorts(service) {
    const text = service.ports.join(", ") || "–";
    if (this.cells.ports.textContent === text) return;
    const links = service.ports.map((port, at) => {
      const link = at === 0 && service.url !== null && /^https?:\/\//.test(service.url);
      return link
        ? h("a", { href: service.url, target: "_blank", rel: "noreferrer noopener", text: String(port) })
        : String(port);
    });
    this.cells.ports.replaceChildren(...(links.length ? links.flatMap((one, at) => (at ? [", ", one] : [one])) : ["–"]));
  }
}

function why(service) {
  if (service.holder) {
    const who = service.holder.pid === null ? "somebody whom we may not see" : `PID ${service.holder.pid}, ${service.holder.command}`;
    return `Its port is held by ${who}`;
  }
  return service.detail ?? "";
}

function restarts(service) {
  const most = service.restarts_max ?? service.budget?.max;
  return most === undefined || most === null ? String(service.restarts) : `${service.restarts} of ${most}`;
}

function summary(services) {
  const running = services.filter((service) => service.state === "running").length;
  const bad = services.filter((service) => BAD.has(service.state) || service.health === "unhealthy");
  const well = `${running} of ${services.length} running`;
  return bad.length ? `${well}; not well: ${bad.map((service) => service.name).join(", ")}` : well;
}
