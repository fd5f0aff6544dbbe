// Talks to the node that served this page: requests, and the stream of changes. Knows nothing of the page.

/** A refusal by the node, in its own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail || `the node answered ${status}`);
    this.status = status;
    this.code = problem?.code || "";
    this.hint = problem?.hint || "";
  }
}

async function ask(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
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

// --- logs ------------------------------------------------------------------------------------------------

const log = (space) => `/api/v1/spaces/${encodeURIComponent(space)}`;

export const spaces = () => ask("GET", "/api/v1/spaces?limit=1000");
export const space = (name) => ask("GET", log(name));
export const lease = (name) => ask("GET", `${log(name)}/lease`);
export const acquire = (name) => ask("POST", `${log(name)}/lease`);
export const letGo = (name) => ask("DELETE", `${log(name)}/lease`);
/** Appends an event. `body` is JSON already: its numbers go out as they were written. */
export const append = (name, body) => ask("POST", `${log(name)}/events`, body);

/** Events of a stretch of a log, each as the text that it came in. */
export async function stretch(name, from, count) {
  const lines = [];
  await new Promise((done, failed) => {
    const source = new EventSource(`${log(name)}/events?follow=true&from=${from}&limit=${count}`);
    source.addEventListener("event", (event) => {
      lines.push(event.data);
      if (lines.length < count) return;
      source.close();
      done();
    });
    source.addEventListener("error", () => {
      source.close();
      failed(new Refused(0, { detail: "the earlier events could not be read", hint: "try again in a moment" }));
    });
  });
  return lines;
}

/**
 * Follows a log from `from` on, until `close` of what it returns. `onReady` comes whenever the stream (again) begins,
 * `onEvent` with the text of each event, `onLost` when the node is gone.
 */
export function followLog(name, from, { onReady, onEvent, onLost }) {
  let source = null;
  let next = from;
  let isClosed = false;
  const open = () => {
    if (isClosed) return;
    source = new EventSource(`${log(name)}/events?follow=true&from=${next}`);
    source.addEventListener("ready", (event) => onReady(JSON.parse(event.data), false));
    source.addEventListener("reset", (event) => {
      next = JSON.parse(event.data).next;
      onReady(JSON.parse(event.data), true);
    });
    source.addEventListener("event", (event) => {
      next = Number(event.lastEventId) + 1;
      onEvent(event.data);
    });
    source.addEventListener("error", () => {
      if (isClosed) return;
      onLost();
      // A browser comes back by itself from a broken stream, but not from a refusal.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
    });
  };
  open();
  addEventListener("pagehide", () => source?.close(), { once: true });
  return {
    close: () => {
      isClosed = true;
      source?.close();
    },
  };
}

// --- documents that follow a database --------------------------------------------------------------------

const paper = (id) => `/api/v1/documents/${encodeURIComponent(id)}`;
const source = (name) => `/api/v1/reconcile/${encodeURIComponent(name)}`;

export const documents = (after) => ask("GET", `/api/v1/documents?limit=1000${after === undefined ? "" : `&after=${encodeURIComponent(after)}`}`);
export const paperOf = (id) => ask("GET", paper(id));
/** Changes a document by a merge patch of what it was at `heads`. */
export const write = (id, patch, heads) => ask("PATCH", paper(id), patch, heads.length ? { "if-match": heads.join(",") } : {});
export const plan = (id) => ask("GET", `${paper(id)}/plan`);
export const explain = (id, path) => ask("GET", `${paper(id)}/explain?path=${encodeURIComponent(path)}`);
export const save = (id) => ask("POST", `${paper(id)}/save`, {});
export const reconcile = (id) => ask("POST", `${paper(id)}/reconcile`, {});
export const resolve = (id, path, take) => ask("POST", `${paper(id)}/resolve`, { path, take });
export const sources = () => ask("GET", "/api/v1/reconcile");
export const pause = (name) => ask("POST", `${source(name)}/pause`, {});
export const resume = (name) => ask("POST", `${source(name)}/resume`, {});

/**
 * Follows a document until `close` of what it returns. `onReady` comes whenever the stream (again) begins, `onLost` when
 * the node is gone; of `does`, what has the name of an event comes with what it says.
 */
export function followPaper(id, { onReady, onLost, ...does }) {
  let opened = null;
  let isClosed = false;
  const open = () => {
    if (isClosed) return;
    opened = new EventSource(`/api/v1/watch?document=${encodeURIComponent(id)}`);
    opened.addEventListener("open", () => onReady());
    for (const [name, act] of Object.entries(does)) opened.addEventListener(name, (event) => act(JSON.parse(event.data)));
    opened.addEventListener("error", () => {
      if (isClosed) return;
      onLost();
      // A browser comes back by itself from a broken stream, but not from a refusal.
      if (opened.readyState === EventSource.CLOSED) setTimeout(open, 2000);
    });
  };
  open();
  addEventListener("pagehide", () => opened?.close(), { once: true });
  return {
    close: () => {
      isClosed = true;
      opened?.close();
    },
  };
}

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
