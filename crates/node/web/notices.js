// What the database did to a document, what it would do, and where both sides met.

import { element } from "/assets/card.js";
import { at, partsOf, patchOf, pathOf } from "/assets/paper.js";

/** Notices that are kept. */
const KEPT = 50;

const WORDS = {
  applied: "applied", same: "the same on both sides", merged: "merged",
  stranded: "merged; what people wrote stands where the text around it is deleted", prevails: "conflict: the database's shows",
  gives_way: "conflict: the document's shows", both: "conflict: to be chosen", deleted: "conflict: deleted in the database",
  revived: "conflict: deleted in the document", dropped: "dropped",
};
/** Outcomes in which two sides stand against each other. */
const DISPUTED = new Set(["prevails", "gives_way", "both", "deleted", "revived"]);

const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const versions = ({ from, to }) => (to === null || to === undefined ? "" : from === null || from === undefined || from === to ? `version ${to}` : `version ${from} → ${to}`);

/** A value to look at. Nothing, null and an empty text are three things. */
function value(of) {
  if (of === undefined) return element("span", { className: "soft" }, "nothing");
  if (of === null || of === "") return element("span", { className: "soft" }, of === null ? "null" : "empty");
  return element("span", { className: "value" }, typeof of === "string" ? of : JSON.stringify(of, null, 1));
}

function button(text, label, act, className = "") {
  const made = element("button", { type: "button", "aria-label": label, className }, text);
  made.addEventListener("click", () => act(made));
  return made;
}

/** What a place has on one side: a row that is null is not there. */
const there = (of, key) => (of[key] === null && partsOf(of.path).length === 2 ? undefined : of[key]);

const fact = (name, of) => [element("dt", {}, name), element("dd", {}, of)];

/** A problem in a sentence. */
export const trouble = ({ path, what }) => (path ? `${path}: ${what}` : what);

// --- conflicts -------------------------------------------------------------------------------------------

/** Both sides of each conflict. `does` has resolve(path, take) and reveal(path). */
export function drawConflicts(conflicts, does) {
  return conflicts.map((conflict) => {
    const { path, kind } = conflict;
    const half = (which, title, text) =>
      element("div", { className: conflict.shown === which ? "side-of shown" : "side-of" },
        element("p", { className: "soft" }, title, conflict.shown === which ? ", shown" : ""),
        value(there(conflict, which)),
        button(text, `${text} at ${path}`, () => does.resolve(path, which)));
    const why = { deleted: "The database has deleted this row.", revived: "Somebody has deleted this row here." }[kind];
    return element("li", { className: "conflict", "data-path": path },
      element("h4", {}, button(path, `Go to ${path}`, () => does.reveal(path), "link")),
      why ? element("p", { className: "soft" }, why) : null,
      element("div", { className: "sides" }, half("theirs", "Theirs: the database", "Take theirs"), half("mine", conflict.by ? `Mine: written at ${conflict.by}` : "Mine: the document", "Keep mine")));
  });
}

// --- notices ---------------------------------------------------------------------------------------------

/** A feed of what the database did. `does` has write(patch), resolve(path, take) and reveal(path). */
export class Notices {
  #does;

  constructor(does) {
    this.#does = does;
    this.none = element("p", { className: "soft" }, "Nothing since this page was opened. What the database changes is told here.");
    this.list = element("ol", { className: "notices", role: "log", "aria-label": "What the database did" });
    this.element = element("section", { className: "feed", "aria-labelledby": "feed-name" }, element("h3", { id: "feed-name" }, "From the database"), this.none, this.list);
  }

  /** Adds a notice, the newest first. Answers a sentence for those who do not see it. */
  changed(notice, current) {
    const disputed = notice.changes.filter((change) => DISPUTED.has(change.outcome)).length;
    const by = notice.actor ? `, by ${notice.actor}` : "";
    const left = notice.unsaved_left ? `; ${notice.unsaved_left} not saved` : "";
    const root = { gone: "deleted in the database", back: "in the database again" }[notice.root];
    const still = notice.version_stood_still ? ", which stood still" : "";
    const head = `${[root, notice.mapping_changed ? "another mapping" : "", versions(notice) + still].filter(Boolean).join(", ") || "rows followed"}${by}`;
    this.#add(element("li", {},
      element("p", { className: "what" }, element("strong", {}, head), element("span", { className: "soft" }, ` ${now()}${left}`)),
      element("ul", {}, ...notice.changes.map((change) => this.#change(change, current)))));
    if (root && !notice.changes.length) return `This document is ${root}`;
    return `The database changed ${plural(notice.changes.length, "place")}${disputed ? `, ${plural(disputed, "conflict")}` : ""}`;
  }

  failed({ reason, retry_in: again }) {
    const when = again === undefined || again === null ? "" : `; again in ${typeof again === "number" ? `${again} ms` : again}`;
    this.#add(element("li", { className: "failed" }, element("p", { className: "what" }, element("strong", {}, "Not followed"), ` ${reason}${when} `, element("span", { className: "soft" }, now()))));
    return `The database could not be followed: ${reason}`;
  }

  skipped({ rows }) {
    const told = rows.length ? `${plural(rows.length, "row")} cannot be followed` : "All rows are followed again";
    this.#add(element("li", rows.length ? { className: "failed" } : {}, element("p", { className: "what" }, element("strong", {}, told), element("span", { className: "soft" }, ` ${now()}`)),
      element("ul", {}, ...rows.map((row) => element("li", {}, row)))));
    return told;
  }

  #add(line) {
    this.none.hidden = true;
    this.list.prepend(line);
    while (this.list.childElementCount > KEPT) this.list.lastElementChild.remove();
  }

  #change(change, current) {
    const path = change.path ?? [change.row, change.field === null || change.field === undefined ? null : pathOf(change.field)].filter(Boolean).join(".");
    const kind = { insert: "new row, ", delete: "row deleted, " }[change.kind] ?? "";
    // A mirror has let go of what people did.
    const dropped = change.outcome === "dropped" ? { insert: "the row is back: its deletion was dropped", delete: "row dropped: only the document had it" }[change.kind] : undefined;
    const line = element("li", {},
      button(path, `Go to ${path}`, () => this.#does.reveal(path), "link"),
      element("span", { className: DISPUTED.has(change.outcome) ? "outcome disputed" : "outcome" }, dropped ?? kind + (WORDS[change.outcome] ?? change.outcome)));
    const back = this.#back(path, change, current);
    if (back) line.append(back);
    return line;
  }

  /** A button that has things as they were before: as an edit, which is saved like any other. */
  #back(path, change, current) {
    const act = async (made, work) => {
      made.disabled = true;
      if (await work()) made.replaceWith(element("span", { className: "soft" }, "put back"));
      else made.disabled = false;
    };
    if (DISPUTED.has(change.outcome)) {
      if (!current().conflicts.some((conflict) => conflict.path === path)) return null;
      return button("Keep mine", `Keep mine at ${path}`, (made) => act(made, () => this.#does.resolve(path, "mine")));
    }
    if (change.kind === "insert") {
      return button("Take out again", `Take ${path} out again`, (made) => act(made, () => this.#does.write(patchOf(path, null))));
    }
    // Only what is known can be put back, and only where something else is there now.
    if (!("before" in change) || change.outcome === "same" || at(current().view, path) === change.before) return null;
    return button("Put back", `Put ${path} back as it was`, (made) => act(made, () => this.#does.write(patchOf(path, change.before))));
  }
}

const now = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// --- plan ------------------------------------------------------------------------------------------------

/** What following the database would do. */
export function drawPlan(plan) {
  const bytes = `${plural(plan.ops, "op")}, ${plural(plan.bytes, "byte")}`;
  const conflicts = plan.conflicts ? `, ${plural(plan.conflicts, "conflict")}` : "";
  const head = plan.changes.length || plan.ops ? `${[versions(plan), plural(plan.changes.length, "change"), bytes].filter(Boolean).join(", ")}${conflicts}` : "Nothing to do: the document has what the database has.";
  const line = (change) =>
    element("li", {},
      element("p", { className: "what" }, element("strong", {}, change.path), " ", element("span", { className: DISPUTED.has(change.outcome) ? "outcome disputed" : "outcome" }, WORDS[change.outcome] ?? change.outcome),
        change.rule ? element("span", { className: "soft" }, ` by ${change.rule}`) : null),
      element("dl", {}, ...["base", "document", "database"].flatMap((key) => fact(key, value(there(change, key))))));
  const wait = { older_version: "The database has an older version than this document has followed.", restored: "The database was put back from a backup." }[plan.needs_acceptance];
  const waits = wait ? [element("p", { className: "warn" }, `${wait} Nothing of this is done before somebody accepts it: gangline reconcile run ${plan.id} --accept-restored`)] : [];
  return [element("p", {}, head), ...waits, element("ul", { className: "plan" }, ...plan.changes.map(line)), ...plan.problems.map((problem) => element("p", { className: "warn" }, trouble(problem)))];
}
