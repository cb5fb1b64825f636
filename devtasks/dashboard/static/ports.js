// Who holds each port of the project.

import { free } from "./actions.js";
import { h, the } from "./dom.js";
import { duration } from "./format.js";
import { get } from "./session.js";

export class Ports {
  constructor() {
    this.list = the("ports");
    this.asked = 0;
  }

  async refresh() {
    const asked = (this.asked += 1);
    let rows;
    try {
      const { ports } = await get("/api/ports/status");
      rows = ports.map(row);
      if (rows.length === 0) rows = [h("li", { class: "quiet", text: "No port is configured." })];
    } catch (problem) {
      rows = [h("li", { class: "bad", text: problem.message })];
    }
    if (asked === this.asked) this.list.replaceChildren(...rows);
  }
}

function row(port) {
  const whose = [port.service, port.name].filter(Boolean).join(" · ");
  return h("li", { data: { state: port.state } },
    h("div", { class: "line" },
      h("b", { text: port.protocol === "udp" ? `${port.port}/udp` : String(port.port) }),
      h("span", { class: "state", text: port.state }),
      h("span", { class: "quiet", text: whose }),
      port.state === "ours"
        ? h("button", { type: "button", text: "free", "aria-label": `free port ${port.port}`, onclick: () => free(port.port) })
        : null,
    ),
    ...port.holders.map(holder),
    ...port.warnings.map((text) => h("p", { class: "bad", text })),
  );
}

function holder(one) {
  const facts = [
    one.user,
    one.age_seconds === null ? null : `for ${duration(one.age_seconds)}`,
    one.container === null ? null : `container ${one.container}`,
    one.project === null ? null : `of ${one.project}`,
    one.cwd,
  ];
  return h("div", { class: "holder" },
    h("code", { text: one.pid === null ? "?" : String(one.pid) }), " ",
    h("span", { class: "command", text: one.command }),
    h("p", { class: "quiet", text: facts.filter(Boolean).join(" · ") }),
    one.stop === null ? null : h("p", { class: "quiet", text: `To free it: ${one.stop}` }),
  );
}
