// What happened, the newest first.

import { h, the, toast } from "./dom.js";
import { clock } from "./format.js";
import { get } from "./session.js";

const KEPT = 200;

export class Timeline {
  constructor() {
    this.list = the("timeline");
  }

  /** Ask for all of it: after a new beginning, nothing is replayed. */
  async refill() {
    try {
      const { events } = await get(`/api/history?lines=${KEPT}`);
      this.list.replaceChildren();
      this.add(events);
      if (events.length === 0) this.list.append(h("li", { class: "quiet", text: "Nothing yet." }));
    } catch (problem) {
      toast(`history: ${problem.message}`, "bad");
    }
  }

  /** `events`: oldest first. */
  add(events) {
    if (events.length > 0) this.list.querySelector("li:not([data-kind])")?.remove();
    for (const { at, service, kind, pid, detail } of events) {
      this.list.prepend(
        h("li", { data: { kind } },
          h("time", { datetime: new Date(at * 1000).toISOString(), text: clock(at) }),
          h("b", { class: "kind", text: kind }),
          h("span", { class: "who", text: service }),
          h("span", { class: "what", text: [pid === null ? null : `PID ${pid}`, detail].filter(Boolean).join(": ") }),
        ),
      );
    }
    while (this.list.childElementCount > KEPT) this.list.lastElementChild.remove();
  }
}
