// Talks to the node that served this page: requests, and the stream of changes. Knows nothing of the page.

/** A refusal by the node, in its own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail || `the node answered ${status}`);
    this.status = status;
    this.hint = problem?.hint || "";
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new Refused(0, { detail: "the node does not answer", hint: "nothing was saved; it may have been stopped" });
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new Refused(answer.status, null);
  }
  if (!answer.ok) throw new Refused(answer.status, value);
  return value;
}

const place = (id) => `/api/v1/items/${encodeURIComponent(id)}`;

export const items = () => ask("GET", "/api/v1/items");
export const conflicts = () => ask("GET", "/api/v1/conflicts");
export const status = () => ask("GET", "/api/v1/status");
export const add = (item) => ask("POST", "/api/v1/items", item);
export const change = (id, fields) => ask("PATCH", place(id), fields);
export const remove = (id) => ask("DELETE", place(id));
export const claim = (id, agent) => ask("POST", `${place(id)}/claim`, agent ? { agent } : {});
export const release = (id) => ask("POST", `${place(id)}/release`, {});

/**
 * Follows the node's changes for as long as the page lives. `onReady` comes whenever the stream (again) begins,
 * `onChange` with each change, `onLost` when the node is gone.
 */
export function follow({ onReady, onChange, onLost }) {
  const open = () => {
    const source = new EventSource("/api/v1/watch");
    const ready = (event) => onReady(JSON.parse(event.data));
    source.addEventListener("ready", ready);
    source.addEventListener("reset", ready);
    source.addEventListener("change", (event) => onChange(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      onLost();
      // A browser comes back by itself from a broken stream, but not from a refusal.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
    });
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  open();
  // A page that comes out of the browser's cache has a closed stream.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
