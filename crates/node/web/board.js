// The board: columns by stage, live from the node. State lives here, drawing of one card in card.js.

import * as node from "/assets/node.js";
import { draw, element } from "/assets/card.js";
import "/assets/logs.js";
import "/assets/reconcile.js";

const STAGES = ["1_backlog", "2_current", "3_qa", "4_merge", "5_done"];
const byId = (id) => document.getElementById(id);
const board = byId("board");

/** What the node says: items by story, in document order, and what is disputed in them. */
const state = { items: new Map(), disputes: new Map(), loaded: false };
/** What is drawn: per story its card and what it was drawn from; per stage its column. */
const drawn = { cards: new Map(), columns: new Map(), stages: "" };

// --- from the node ---------------------------------------------------------------------------------------

let waiting = [];
let loading = false;
let again = false;

/** Fetches everything. Changes that come meanwhile are applied after it: they are as new or newer. */
async function load() {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  try {
    const [items, disputes] = await Promise.all([node.items(), node.conflicts()]);
    state.items = new Map(items.map((item) => [item.story_id, item]));
    state.disputes = new Map(Object.entries(disputes));
    state.loaded = true;
    board.removeAttribute("aria-busy");
  } catch (error) {
    if (error.status === 401) location.reload();
    else trouble(error);
  }
  loading = false;
  const came = waiting;
  waiting = [];
  came.forEach(apply);
  redraw();
  if (again) {
    again = false;
    load();
  }
}

function apply(change) {
  if (loading) {
    waiting.push(change);
    return;
  }
  const { story_id: id, item } = change;
  if (id === null) return;
  if (item === null) {
    state.items.delete(id);
    state.disputes.delete(id);
  } else {
    // Where a new one belongs in document order, only the whole list says.
    if (!state.items.has(id)) soon(load);
    state.items.set(id, item);
    if (change.conflicts.length) state.disputes.set(id, change.conflicts);
    else state.disputes.delete(id);
  }
  redraw();
}

let timer = null;
function soon(work) {
  timer ??= setTimeout(() => {
    timer = null;
    work();
  }, 300);
}

node.follow({
  onReady: (hello) => {
    byId("node-name").textContent = hello.name;
    document.title = `${hello.name} · Gangline`;
    badge("live", "Live");
    load();
    showStatus();
  },
  onChange: apply,
  onLost: () => badge("offline", "Offline"),
});

function badge(kind, text) {
  const shown = byId("badge");
  shown.dataset.state = kind;
  shown.textContent = text;
}

/** Fills the panel behind the badge. */
async function showStatus() {
  let status;
  try {
    status = await node.status();
  } catch {
    return;
  }
  const [document_] = status.documents;
  byId("node-line").textContent =
    `${status.name}, gangline ${status.version}. ${document_.items} items from ${document_.ops} signed changes.` +
    status.reasons.map((reason) => ` ${reason.message}.`).join("");
  const peer = (each) => {
    const who = each.name ? `${each.name}, ${each.url} ` : `${each.url} `;
    const why = each.lacks ? `; lacks ${each.lacks}` : each.reason ? `: ${each.reason}` : "";
    const version = each.version === 1 ? ", cannot prove its key" : "";
    return element("li", {}, who, element("span", { className: "state" }, each.state.replace("_", " ") + version + why));
  };
  const liar = (each) =>
    element("li", { className: "state" }, `The key of ${each.author_name} signed two different changes in one place; it is ${each.policy}.`);
  byId("peers").replaceChildren(
    ...(status.peers.length ? status.peers.map(peer) : [element("li", { className: "state" }, "No other node is connected.")]),
    ...status.equivocations.map(liar),
  );
}
byId("health").addEventListener("toggle", showStatus);
setInterval(() => byId("health").open && showStatus(), 3000);
document.addEventListener("click", (event) => {
  if (!byId("health").contains(event.target)) byId("health").open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") byId("health").open = false;
});

// --- drawing ---------------------------------------------------------------------------------------------

let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    drawAll();
  });
}

function stagesNow() {
  const others = new Set([...state.items.values()].map((item) => item.stage).filter((stage) => !STAGES.includes(stage)));
  return [...STAGES, ...[...others].sort()];
}

function drawAll() {
  if (!state.loaded) return;
  const stages = stagesNow();
  const together = stages.join("\n");
  if (together !== drawn.stages) {
    drawn.stages = together;
    drawColumns(stages);
  }
  const focus = focused();
  const lists = new Map(stages.map((stage) => [stage, []]));
  for (const [id, item] of state.items) lists.get(item.stage).push(cardOf(id, item, stages, together));
  for (const [id, card] of drawn.cards) {
    if (!state.items.has(id)) {
      card.element.remove();
      drawn.cards.delete(id);
    }
  }
  for (const [stage, cards] of lists) {
    const column = drawn.columns.get(stage);
    column.count.textContent = cards.length;
    place(column.list, cards);
  }
  refocus(focus);
}

/** Puts `cards` into `list` in this order, touching only what is out of place. */
function place(list, cards) {
  let next = list.firstElementChild;
  for (const card of cards) {
    if (card === next) next = next.nextElementSibling;
    else list.insertBefore(card, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    if (gone.parentElement === list) gone.remove();
  }
}

function cardOf(id, item, stages, together) {
  const disputes = state.disputes.get(id) ?? [];
  const from = JSON.stringify([item, disputes, together]);
  const known = drawn.cards.get(id);
  if (known?.from === from) return known.element;
  const made = draw(item, disputes, stages, {
    move: (stage) => act(() => node.change(id, { stage }), `${id} moved to ${stage}`),
    claim: () => act(() => node.claim(id, byId("me").value.trim()), `${id} claimed`),
    release: () => act(() => node.release(id), `${id} released`),
    settle: (field, value) => act(() => node.change(id, { [field]: value }), `${field} of ${id} settled`),
    remove: () => confirm(`Remove “${item.name || id}” from the board, for everyone?`) && act(() => node.remove(id), `${id} removed`),
  });
  if (known) {
    known.element.replaceWith(made);
    made.classList.add("fresh");
    setTimeout(() => made.classList.remove("fresh"), 800);
  }
  drawn.cards.set(id, { element: made, from });
  return made;
}

function drawColumns(stages) {
  drawn.columns.clear();
  const columns = stages.map((stage, index) => {
    const count = element("span", { className: "count" });
    const list = element("ul", { className: "cards", "aria-labelledby": `stage-${index}` });
    drawn.columns.set(stage, { list, count });
    return element(
      "section",
      { className: "column", "data-stage": stage, "aria-labelledby": `stage-${index}` },
      element("h2", { id: `stage-${index}` }, stage || "(no stage)", " ", count),
      list,
    );
  });
  board.replaceChildren(...columns);
}

/** Which control of which card has the focus: cards are drawn anew, and people go on where they were. */
function focused() {
  const control = document.activeElement?.dataset?.control;
  const card = document.activeElement?.closest?.(".card");
  return control && card ? { id: card.dataset.id, control } : null;
}

function refocus(focus) {
  if (!focus || focused()) return;
  const card = drawn.cards.get(focus.id)?.element;
  const control = card && [...card.querySelectorAll("[data-control]")].find((each) => each.dataset.control === focus.control);
  (control ?? card?.querySelector("select") ?? board).focus();
}

// --- what people do --------------------------------------------------------------------------------------

async function act(work, said) {
  try {
    await work();
    byId("trouble").hidden = true;
    byId("said").textContent = said;
    return true;
  } catch (error) {
    trouble(error);
    // A select that was moved shows the truth again.
    drawn.cards.clear();
    board.replaceChildren();
    drawn.stages = "";
    redraw();
    return false;
  }
}

function trouble(error) {
  const box = byId("trouble");
  box.querySelector("p").textContent = error.hint ? `${error.message}: ${error.hint}` : error.message;
  box.hidden = false;
}
byId("trouble").querySelector("button").addEventListener("click", () => (byId("trouble").hidden = true));

byId("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const item = { story_id: byId("add-id").value.trim(), name: byId("add-name").value.trim() };
  if (await act(() => node.add(item), `${item.story_id} added`)) {
    event.target.reset();
    byId("add-id").focus();
  }
});

// --- the views -------------------------------------------------------------------------------------------

/** What is shown beside the board, by the beginning of its address. */
const others = new Map([["logs", document.querySelector("gangline-logs")], ["documents", document.querySelector("gangline-documents")]]);
for (const other of others.values()) {
  other.addEventListener("trouble", (event) => trouble(event.detail));
  other.addEventListener("said", (event) => {
    byId("trouble").hidden = true;
    byId("said").textContent = event.detail;
  });
}

/** Shows what the address asks for: the board, or `#logs` or `#documents` and perhaps the name of one. */
function view() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const here = others.has(name) ? name : "board";
  byId("tools").hidden = here !== "board";
  for (const each of ["board", ...others.keys()]) {
    byId(each).hidden = each !== here;
    if (each === here) byId(`to-${each}`).setAttribute("aria-current", "page");
    else byId(`to-${each}`).removeAttribute("aria-current");
  }
  for (const [each, other] of others) if (each !== here) other.hide();
  let asked = rest.join("/") || null;
  try {
    asked &&= decodeURIComponent(asked);
  } catch {
    asked = null;
  }
  others.get(here)?.show(asked);
}
addEventListener("hashchange", view);
view();

try {
  byId("me").value = localStorage.getItem("gangline-me") ?? "";
  byId("me").addEventListener("change", () => localStorage.setItem("gangline-me", byId("me").value.trim()));
} catch {
  // Without storage the name has to be given anew.
}

let dragged = null;
board.addEventListener("dragstart", (event) => {
  const card = event.target.closest?.(".card");
  if (!card) return;
  dragged = card.dataset.id;
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged);
  card.classList.add("dragged");
});
board.addEventListener("dragend", (event) => {
  event.target.closest?.(".card")?.classList.remove("dragged");
  target(null);
  dragged = null;
});
board.addEventListener("dragover", (event) => {
  const column = event.target.closest(".column");
  if (dragged === null || !column) return;
  event.preventDefault();
  target(column);
});
board.addEventListener("drop", (event) => {
  const stage = event.target.closest(".column")?.dataset.stage;
  const id = dragged;
  target(null);
  if (id === null || stage === undefined) return;
  event.preventDefault();
  if (state.items.get(id)?.stage !== stage) act(() => node.change(id, { stage }), `${id} moved to ${stage}`);
});

function target(column) {
  for (const each of board.querySelectorAll(".target")) if (each !== column) each.classList.remove("target");
  column?.classList.add("target");
}
