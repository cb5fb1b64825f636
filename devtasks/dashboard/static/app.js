// The page: what is said by the server goes to its part; keys; and what to do when the server is gone.

import { act } from "./actions.js";
import { setText, the, toast } from "./dom.js";
import { Drawer } from "./drawer.js";
import { duration } from "./format.js";
import { Ports } from "./ports.js";
import { Services } from "./services.js";
import { get, signIn } from "./session.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";

const HEARTBEAT_SECONDS = 10;

const services = new Services(act, (name) => drawer.open(name));
const drawer = new Drawer((name) => services.focus(name));
const timeline = new Timeline();
const ports = new Ports();
let away = false;
let countdown = null;

try {
  await signIn();
} catch (problem) {
  toast(problem.message, "bad");
}

const stream = new Stream("logs=none", {
  hello({ project, environment }) {
    setText(the("project"), project);
    document.title = `${project} · devtasks`;
    the("environment").hidden = environment === "development";
    setText(the("environment"), environment);
    the("environment").classList.toggle("danger", ["production", "prod"].includes(environment));
    if (away) toast("Connected again.");
    here();
    timeline.refill();
    ports.refresh();
    heartbeat();
  },
  services(report) {
    services.update(report.services);
    drawer.refresh();
  },
  resources: (report) => services.sample(report.services),
  history: ({ events }) => timeline.add(events),
  ports: () => ports.refresh(),
  action({ service, action, phase, line }) {
    if (phase === "told" && line) toast(`${action} ${service}: ${line}`);
  },
}, gone);

setInterval(heartbeat, HEARTBEAT_SECONDS * 1000);

// --- is the server there? ---------------------------------------------------------------------------

function here() {
  away = false;
  clearInterval(countdown);
  the("gone").hidden = true;
  document.body.classList.remove("away");
}

/** `seconds`: until it is tried again; null: the session is over. */
function gone(seconds) {
  away = true;
  document.body.classList.add("away");
  clearInterval(countdown);
  const banner = the("gone");
  banner.hidden = false;
  if (seconds === null) {
    setText(banner, "You are signed out. Run `inv dashboard` again, and open the address that it prints.");
    return;
  }
  const until = Date.now() + seconds * 1000;
  const say = () => {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    const when = left > 0 ? `trying again in ${left} s` : "trying again …";
    setText(banner, `The dashboard's server is gone. What is shown may be old; ${when}`);
  };
  say();
  countdown = setInterval(say, 250);
}

async function heartbeat() {
  if (away) return;
  try {
    const { monitor } = await get("/api/heartbeat/status");
    const words = {
      watching: `Watched by PID ${monitor.pid}`,
      silent: `The monitor (PID ${monitor.pid}) has been silent for ${duration(monitor.age_seconds)}`,
      absent: "No monitor watches: what dies stays dead",
    };
    setText(the("monitor"), words[monitor.state] ?? "");
    the("monitor").dataset.state = monitor.state;
  } catch {
    // the stream tells when the server is gone
  }
}

// --- keys -------------------------------------------------------------------------------------------

the("keys").addEventListener("click", () => the("help").showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && drawer.isOpen) {
    drawer.close();
    return;
  }
  if (event.target.closest("input, select, textarea")) return;
  const current = services.current;
  const alive = current !== null && !["stopped", "failed", "stale", "foreign", "elsewhere"].includes(current.state);
  const keys = {
    j: () => services.step(1),
    k: () => services.step(-1),
    s: () => current && act(alive ? "stop" : "start", current),
    r: () => current && act("restart", current),
    f: () => current && act("force-clean", current),
    p: () => drawer.isOpen && drawer.log.pause(!drawer.log.paused),
    "/": () => drawer.isOpen && the("log-search").focus(),
    "?": () => the("help").showModal(),
  };
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => event.persisted && stream.open());
