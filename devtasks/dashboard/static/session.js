// Signing in with the one-time token of the address, and every call of the API.

/** What went wrong with a call. `status` 0: nobody answered. */
export class Problem extends Error {
  constructor(status, detail, hint = null) {
    super(detail);
    this.status = status;
    this.hint = hint;
  }
}

const CHANGES = { "Content-Type": "application/json", "X-Devtasks": "1" };

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", redirect: "error", ...options });
  } catch {
    throw new Problem(0, "The dashboard's server does not answer.");
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    // a problem without a body is told by its status
  }
  if (!response.ok || body === null) {
    throw new Problem(response.status, body?.detail ?? body?.title ?? `The server answers ${response.status}.`, body?.hint);
  }
  return body;
}

export const get = (path) => call(path);
export const post = (path, body = {}) => call(path, { method: "POST", headers: CHANGES, body: JSON.stringify(body) });

/** Exchange the token behind `#` for a cookie, and take it out of the address and of the history. */
export async function signIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname);
  try {
    await post("/api/session", { token });
  } catch (problem) {
    if (problem.status !== 401) throw problem; // used before: an older cookie may still be good
  }
}

/** `name` as one step of a path. */
export const service = (name) => `/api/services/${encodeURIComponent(name)}`;
