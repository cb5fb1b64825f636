// Start, stop, restart, force-clean, free a port: first what would happen, then the question, then the deed.

import { h, the, toast } from "./dom.js";
import { count } from "./format.js";
import { post, service as path } from "./session.js";

const SIGNALLED = {
  stop: "are asked to end, and killed if they do not:",
  restart: "are asked to end, then it is started again:",
  "force-clean": "are killed at once; its PID and log files are removed:",
  free: "are asked to end, and killed if they do not:",
};

const underway = new Set();

/** Do `action` to a service. What it would signal is confirmed first; a start that signals nobody just starts. */
export function act(action, service) {
  return perform(action, service.name, `${path(service.name)}/${action}`);
}

/** Free a port: the service of this project that holds it is stopped, whole. */
export function free(port) {
  return perform("free", `port ${port}`, `/api/ports/${port}/kill`);
}

async function perform(action, name, url) {
  const key = `${action} ${name}`;
  if (underway.has(key)) return;
  underway.add(key);
  try {
    const plan = await post(url, { dry_run: true });
    if (needsConfirmation(action, plan) && !(await confirmed(action, name, plan))) return;
    tell(action, name, await post(url, {}));
  } catch (problem) {
    toast([`${action} ${name}: ${problem.message}`, problem.hint].filter(Boolean).join(" "), "bad");
  } finally {
    underway.delete(key);
  }
}

const needsConfirmation = (action, plan) => action !== "start" || plan.services.some((one) => one.detail);

function confirmed(action, name, plan) {
  const dialog = the("confirm");
  const verb = action === "free" ? "Free" : action[0].toUpperCase() + action.slice(1);
  the("confirm-title").textContent = `${verb} ${name}?`;
  the("confirm-yes").textContent = `${verb} ${name}`;
  the("confirm-yes").classList.toggle("danger", action !== "start");
  the("confirm-body").replaceChildren(...(action === "start" ? startPlan(plan) : stopPlan(action, plan.stop ?? plan)));
  dialog.returnValue = "no";
  dialog.showModal();
  the("confirm-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

function startPlan(plan) {
  return plan.services.map((one) => h("p", { text: one.detail ? `${one.name}: ${one.detail}` : `${one.name}: ${one.outcome}` }));
}

function stopPlan(action, plan) {
  const parts = [];
  for (const one of plan.services) {
    const pids = [...one.stopped, ...one.killed];
    const commands = new Map(one.processes.map((process) => [process.pid, process.command]));
    if (pids.length === 0) {
      parts.push(h("p", { text: `Of ${one.name} nothing runs: nothing is signalled.` }));
    } else {
      parts.push(
        h("p", {}, h("strong", { text: one.name }), `: ${count(pids.length, "process", "processes")} ${SIGNALLED[action]}`),
        processes(pids.map((pid) => [pid, commands.get(pid) ?? "?"]), "signalled"),
      );
    }
    if (one.rejected.length > 0) {
      parts.push(
        h("details", {},
          h("summary", { text: `${count(one.rejected.length, "process", "processes")} left alone` }),
          processes(one.rejected.map((row) => [row.pid, `${row.command}: ${row.reason}`]), "spared"),
        ),
      );
    }
  }
  for (const note of plan.notes ?? []) parts.push(h("p", { class: "quiet", text: note }));
  return parts;
}

function processes(rows, kind) {
  return h("ul", { class: `pids ${kind}` },
    ...rows.map(([pid, command]) => h("li", {}, h("code", { text: String(pid) }), h("span", { text: command }))),
  );
}

function tell(action, name, report) {
  const stop = report.stop ?? (action === "start" ? null : report);
  const start = report.start ?? (action === "start" ? report : null);
  const bad = [
    ...(stop?.services ?? []).flatMap((one) => one.survivors.map((left) => `PID ${left.pid} ${left.reason}`)),
    ...(start?.services ?? [])
      .filter((one) => one.outcome !== "started" && one.outcome !== "already-running")
      .map((one) => [`${one.name} ${one.outcome}`, one.detail, one.hint].filter(Boolean).join(": ")),
  ];
  if (!report.ok) {
    toast(`${action} ${name}: ${bad.join("; ") || "it did not work"}`, "bad");
    return;
  }
  const ended = (stop?.services ?? []).reduce((sum, one) => sum + one.stopped.length + one.killed.length, 0);
  const begun = (start?.services ?? []).filter((one) => one.outcome === "started").length;
  const words = [
    stop === null ? null : ended === 0 ? "nothing was running" : `${count(ended, "process", "processes")} ended`,
    start === null ? null : begun === 0 ? "already running" : `${count(begun, "service")} started`,
  ];
  toast(`${action} ${name}: ${words.filter(Boolean).join(", ")}`);
}
