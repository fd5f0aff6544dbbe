// The documents that follow a database: which there are, one of them to edit, and what the database does to it. One
// element, which asks only while it shows.

import * as node from "/assets/node.js";
import { element } from "/assets/card.js";
import { Notices, drawConflicts, drawPlan, trouble } from "/assets/notices.js";
import { Paper, patchOf, place } from "/assets/paper.js";

/** Documents that are listed at first, and added by "Show more". */
const STEP = 100;
const LOOK_MS = 5000;

const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const address = (id) => `#documents/${encodeURIComponent(id)}`;

class DocumentsView extends HTMLElement {
  #id = null;
  #documents = [];
  /** Whether these are all that there are: more are asked for when somebody wants to see or find them. */
  #isWhole = true;
  #listed = STEP;
  #shown = null;
  #paper = null;
  #notices = null;
  #stream = null;
  #timer = null;
  #isLooking = false;
  #again = false;

  connectedCallback() {
    this.find = element("input", { type: "search", "aria-label": "Find a document", placeholder: "Find a document", spellcheck: false });
    this.find.addEventListener("input", () => {
      this.#listed = STEP;
      this.#drawList();
      if (!this.#isWhole) this.#lookAround();
    });
    this.list = element("ul", { className: "spaces papers" });
    this.more = element("button", { type: "button", hidden: true });
    this.more.addEventListener("click", () => {
      this.#listed += STEP;
      this.#drawList();
      if (!this.#isWhole) this.#lookAround();
    });
    this.none = element("p", { className: "soft", hidden: true });
    this.sources = element("ul", { className: "sources" });
    this.detail = element("section", { className: "log document", hidden: true, "aria-labelledby": "document-name" });
    this.append(
      element("nav", { className: "side", "aria-label": "Documents" }, element("h2", {}, "Documents"), this.find, this.list, this.more, this.none, element("h2", {}, "Databases"), this.sources),
      this.detail,
    );
  }

  /** Shows the documents, and the one with this id if there is one. */
  show(id) {
    this.hidden = false;
    this.#timer ??= setInterval(() => this.#lookAround(), LOOK_MS);
    if (id !== this.#id) this.#choose(id);
    else if (id !== null && this.#stream === null) this.#follow();
    this.#lookAround();
  }

  /** Hides them, and asks the node nothing any more. What is typed stays. */
  hide() {
    this.hidden = true;
    clearInterval(this.#timer);
    this.#timer = null;
    this.#stream?.close();
    this.#stream = null;
  }

  // --- from the node -------------------------------------------------------------------------------------

  async #lookAround() {
    try {
      const sources = await node.sources();
      let [documents, page] = [[], null];
      do {
        page = await node.documents(documents.at(-1)?.id);
        documents.push(...page);
      } while (page.length === 1000 && (this.find.value.trim() || documents.length <= this.#listed));
      this.#documents = documents;
      this.#isWhole = page.length < 1000;
      this.#drawSources(sources);
      this.#drawList();
    } catch (error) {
      if (error.status !== 0) this.#trouble(error);
    }
  }

  #choose(id) {
    this.#stream?.close();
    this.#stream = null;
    this.#paper?.close();
    this.#id = id;
    this.#shown = null;
    this.detail.hidden = id === null;
    if (id === null) return;
    this.#drawDetail();
    this.#look();
    this.#follow();
  }

  #follow() {
    const said = (text) => this.#say(text);
    this.#stream = node.followPaper(this.#id, {
      onReady: () => {
        this.#live("live", "Live");
        this.#look();
        this.#paper.retry();
      },
      onLost: () => this.#live("offline", "Offline"),
      changed: () => this.#look(),
      ready: ({ present }) => this.#drawPresent(present),
      saved: () => this.#look(),
      presence: ({ present }) => this.#drawPresent(present),
      reconcile_failed: (failed) => said(this.#notices.failed(failed)),
      rows_skipped: (skipped) => {
        this.#look();
        said(this.#notices.skipped(skipped));
      },
      db_changed: async (notice) => {
        // With the document as it is after it, the notice knows which conflicts are open.
        await this.#look();
        if (this.#shown) said(this.#notices.changed(notice, () => this.#shown));
      },
    });
  }

  /** Fetches the document. Those who ask meanwhile get the next one, which is as new as they want. */
  async #look() {
    if (this.#isLooking) {
      this.#again ||= deferred();
      return this.#again.done;
    }
    const id = this.#id;
    this.#isLooking = true;
    try {
      const shown = await node.paperOf(id);
      if (id === this.#id) this.#take(shown);
    } catch (error) {
      if (id === this.#id && error.status !== 0) this.#trouble(error);
    }
    this.#isLooking = false;
    const again = this.#again;
    this.#again = null;
    if (again) again.go(this.#look());
    return again?.done;
  }

  #take(shown) {
    this.#shown = shown;
    this.#paper.show(shown);
    this.#drawState();
    // The list says so before it is asked for again.
    const listed = this.#documents.find((each) => each.id === this.#id);
    if (!listed) return;
    Object.assign(listed, { state: "live", version: shown.version, unsaved: shown.unsaved.length, conflicts: shown.conflicts.length });
    this.#drawList();
  }

  // --- drawing -------------------------------------------------------------------------------------------

  #drawList() {
    const wanted = this.find.value.trim().toLowerCase();
    const found = this.#documents.filter((each) => each.id.toLowerCase().includes(wanted));
    this.none.hidden = found.length > 0;
    this.none.textContent = wanted ? "No document has this in its name." : "No documents. A database with rows that [[reconcile]] in the settings names has some.";
    this.more.hidden = this.#isWhole && found.length <= this.#listed;
    this.more.textContent = this.#isWhole ? `Show more of ${found.length}` : "Show more";
    const line = (each) => {
      const link = element("a", { href: address(each.id) }, each.id);
      if (each.id === this.#id) link.setAttribute("aria-current", "page");
      const facts = [each.source ?? "followed elsewhere"];
      if (each.version !== null) facts.push(`version ${each.version}`);
      if (each.state === "unborn") facts.push("not opened yet");
      if (each.unsaved) facts.push(`${each.unsaved} not saved`);
      return element("li", {}, link, element("span", { className: "soft" }, facts.join(", ")),
        each.conflicts ? element("span", { className: "mark", "data-state": "refused" }, plural(each.conflicts, "conflict")) : null,
        each.problem ? element("span", { className: "soft problem" }, each.problem) : null);
    };
    this.#redraw(this.list, found.slice(0, this.#listed).map(line));
  }

  #drawSources(sources) {
    const line = (each) => {
      const isPaused = each.state === "paused";
      const act = element("button", { type: "button", className: "quiet", "aria-label": `${isPaused ? "Follow" : "Pause"} ${each.name}`, "data-control": each.name }, isPaused ? "Follow" : "Pause");
      act.addEventListener("click", async () => {
        await this.#act(() => (isPaused ? node.resume(each.name) : node.pause(each.name)), isPaused ? `${each.name} is followed` : `${each.name} is paused`);
        this.#lookAround();
      });
      const state = { following: "live", paused: "", no_key: "", failing: "offline", needs_plan: "offline", two_keys: "offline" }[each.state] ?? "";
      const facts = [each.place, each.mode, each.feed];
      if (each.pending) facts.push(`${each.pending} pending`);
      if (each.failed) facts.push(`${each.failed} failed`);
      return element("li", {}, element("div", { className: "rowhead" }, element("strong", {}, each.name), element("span", { className: "badge", "data-state": state }, each.state.replace("_", " ")), act),
        element("span", { className: "soft" }, facts.join(", ")), each.reason ? element("span", { className: "warn" }, each.reason) : null);
    };
    this.#redraw(this.sources, sources.length ? sources.map(line) : [element("li", { className: "soft" }, "This node follows no database.")]);
  }

  /** Draws lines anew if they are others, and leaves the focus where it was. */
  #redraw(list, lines) {
    const from = lines.map((line) => line.outerHTML).join("");
    if (list.drawn === from) return;
    list.drawn = from;
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    const key = focused?.getAttribute("href") ?? focused?.dataset.control;
    list.replaceChildren(...lines);
    if (key) [...list.querySelectorAll("a, button")].find((each) => (each.getAttribute("href") ?? each.dataset.control) === key)?.focus();
  }

  #drawDetail() {
    const id = this.#id;
    this.live = element("span", { className: "badge", "data-state": "" }, "Connecting");
    this.facts = element("p", { className: "soft" });
    this.present = element("p", { className: "present soft", hidden: true });
    this.warnings = element("div", { className: "warnings" });
    this.save = element("button", { type: "button", className: "main", disabled: true }, "Save to the database");
    this.save.addEventListener("click", () => this.#save());
    const now = element("button", { type: "button" }, "Follow now");
    now.addEventListener("click", () => this.#act(() => node.reconcile(id), "followed the database").then(() => this.#look()));
    const plan = element("button", { type: "button", "aria-expanded": "false" }, "Plan");
    this.plan = element("section", { className: "planned", hidden: true, tabIndex: -1, "aria-label": "Plan" });
    plan.addEventListener("click", () => this.#plan(plan));
    this.conflicts = element("ul", { className: "conflicts" });
    this.disputed = element("section", { hidden: true, "aria-labelledby": "conflicts-name" }, element("h3", { id: "conflicts-name" }, "Conflicts"), this.conflicts);
    const does = {
      resolve: (path, take) => this.#resolve(path, take),
      reveal: (path) => this.#paper.reveal(path),
      look: () => this.#look(),
      change: async (patch, heads) => {
        const shown = await node.write(id, patch, heads);
        if (id === this.#id) this.#take(shown);
        return shown;
      },
    };
    this.#paper = new Paper({ ...does, write: (path, value) => this.#write(patchOf(path, value)) });
    this.#notices = new Notices({ ...does, write: (patch) => this.#write(patch) });
    this.does = does;
    this.detail.replaceChildren(
      element("div", { className: "loghead" }, element("h2", { id: "document-name" }, id), this.live),
      element("div", {}, this.facts, this.present),
      this.warnings,
      element("div", { className: "actions" }, this.save, now, plan),
      this.plan,
      this.disputed,
      this.#notices.element,
      this.#paper.element,
    );
  }

  #drawState() {
    const { source, version, unsaved, conflicts, problems, deleted, mode, present, reconciled_here: isHere } = this.#shown;
    const facts = [source ?? "followed elsewhere"];
    if (source && !isHere) facts.push("followed elsewhere");
    if (version !== null && version !== undefined) facts.push(`version ${version}`);
    facts.push(mode === "mirror" ? "mirror: the database prevails" : "merge", unsaved.length ? `${unsaved.length} not saved` : "all saved");
    this.facts.textContent = facts.join(", ");
    this.#drawPresent(present);
    const warnings = problems.map(trouble);
    if (deleted) warnings.unshift("This is deleted in the database. It can be read; nothing can be changed until it is restored.");
    place(this.warnings, warnings.map((text, index) => {
      const known = this.warnings.children[index];
      return known?.textContent === text ? known : element("p", { className: "warn" }, text);
    }));
    this.save.disabled = !unsaved.length || deleted;
    this.save.textContent = unsaved.length ? `Save ${plural(unsaved.length, "change")} to the database` : "Nothing to save";
    this.disputed.hidden = !conflicts.length;
    this.#redraw(this.conflicts, drawConflicts(conflicts, this.does));
  }

  #drawPresent(present) {
    this.present.hidden = !present?.length;
    const names = new Map();
    for (const { client } of present ?? []) names.set(client, (names.get(client) ?? 0) + 1);
    const who = [...names].map(([name, count]) => (count > 1 ? `${name} ×${count}` : name)).join(", ");
    this.present.textContent = `Open here: ${who}`;
  }

  #live(state, text) {
    this.live.dataset.state = state;
    this.live.textContent = text;
  }

  // --- what people do ------------------------------------------------------------------------------------

  async #save() {
    const id = this.#id;
    try {
      const saved = await node.save(id);
      const places = plural(saved.saved.length, "place");
      const open = saved.conflicts?.length ? `; ${plural(saved.conflicts.length, "conflict")} to be chosen, of which only the side that shows is saved` : "";
      this.#say((saved.saved.length ? `saved ${places}${saved.version === null ? "" : `, version ${saved.version}`}` : "nothing to save") + open);
    } catch (error) {
      this.#trouble(error);
    }
    if (id !== this.#id) return;
    await this.#look();
    if (!this.disputed.hidden) this.conflicts.querySelector("button")?.focus();
  }

  async #plan(button) {
    if (!this.plan.hidden) {
      this.plan.hidden = true;
      button.setAttribute("aria-expanded", "false");
      return;
    }
    const id = this.#id;
    try {
      const plan = await node.plan(id);
      if (id !== this.#id) return;
      this.plan.replaceChildren(element("h3", {}, "What following the database would do"), ...drawPlan(plan));
      this.plan.hidden = false;
      button.setAttribute("aria-expanded", "true");
      this.plan.focus();
    } catch (error) {
      this.#trouble(error);
    }
  }

  #write(patch) {
    return this.#act(async () => this.#take(await node.write(this.#id, patch, this.#shown.heads)), "changed");
  }

  async #resolve(path, take) {
    const isDone = await this.#act(async () => this.#take(await node.resolve(this.#id, path, take)), `${path}: ${take === "theirs" ? "theirs taken" : "mine kept"}`);
    if (isDone && !this.conflicts.contains(document.activeElement)) (this.conflicts.querySelector("button") ?? this.save).focus();
    return isDone;
  }

  async #act(work, said) {
    try {
      await work();
      this.#say(said);
      return true;
    } catch (error) {
      this.#trouble(error);
      return false;
    }
  }

  #say(text) {
    this.dispatchEvent(new CustomEvent("said", { detail: text, bubbles: true }));
  }

  #trouble(error) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: error, bubbles: true }));
  }
}

/** Something to wait for that is begun later. */
function deferred() {
  let go;
  const done = new Promise((resolve) => (go = resolve));
  return { done, go };
}

customElements.define("gangline-documents", DocumentsView);
