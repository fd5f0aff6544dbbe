// One card: an item as DOM. Text goes in as text, never as markup.

/** Makes an element. `properties` are set as they are; `children` are nodes or texts. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const fact = (kind, text) => element("span", { className: `fact ${kind}` }, text);

/** Fields that are settled with another, not by themselves. */
const FOLLOWS = new Set(["claimed_at"]);

/**
 * Draws an item. `does` has what its controls do: move(stage), claim(), release(), settle(field, value), remove().
 */
export function draw(item, disputes, stages, does) {
  const title = item.name || item.story_id;
  const select = element(
    "select",
    { "aria-label": `Stage of ${title}`, "data-control": "stage" },
    ...stages.map((stage) => element("option", { value: stage, selected: stage === item.stage }, stage || "(no stage)")),
  );
  select.addEventListener("change", () => does.move(select.value));
  const button = (control, text, label, act) => {
    const made = element("button", { type: "button", "aria-label": `${label} ${title}`, "data-control": control }, text);
    made.addEventListener("click", act);
    return made;
  };
  const claimed = item.claimed_by !== "";
  const card = element(
    "li",
    { className: "card", draggable: true, "data-id": item.story_id },
    element(
      "div",
      { className: "head" },
      element("div", {}, element("h3", {}, title), item.name ? element("p", { className: "id" }, item.story_id) : null),
      button("remove", "✕", "Remove", does.remove),
    ),
  );
  const facts = element("div", { className: "facts" });
  if (claimed) facts.append(fact("claimed", `claimed by ${item.claimed_by}`));
  if (item.agent) facts.append(fact("", `agent ${item.agent}`));
  if (item.blocked) facts.append(fact("blocked", "blocked"));
  if (item.depends_on) facts.append(fact("", `after ${item.depends_on}`));
  if (item.retry_count) facts.append(fact("", `retried ${item.retry_count}×`));
  if (facts.childElementCount) card.append(facts);
  const shown = disputes.filter((dispute) => !FOLLOWS.has(dispute.field));
  if (shown.length) card.append(drawDisputes(item, shown, does));
  card.append(
    element(
      "div",
      { className: "controls" },
      select,
      claimed ? button("claim", "Release", "Release", does.release) : button("claim", "Claim", "Claim", does.claim),
    ),
  );
  return card;
}

function drawDisputes(item, disputes, does) {
  const settle = (field, value, text) => {
    const made = element("button", { type: "button", "data-control": `settle-${field}-${text}` }, `${text} ${show(value)}`);
    made.addEventListener("click", () => does.settle(field, value));
    return made;
  };
  const line = (dispute) =>
    element(
      "li",
      {},
      `${dispute.field}: `,
      settle(dispute.field, item[dispute.field], "keep"),
      settle(dispute.field, dispute.value, "take"),
      dispute.author_name ? ` by ${dispute.author_name}` : "",
    );
  return element(
    "div",
    { className: "disputes" },
    element("strong", {}, disputes.length === 1 ? "1 conflict" : `${disputes.length} conflicts`),
    element("ul", {}, ...disputes.map(line)),
  );
}

const show = (value) => (value === "" ? "(empty)" : typeof value === "string" ? `“${value}”` : String(value));
