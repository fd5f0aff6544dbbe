// One field of a document that people edit together: what is typed goes to the node as it is typed, what others write
// comes in without taking the place of the cursor. Knows nothing of the page around it.

import { element } from "/assets/card.js";

/** How long typing rests before it is sent. */
const REST_MS = 250;
/** A text longer than this is edited in a box of several lines. */
const LINE_MAX = 60;

/** The one stretch in which two texts differ: `[from, to)` of `a` became `text` in `b`. Never inside a surrogate pair. */
export function splice(a, b) {
  let from = 0;
  while (from < a.length && from < b.length && a[from] === b[from]) from += 1;
  let end = 0;
  while (end < a.length - from && end < b.length - from && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const isLow = (text, at) => at > 0 && at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00;
  if (isLow(a, from) || isLow(b, from)) from -= 1;
  if (isLow(a, a.length - end) || isLow(b, b.length - end)) end -= 1;
  return { from, to: a.length - end, text: b.slice(from, b.length - end) };
}

/** What both sides made of `base`. Where they touch one place, both texts stay. */
export function merge(base, mine, theirs) {
  const [m, t] = [splice(base, mine), splice(base, theirs)];
  if (t.from === t.to && t.text === "") return mine;
  if (m.from === m.to && m.text === "") return theirs;
  const put = (text, { from, to, text: by }) => text.slice(0, from) + by + text.slice(to);
  if (t.to <= m.from) return put(put(base, m), t);
  if (m.to <= t.from) return put(put(base, t), m);
  return base.slice(0, Math.min(m.from, t.from)) + m.text + t.text + base.slice(Math.max(m.to, t.to));
}

/** Where a cursor of `before` stands in `after`. */
export function moved(at, before, after) {
  const { from, to, text } = splice(before, after);
  if (at <= from) return at;
  return at >= to ? at + text.length - (to - from) : Math.min(at, from + text.length);
}

/** A value as people type it. */
export const typed = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

/** An integer for the node: as its digits, since beyond 2^53 no number of a page is equal to it. */
const digits = (text) => BigInt(text.trim()).toString();

/** Whether texts of a field want a box of several lines. */
export const isLong = (values) => values.some((value) => typeof value === "string" && (value.length > LINE_MAX || value.includes("\n")));

/** What kind of values a field has, as far as they tell. */
export function kindOf(values) {
  const known = values.find((value) => value !== null && value !== undefined);
  return known === undefined ? "string" : typeof known;
}

/**
 * A field's label, control and marks. `does` has change(value, heads), which sends what was written when the document
 * was at `heads` and answers `{value, heads, unsaved}`; undo(); and look(), which shows what the node has.
 */
export class Field {
  #does;
  #kind;
  /** What the node has, as text, and at which heads. */
  #base = "";
  #heads = [];
  #isNull = true;
  #wantsNull = false;
  #timer = null;
  #isSending = false;
  #hasMissed = false;
  #isRefused = false;
  /** Heads that the node no longer knows: what was typed is sent again with the ones that come. */
  #isStale = false;

  constructor(path, name, kind, hasLines, does) {
    this.path = path;
    this.unsaved = false;
    /** Whether only the database writes it. */
    this.isReadOnly = false;
    this.#does = does;
    this.#kind = this.kind = kind;
    const id = `field-${path}`;
    this.isLong = kind === "string" && hasLines;
    this.state = element("span", { className: "mark", hidden: true });
    this.undo = this.#button("Undo", `Undo ${path}`, () => does.undo());
    this.clear = this.#button("null", `Set ${path} to null`, () => this.#toNull());
    this.wrong = element("p", { className: "wrong", hidden: true, id: `${id}-wrong` });
    this.control = this.#control(id);
    this.element = element(
      "div",
      { className: this.isLong ? "field long" : "field" },
      element("div", { className: "name" }, element("label", { htmlFor: id }, name), this.state, this.undo, this.clear),
      this.control,
      this.wrong,
    );
  }

  #button(text, label, act) {
    const made = element("button", { type: "button", className: "quiet", hidden: true, "aria-label": label }, text);
    made.addEventListener("click", act);
    return made;
  }

  #control(id) {
    const common = { id, "data-path": this.path, "aria-describedby": `${id}-wrong` };
    if (this.#kind === "boolean") {
      const option = (value) => element("option", { value }, value || "null");
      const control = element("select", common, ...["", "true", "false"].map(option));
      control.addEventListener("change", () => this.#commit());
      return control;
    }
    const control = this.isLong
      ? element("textarea", { ...common, rows: 5, spellcheck: false })
      : element("input", { ...common, autocomplete: "off", spellcheck: false });
    if (this.#kind === "number") control.inputMode = "decimal";
    if (this.#kind === "integer") control.inputMode = "numeric";
    control.addEventListener("input", () => this.#typing());
    control.addEventListener("change", () => this.#commit());
    return control;
  }

  get #isDirty() {
    return this.control.value !== this.#base || (this.#wantsNull && !this.#isNull);
  }

  /** Takes in what the node has now. What is typed and not there yet stays. */
  show(value, heads, unsaved) {
    // What comes while something is sent is older than the answer, or is asked for again after it.
    if (this.#isSending) {
      this.#hasMissed = true;
      return;
    }
    const text = typed(value);
    if (!this.#isDirty) this.#put(text);
    else if (this.#kind === "string") this.#put(merge(this.#base, this.control.value, text));
    this.#base = text;
    this.#heads = heads;
    this.#isNull = value === null || value === undefined;
    this.unsaved = unsaved;
    this.clear.hidden = this.#isNull || this.#kind === "boolean" || this.isReadOnly;
    this.undo.hidden = !unsaved || this.isReadOnly;
    this.#guard();
    if ("placeholder" in this.control) this.control.placeholder = this.#isNull ? "null" : "";
    this.#mark();
    if (this.#isStale) {
      this.#isStale = false;
      this.#commit();
    }
  }

  /** Shows whether people may write here. What was typed before the rule was another one can be seen and copied. */
  #guard() {
    const { control, isReadOnly } = this;
    if ("readOnly" in control) control.readOnly = isReadOnly;
    else control.disabled = isReadOnly;
    control.title = isReadOnly ? "Only the database changes this field" : "";
  }

  /** Whether it can be drawn anew without anything being lost. */
  get isIdle() {
    return !this.#isDirty && !this.#isSending && document.activeElement !== this.control;
  }

  /** Sends what a node that was away has not got. */
  retry() {
    if (this.#isDirty && !this.#isRefused) this.#commit();
  }

  close() {
    clearTimeout(this.#timer);
  }

  /** Writes `text` without moving the cursor from where it stands in it. */
  #put(text) {
    const { control } = this;
    if (control.value === text) return;
    const before = control.value;
    const at = document.activeElement === control && control.setSelectionRange ? [control.selectionStart, control.selectionEnd] : null;
    const top = control.scrollTop;
    control.value = text;
    if (!at) return;
    control.setSelectionRange(...at.map((each) => moved(each, before, text)));
    control.scrollTop = top;
  }

  #typing() {
    this.#wantsNull = this.#isRefused = false;
    this.wrong.hidden = true;
    this.control.removeAttribute("aria-invalid");
    this.#mark();
    clearTimeout(this.#timer);
    // Texts are merged as they are typed; a number is one when it is finished.
    if (this.#kind === "string") this.#timer = setTimeout(() => this.#commit(), REST_MS);
  }

  #toNull() {
    this.control.value = "";
    this.#wantsNull = true;
    this.#isRefused = false;
    this.#commit();
    this.control.focus();
  }

  #commit() {
    clearTimeout(this.#timer);
    // What was refused is not asked again as it is; typing makes it something else.
    if (this.#isRefused) return;
    // Whatever is typed by the time the answer is here is sent then.
    if (this.#isSending) return;
    if (!this.#isDirty) return this.#mark();
    const text = this.control.value;
    if (this.#wantsNull || (this.#kind !== "string" && text === "")) return this.#send(null, text);
    if (this.#kind === "string") return this.#send(text, text);
    if (this.#kind !== "boolean" && /^\s*-?\d+\s*$/.test(text)) return this.#send(digits(text), text);
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      value = undefined;
    }
    if (typeof value === this.#kind) this.#send(value, text);
    else this.#refuse(`this is no ${this.#kind}`);
  }

  async #send(value, text) {
    this.#isSending = true;
    this.#mark();
    let shown;
    try {
      shown = await this.#does.change(value, this.#heads);
    } catch (error) {
      this.#isSending = false;
      if (error.status === 412) {
        this.#isStale = true;
        this.#does.look();
      } else if (error.status !== 0) {
        this.#refuse(error.hint ? `${error.message}: ${error.hint}` : error.message);
      }
      return this.#mark();
    }
    this.#isSending = false;
    this.#wantsNull = false;
    this.wrong.hidden = true;
    this.control.removeAttribute("aria-invalid");
    // What was sent is what both had; what the answer has beyond it came from others.
    this.#base = text;
    this.show(shown.value, shown.heads, shown.unsaved);
    if (this.#hasMissed) {
      this.#hasMissed = false;
      this.#does.look();
    }
    if (this.#isDirty) this.#commit();
  }

  #refuse(text) {
    this.#isRefused = true;
    this.wrong.textContent = text;
    this.wrong.hidden = false;
    this.control.setAttribute("aria-invalid", "true");
    this.#mark();
  }

  #mark() {
    const state = this.#isRefused ? "refused" : this.#isDirty ? "waiting" : this.unsaved ? "unsaved" : "";
    this.state.textContent = { refused: "refused", waiting: "waiting", unsaved: "not saved" }[state] ?? "";
    this.state.dataset.state = state;
    this.state.hidden = !state;
    this.element.classList.toggle("unsaved", this.unsaved);
  }
}
