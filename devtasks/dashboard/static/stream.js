// Server-sent events, and what to do when they end.

import { get } from "./session.js";

const FIRST_RETRY_SECONDS = 1;
const LAST_RETRY_SECONDS = 10;

/**
 * One stream, opened again when it breaks. `on`: listeners by event name, called with the decoded data.
 * `lost(seconds)`: it is gone and tried again in so many seconds; null: the session is over, nothing is tried.
 */
export class Stream {
  constructor(query, on, lost = () => {}) {
    this.query = query;
    this.on = on;
    this.lost = lost;
    this.retry = FIRST_RETRY_SECONDS;
    this.timer = null;
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = (this.source = new EventSource(`/api/events?${this.query}`));
    for (const [name, listener] of Object.entries(this.on)) {
      source.addEventListener(name, (event) => {
        this.retry = FIRST_RETRY_SECONDS;
        listener(JSON.parse(event.data));
      });
    }
    source.addEventListener("bye", () => this.broken(source));
    source.onerror = () => this.broken(source);
  }

  /** An EventSource does not tell why it failed: a call does. */
  async broken(source) {
    source.close();
    if (source !== this.source) return;
    let status = 200;
    try {
      await get("/api/services");
    } catch (problem) {
      status = problem.status;
    }
    if (source !== this.source) return;
    if (status === 401) {
      this.lost(null);
      return;
    }
    this.lost(this.retry);
    this.timer = setTimeout(() => this.open(), this.retry * 1000);
    this.retry = Math.min(LAST_RETRY_SECONDS, this.retry * 2);
  }

  close() {
    clearTimeout(this.timer);
    this.source.close();
    this.source = null;
  }
}
