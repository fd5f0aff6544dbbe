// The logs: spaces, the events of one of them as they come, and its lease. One element, which asks only while it shows.

import * as node from "/assets/node.js";
import { element } from "/assets/card.js";

/** Events that are shown at first, added by "Show earlier", and kept at most. */
const STEP = 100;
const KEPT = 1000;
const LOOK_MS = 2000;

const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** The payload of an event byte for byte: numbers of 64 bits would not survive being parsed. */
export function payloadOf(data) {
  const start = data.indexOf('"payload":') + '"payload":'.length;
  return data.slice(start, data.lastIndexOf(',"prev":"'));
}

class LogView extends HTMLElement {
  #space = null;
  #spaces = [];
  #lease = null;
  #leaseAt = 0;
  #first = 0;
  #source = null;
  #timers = [];
  #came = [];

  connectedCallback() {
    this.list = element("ul", { className: "spaces" });
    this.none = element("p", { className: "soft", hidden: true }, "No log yet. The first event that is appended to a space begins its log.");
    this.form = this.#openForm();
    this.detail = element("section", { className: "log", hidden: true, "aria-labelledby": "log-name" });
    this.append(
      element("nav", { className: "side", "aria-label": "Spaces" }, element("h2", {}, "Spaces"), this.list, this.none, this.form),
      this.detail,
    );
  }

  /** Shows the logs, and that of `space` if there is one. */
  show(space) {
    this.hidden = false;
    if (!this.#timers.length) {
      this.#timers = [setInterval(() => this.#look(), LOOK_MS), setInterval(() => this.#count(), 250)];
    }
    if (space !== this.#space) this.#choose(space);
    else if (space !== null && this.#source === null) this.#follow();
    this.#look();
  }

  /** Hides them, and asks the node nothing any more. */
  hide() {
    this.hidden = true;
    this.#timers.forEach(clearInterval);
    this.#timers = [];
    this.#close();
  }

  #openForm() {
    const name = element("input", { required: true, maxLength: 128, pattern: "[A-Za-z0-9._\\/:\\-]+", placeholder: "team/pages", spellcheck: false });
    const form = element("form", { className: "open", autocomplete: "off" },
      element("label", {}, element("span", {}, "Another space"), name),
      element("button", { type: "submit" }, "Open"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      location.hash = `logs/${encodeURIComponent(name.value.trim())}`;
      form.reset();
    });
    return form;
  }

  // --- from the node -------------------------------------------------------------------------------------

  async #look() {
    const space = this.#space;
    try {
      const [spaces, lease] = await Promise.all([node.spaces(), space === null ? null : node.lease(space)]);
      if (space !== this.#space) return;
      this.#spaces = spaces;
      this.#setLease(lease);
      this.#drawSpaces();
      this.#drawState();
    } catch (error) {
      if (error.status !== 0) this.#trouble(error);
    }
  }

  #setLease(lease) {
    const [before, now] = [this.#lease, lease];
    this.#lease = lease;
    this.#leaseAt = performance.now();
    if (before && now && before.holder !== now.holder) {
      this.#say(now.holder ? `${this.#space} is now held by ${now.holder_name}` : `nobody holds ${this.#space}`);
    }
  }

  #choose(space) {
    this.#close();
    this.#space = space;
    this.#lease = null;
    this.detail.hidden = space === null;
    if (space === null) return;
    this.#drawDetail();
    this.#follow();
  }

  async #follow() {
    const space = this.#space;
    let next = 0;
    try {
      next = (await node.space(space)).next;
    } catch (error) {
      if (error.status !== 404) this.#trouble(error);
    }
    if (space !== this.#space || this.hidden) return;
    this.#first = Math.max(0, next - STEP);
    this.events.replaceChildren();
    this.#drawEarlier();
    this.#source = node.followLog(space, this.#first, {
      onReady: (hello, isReset) => {
        this.live.dataset.state = "live";
        this.live.textContent = "Live";
        // What is there already is not news.
        setTimeout(() => this.scroller.setAttribute("aria-live", "polite"), 1000);
        if (isReset) {
          this.#first = hello.next;
          this.events.replaceChildren();
          this.#drawEarlier();
        }
      },
      onEvent: (data) => this.#add(data),
      onLost: () => {
        this.live.dataset.state = "offline";
        this.live.textContent = "Offline";
      },
    });
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    this.#came = [];
  }

  // --- drawing -------------------------------------------------------------------------------------------

  #drawSpaces() {
    this.none.hidden = this.#spaces.length > 0;
    const line = (each) => {
      const link = element("a", { href: `#logs/${encodeURIComponent(each.space)}` }, each.space);
      if (each.space === this.#space) link.setAttribute("aria-current", "page");
      const held = each.holder ? `, held by ${each.holder_name}` : "";
      return element("li", {}, link, element("span", { className: "soft" }, `${plural(each.next, "event")}${held}`));
    };
    const lines = this.#spaces.map(line);
    const from = lines.map((each) => each.outerHTML).join("");
    if (from === this.drawn) return;
    this.drawn = from;
    const focus = document.activeElement?.closest?.(".spaces a")?.getAttribute("href");
    this.list.replaceChildren(...lines);
    if (focus) [...this.list.querySelectorAll("a")].find((each) => each.getAttribute("href") === focus)?.focus();
  }

  #drawDetail() {
    this.live = element("span", { className: "badge", "data-state": "" }, "Connecting");
    this.state = element("p", { className: "warn", hidden: true });
    this.lease = element("p", { className: "lease" });
    this.left = element("progress", { max: 1, value: 0, "aria-label": "What is left of the lease" });
    this.acquire = element("button", { type: "button" }, "Acquire");
    this.release = element("button", { type: "button" }, "Release");
    this.acquire.addEventListener("click", () => this.#act(() => node.acquire(this.#space), `acquired ${this.#space}`));
    this.release.addEventListener("click", () => this.#act(() => node.letGo(this.#space), `released ${this.#space}`));
    this.earlier = element("button", { type: "button", className: "earlier", hidden: true }, "Show earlier");
    this.earlier.addEventListener("click", () => this.#showEarlier());
    this.events = element("ol", { className: "events" });
    this.scroller = element(
      "div",
      { className: "scroller", tabIndex: 0, role: "log", "aria-live": "off", "aria-relevant": "additions", "aria-label": `Events of ${this.#space}` },
      this.earlier,
      this.events,
    );
    this.detail.replaceChildren(
      element("div", { className: "loghead" }, element("h2", { id: "log-name" }, this.#space), this.live),
      this.state,
      element("div", { className: "leasebar" }, element("div", { className: "who" }, this.lease, this.left), this.acquire, this.release),
      this.scroller,
      this.#appendForm(),
    );
    this.#count();
  }

  #drawState() {
    if (this.#space === null) return;
    const space = this.#spaces.find((each) => each.space === this.#space);
    const why = space?.diverged
      ? `Not served: the log has diverged, ${space.diverged}.`
      : space?.access === "moved"
        ? `This log has moved to ${space.moved_to}.`
        : space?.access === "copy"
          ? "This is a copy; its log is appended to elsewhere."
          : "";
    this.state.textContent = why;
    this.state.hidden = !why;
    this.#count();
  }

  /** The lease and its countdown, between two looks as well. */
  #count() {
    if (this.#space === null || this.hidden) return;
    const lease = this.#lease;
    const left = lease ? Math.max(0, lease.expires_in_ms - (performance.now() - this.#leaseAt)) : 0;
    const isHeld = Boolean(lease?.holder) && left > 0;
    this.longest = isHeld && lease.epoch === this.longestOf ? Math.max(this.longest, left) : left;
    this.longestOf = lease?.epoch;
    const text = !lease
      ? "Looking who holds it…"
      : isHeld
        ? `Held by ${lease.holder_name}${lease.here ? " (this node)" : ""}, epoch ${lease.epoch}, ${(left / 1000).toFixed(1)} s left`
        : "Nobody holds it; whoever appends first will";
    if (this.lease.textContent !== text) this.lease.textContent = text;
    this.left.value = isHeld ? left / this.longest : 0;
    this.left.hidden = !isHeld;
    this.acquire.disabled = isHeld && !lease.here;
    this.release.disabled = !(isHeld && lease.here);
  }

  /** What comes within a frame is drawn at once. Whoever looks at the end goes on doing so. */
  #add(data) {
    this.#came.push(data);
    if (this.#came.length > 1) return;
    const events = this.events;
    requestAnimationFrame(() => {
      const came = this.#came.splice(0);
      if (events !== this.events) return;
      const isAtEnd = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 40;
      events.append(...came.slice(-KEPT).map((each) => this.#line(each)));
      this.#first += Math.max(0, came.length - KEPT);
      while (events.childElementCount > KEPT) {
        events.firstElementChild.remove();
        this.#first += 1;
      }
      this.#drawEarlier();
      if (isAtEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
    });
  }

  #line(data) {
    const event = JSON.parse(data);
    const payload = payloadOf(data);
    const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];
    return element(
      "li",
      { value: event.seq },
      element(
        "details",
        {},
        element(
          "summary",
          {},
          element("span", { className: "seq" }, String(event.seq)),
          element("span", { className: "kind" }, event.type),
          element("code", {}, payload.length > 200 ? `${payload.slice(0, 200)}…` : payload),
        ),
        element(
          "dl",
          {},
          ...fact("payload", payload),
          ...fact("id", event.id),
          ...fact("epoch", String(event.epoch)),
          ...fact("author", `ed25519:${event.author}`),
          ...fact("holder", `ed25519:${event.holder}`),
          ...fact("hash", event.hash),
          ...fact("hash before", event.prev),
        ),
      ),
    );
  }

  #drawEarlier() {
    this.earlier.hidden = this.#first === 0;
    this.earlier.textContent = `Show earlier (${plural(this.#first, "event")} before)`;
  }

  async #showEarlier() {
    const space = this.#space;
    const from = Math.max(0, this.#first - STEP);
    try {
      const lines = await node.stretch(space, from, this.#first - from);
      if (space !== this.#space) return;
      const height = this.scroller.scrollHeight;
      this.events.prepend(...lines.map((each) => this.#line(each)));
      this.#first = from;
      this.#drawEarlier();
      this.scroller.scrollTop += this.scroller.scrollHeight - height;
      if (this.earlier.hidden) this.scroller.focus();
    } catch (error) {
      this.#trouble(error);
    }
  }

  // --- what people do ------------------------------------------------------------------------------------

  #appendForm() {
    const kind = element("input", { required: true, maxLength: 64, pattern: "[A-Za-z0-9._\\-]+", placeholder: "NOTE", spellcheck: false });
    const payload = element("input", { required: true, placeholder: '{"text": "…"}', spellcheck: false });
    const form = element(
      "form",
      { className: "append", autocomplete: "off" },
      element("label", {}, element("span", {}, "Type"), kind),
      element("label", { className: "wide" }, element("span", {}, "Payload, a JSON object"), payload),
      element("button", { type: "submit", className: "main" }, "Append"),
    );
    // The same id until it is known what became of the event, so that nothing is appended twice.
    let asked = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const body = `{"type":${JSON.stringify(kind.value)},"payload":${payload.value}`;
      if (asked?.body !== body) asked = { body, id: crypto.getRandomValues(new Uint8Array(16)).reduce((hex, byte) => hex + byte.toString(16).padStart(2, "0"), "") };
      const done = await this.#act(() => node.append(this.#space, `${body},"id":"${asked.id}"}`), "appended");
      if (!done) return;
      asked = null;
      payload.value = "";
      payload.focus();
    });
    return form;
  }

  async #act(work, said) {
    try {
      await work();
      this.#say(said);
      this.#look();
      return true;
    } catch (error) {
      this.#trouble(error);
      this.#look();
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

customElements.define("gangline-logs", LogView);
