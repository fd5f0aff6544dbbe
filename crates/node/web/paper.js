// One document that follows a database, as a form: its fields, and the rows of its lists. Drawn in place, so that
// whoever types goes on typing.

import { element } from "/assets/card.js";
import { Field, isLong, kindOf, typed } from "/assets/field.js";

/** Rows of a list that are shown at first, and added by "Show more". */
const STEP = 50;

/** What people type for a kind of column. */
const KINDS = { integer: "integer", float: "number", number: "number", boolean: "boolean", text: "string" };

const isRow = (value) => value !== null && typeof value === "object";
/** A part of a path: dots stand between parts. */
export const escape = (part) => part.replaceAll("~", "~0").replaceAll(".", "~1");
export const pathOf = (...parts) => parts.map(escape).join(".");
export const partsOf = (path) => path.split(".").map((part) => part.replaceAll("~1", ".").replaceAll("~0", "~"));

/** What a view has at a path; nothing is `undefined`. */
export function at(view, path) {
  return partsOf(path).reduce((inner, part) => (isRow(inner) ? inner[part] : undefined), view);
}

/** A merge patch that puts `value` at a path. */
export function patchOf(path, value) {
  return partsOf(path).reduceRight((inner, part) => ({ [part]: inner }), value);
}

/**
 * The form. `does` has write(path, value, heads), which answers the document as the node has it then, and look().
 */
export class Paper {
  #does;
  #fields = new Map();
  #rows = new Map();
  #lists = new Map();
  #shown = null;

  constructor(does) {
    this.#does = does;
    this.root = element("div", { className: "fields" });
    this.lists = element("div", { className: "lists" });
    this.element = element("div", { className: "paper" }, this.root, this.lists);
  }

  show(shown) {
    this.#shown = shown;
    const { view } = shown;
    const unsaved = new Map(shown.unsaved.map((edit) => [edit.path, edit]));
    const seen = new Set();
    const plain = Object.keys(view).filter((name) => !isRow(view[name]));
    const fields = plain.map((name) => this.#field(pathOf(name), name, [view[name]], unsaved, seen));
    place(this.root, inOrder(fields));
    const names = Object.keys(view).filter((name) => isRow(view[name]));
    place(this.lists, names.map((name) => this.#list(name, view[name], unsaved, seen)));
    for (const [path, field] of this.#fields) {
      if (seen.has(path)) continue;
      field.close();
      this.#fields.delete(path);
    }
    this.element.inert = shown.deleted;
  }

  retry() {
    this.#fields.forEach((field) => field.retry());
  }

  close() {
    this.#fields.forEach((field) => field.close());
  }

  /** Brings the field or row at a path into sight. */
  reveal(path) {
    const [list, key] = partsOf(path);
    if (key !== undefined && this.#lists.has(list)) {
      const known = this.#lists.get(list);
      known.shown = Math.max(known.shown, Object.keys(this.#shown.view[list] ?? {}).indexOf(key) + 1);
      this.show(this.#shown);
    }
    const field = this.#fields.get(path);
    const target = field?.control ?? this.#rows.get(path)?.querySelector("input, textarea, select");
    target?.scrollIntoView({ block: "center" });
    target?.focus();
  }

  #field(path, name, values, unsaved, seen) {
    seen.add(path);
    const edit = unsaved.get(path);
    const rule = this.#ruleOf(path);
    const kind = KINDS[rule?.kind] ?? kindOf([...values, edit?.base]);
    const hasLines = kind === "string" && isLong(values);
    let field = this.#fields.get(path);
    // What kind of values a field has may only be seen with its first one.
    if (!field || ((field.kind !== kind || (hasLines && !field.isLong)) && field.isIdle)) {
      field = new Field(path, name, kind, hasLines, {
        change: (value, heads) => this.#change(path, value, heads),
        undo: () => this.#does.write(path, this.#base(path)),
        look: () => this.#does.look(),
      });
      this.#fields.set(path, field);
    }
    field.isReadOnly = rule?.policy === "db_owned";
    field.show(values[0], this.#shown.heads, edit !== undefined);
    return field;
  }

  async #change(path, value, heads) {
    const shown = await this.#does.change(patchOf(path, value), heads);
    const edit = shown.unsaved.find((each) => each.path === path);
    return { value: at(shown.view, path), heads: shown.heads, unsaved: edit !== undefined };
  }

  /** What the node says of a field: of a row's field as of all rows of its list. */
  #ruleOf(path) {
    const parts = partsOf(path);
    return this.#shown.fields?.[parts.length > 1 ? pathOf(parts[0], parts.at(-1)) : path];
  }

  #base(path) {
    return this.#shown.unsaved.find((edit) => edit.path === path)?.base ?? null;
  }

  // --- lists ---------------------------------------------------------------------------------------------

  #list(name, rows, unsaved, seen) {
    const keys = Object.keys(rows);
    let list = this.#lists.get(name);
    if (!list) {
      list = this.#newList(name);
      this.#lists.set(name, list);
    }
    list.count.textContent = String(keys.length);
    const columns = [...new Set(keys.slice(0, STEP).flatMap((key) => Object.keys(rows[key])))];
    const column = (field) => keys.slice(0, STEP).map((key) => rows[key][field]);
    const drawn = keys.slice(0, list.shown).map((key) => this.#row(name, key, rows[key], columns, column, unsaved, seen));
    const gone = [...unsaved.values()].filter((edit) => edit.kind === "delete" && partsOf(edit.path)[0] === name);
    place(list.rows, [...drawn, ...gone.map((edit) => this.#gone(edit))]);
    list.more.hidden = keys.length <= list.shown;
    list.more.textContent = `Show ${Math.min(STEP, keys.length - list.shown)} more of ${keys.length}`;
    return list.element;
  }

  #newList(name) {
    const id = `list-${name}`;
    const list = {
      shown: STEP,
      count: element("span", { className: "count" }),
      rows: element("ul", { className: "rows", "aria-labelledby": id }),
      more: element("button", { type: "button", className: "more" }),
    };
    list.more.addEventListener("click", () => {
      list.shown += STEP;
      this.show(this.#shown);
    });
    const key = element("input", { required: true, maxLength: 200, spellcheck: false, autocomplete: "off", "aria-label": `Key of a new row of ${name}`, placeholder: "key" });
    const form = element("form", { className: "add" }, key, element("button", { type: "submit" }, "Add row"));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const path = pathOf(name, key.value.trim());
      if (at(this.#shown.view, path) === undefined && !(await this.#does.write(path, {}))) return;
      form.reset();
      this.reveal(path);
    });
    list.element = element("section", { className: "list", "aria-labelledby": id }, element("h3", { id }, name, " ", list.count), list.rows, list.more, form);
    return list;
  }

  #row(list, key, row, columns, column, unsaved, seen) {
    const path = pathOf(list, key);
    let made = this.#rows.get(path);
    if (!made) {
      const remove = element("button", { type: "button", className: "quiet", "aria-label": `Delete ${path}` }, "Delete");
      remove.addEventListener("click", () => this.#does.write(path, null));
      made = element("li", { className: "row", "data-path": path },
        element("div", { className: "rowhead" }, element("h4", {}, key), element("span", { className: "mark", "data-state": "unsaved" }, "new, not saved"), remove),
        element("div", { className: "fields" }));
      this.#rows.set(path, made);
    }
    made.querySelector(".mark").hidden = !unsaved.has(path);
    const names = [...new Set([...columns, ...Object.keys(row)])];
    const fields = names.map((name) => this.#field(pathOf(list, key, name), name, [row[name], ...column(name)], unsaved, seen));
    place(made.querySelector(".fields"), inOrder(fields));
    return made;
  }

  /** A row that somebody has deleted, while the database still has it. */
  #gone(edit) {
    const back = element("button", { type: "button", className: "quiet", "aria-label": `Restore ${edit.path}` }, "Restore");
    back.addEventListener("click", () => this.#does.write(edit.path, edit.base));
    const name = typed(edit.base?.name);
    return element("li", { className: "row gone", "data-path": edit.path },
      element("div", { className: "rowhead" }, element("h4", {}, partsOf(edit.path)[1]), name ? element("span", { className: "soft" }, name) : null,
        element("span", { className: "mark", "data-state": "unsaved" }, "deleted, not saved"), back));
  }
}

/** Fields of one line, then those of several. */
const inOrder = (fields) => [...fields.filter((field) => !field.isLong), ...fields.filter((field) => field.isLong)].map((field) => field.element);

/** Puts `children` into `parent` in this order, touching only what is out of place. */
export function place(parent, children) {
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    if (!children.includes(gone)) gone.remove();
  }
}
