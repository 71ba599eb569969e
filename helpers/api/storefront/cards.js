/**
 * Show products as cards. A card has a field for each store, with its value, "none", or a note
 * that the store is unavailable.
 */

import { element, keepChildren, setText, unseen } from "./dom.js";
import { place, STORES } from "./stores.js";
import { clip, describe, readable } from "./values.js";

const MOST_ROWS = 4;
const MOST_UNFOLDED = 40;
const MOST_TAGS = 12;
const LONGEST_NAME = 100;
const LONGEST_DESCRIPTION = 240;
const CHANGED_MS = 4000;

/** The list of cards, and the last known values of each product. */
export class Cards {
  #list;
  #takeApart;
  #shown = new Map();

  /** `takeApart(id, button)` is called when the user asks for the request of one product. */
  constructor(list, takeApart) {
    this.#list = list;
    this.#takeApart = takeApart;
  }

  get ids() {
    return [...this.#shown.keys()];
  }

  /** Replace the cards by those of the products of `exchange`. */
  replace(exchange) {
    this.#shown.clear();
    this.#list.removeAttribute("data-stale");
    this.append(exchange);
  }

  /** Append the products of `exchange`; return the first new card. */
  append(exchange) {
    const added = exchange.body.filter((product) => !this.#shown.has(product.id));
    for (const product of added) this.#shown.set(product.id, known(product, exchange));
    this.#render();
    return added.length === 0 ? null : this.#card(added[0].id);
  }

  /**
   * Update the cards of the ids `asked` from a response; return the products whose stock changed.
   *
   * If a store is unavailable, its earlier values stay, with their time, except the stock, which
   * becomes unknown. A product that is missing because its node is unavailable stays as it was.
   */
  refresh(asked, exchange) {
    const answered = new Map(exchange.body.map((product) => [product.id, product]));
    const changed = [];
    for (const id of asked.filter((one) => this.#shown.has(one))) {
      const before = this.#shown.get(id);
      const product = answered.get(id);
      const now = product ? known(product, exchange, before) : unanswered(before, exchange);
      this.#shown.set(id, now);
      if (isAnotherCount(before, now)) changed.push({ ...now.product, was: before.product.stock });
    }
    this.#render();
    for (const product of changed) mark(this.#card(product.id), product.was);
    return changed;
  }

  /** Mark every card as out of date since `time`; with `null`, as up to date. */
  setStale(time) {
    this.#list.toggleAttribute("data-stale", time !== null);
    for (const [id, one] of this.#shown) this.#shown.set(id, { ...one, staleSince: time });
    this.#render();
  }

  /** Show `count` empty cards while the first products are loading. */
  showPlaceholders(count) {
    this.#shown.clear();
    const cards = Array.from({ length: count }, () =>
      element("li", { class: "card placeholder", "aria-hidden": "true" }),
    );
    this.#list.replaceChildren(...cards);
  }

  #card(id) {
    return this.#list.querySelector(`[data-key="${CSS.escape(String(id))}"]`);
  }

  #render() {
    keepChildren(this.#list, this.ids, {
      keyOf: (id) => id,
      make: (id) => this.#make(id),
      update: (card, id) => update(card, this.#shown.get(id)),
    });
  }

  #make(id) {
    const takeApart = ({ currentTarget }) => this.#takeApart(id, currentTarget);
    return element(
      "li",
      { class: "card" },
      STORES.map((store) => element("div", { class: "field", dataset: { store } })),
      element("p", { class: "card-foot" }, element("button", {
        type: "button", class: "button small apart", click: takeApart,
      })),
    );
  }
}

/** Return a product's values after a response, and the time of those of unavailable stores. */
function known(product, exchange, before = null) {
  const merged = { ...product };
  const seen = { ...before?.seen };
  for (const store of STORES) if (!exchange.missing.has(store)) seen[store] = exchange.at;
  if (exchange.missing.has("PostgreSQL") && before !== null) {
    merged.name = before.product.name;
    merged.price = before.product.price;
  }
  if (exchange.missing.has("MongoDB") && before !== null) {
    merged.metadata = before.product.metadata;
  }
  return { product: merged, missing: exchange.missing, seen, isGone: false, staleSince: null };
}

/** Return the values of a product that is missing from a response. */
function unanswered(before, { missingNodes }) {
  if (missingNodes.length === 0) return { ...before, isGone: true };
  return { ...before, staleSince: before.seen.PostgreSQL ?? null };
}

function isAnotherCount(before, now) {
  const [was, is] = [before.product.stock, now.product.stock];
  return was !== is && was !== null && is !== null;
}

function update(card, one) {
  const parts = card.querySelectorAll(":scope > .field");
  const contents = [showRow, showMetadata, showStock];
  STORES.forEach((store, index) => {
    // Rebuild only what changed, so that nothing moves and screen readers repeat nothing.
    const isAway = one.missing.has(store);
    const state = JSON.stringify([fieldsOf(store, one), isAway, note(store, one), one.isGone]);
    if (parts[index].dataset.state === state) return;
    parts[index].dataset.state = state;
    parts[index].replaceChildren(...contents[index](one), sourceLine(store, one));
  });
  card.toggleAttribute("data-gone", one.isGone);
  const button = card.querySelector(".apart");
  const text = `Take apart ${clip(title(one.product), LONGEST_NAME)}`;
  if (button.getAttribute("aria-label") !== text) {
    button.setAttribute("aria-label", text);
    setText(button, "Take apart");
  }
}

function fieldsOf(store, { product }) {
  if (store === "PostgreSQL") return [product.name, product.price];
  return store === "MongoDB" ? product.metadata : product.stock;
}

function title(product) {
  return product.name === null ? `Product ${product.id}` : String(product.name);
}

function showRow({ product, isGone, missing }) {
  const isUnknown = product.name === null && missing.has("PostgreSQL");
  return [
    element("div", { class: "title-line" },
      element("h3", { class: "name", dataset: { field: "name" } },
        clip(title(product), LONGEST_NAME)),
      product.price === null
        ? null
        : element("p", { class: "price", dataset: { field: "price" } },
            unseen("Price: "), clip(String(product.price), 40)),
    ),
    isUnknown ? absent("PostgreSQL does not answer: name and price unknown") : null,
    isGone ? absent("No longer in the shop: PostgreSQL has no such row") : null,
  ].filter(Boolean);
}

function showMetadata({ product, missing }) {
  if (product.metadata === null || product.metadata === undefined) {
    const isAway = missing.has("MongoDB");
    return [absent(isAway
      ? "MongoDB does not answer: description, tags and specifications unknown"
      : "MongoDB has no document of this product")];
  }
  const { description, tags, rows, others } = describe(product.metadata);
  const all = [...rows, ...others];
  // One more row takes no more space than the button "1 more".
  const shown = rows.length + others.length === MOST_ROWS + 1 ? MOST_ROWS + 1 : MOST_ROWS;
  const first = rows.slice(0, shown);
  const rest = all.slice(first.length);
  return [
    description === null ? null : element("p", { class: "description", dataset: {
      field: "description" } }, clip(description, LONGEST_DESCRIPTION)),
    tags.length === 0 ? null : tagList(tags),
    first.length === 0 ? null : rowList(first, "specifications"),
    rest.length === 0 ? null : element("details", { class: "rest" },
      element("summary", {}, `${rest.length} more`,
        unseen(` of ${clip(title(product), LONGEST_NAME)}`)),
      rowList(rest.slice(0, MOST_UNFOLDED), "more"),
      rest.length > MOST_UNFOLDED ? absent(`and ${rest.length - MOST_UNFOLDED} others`) : null,
    ),
  ].filter(Boolean);
}

function tagList(tags) {
  const left = tags.length - MOST_TAGS;
  return element("ul", { class: "tags", "aria-label": "Tags", dataset: { field: "tags" } },
    tags.slice(0, MOST_TAGS).map((tag) => element("li", {}, clip(tag, 60))),
    left > 0 ? element("li", {}, `and ${left} more`) : null,
  );
}

function rowList(rows, field) {
  return element("dl", { class: "rows", dataset: { field } }, rows.map(([name, text]) =>
    element("div", {}, element("dt", {}, clip(readable(name), 60)), element("dd", {}, clip(text))),
  ));
}

function showStock({ product, missing }) {
  const [level, text] = stockText(product.stock, missing.has("Redis"));
  return [element("p", { class: "stock", dataset: { field: "stock", level } }, text)];
}

/** Return the kind of a stock count ("some", "none", "unknown" or "odd") and its text. */
export function stockText(stock, isAway) {
  if (isAway) return ["unknown", "Redis does not answer: stock unknown"];
  if (stock === null) return ["unknown", "Stock unknown: Redis has no count"];
  if (/^0+$/.test(stock)) return ["none", "Sold out"];
  if (/^\d{1,15}$/.test(stock)) return ["some", `${stock} in stock`];
  return ["odd", `Redis says “${clip(String(stock), 40)}”, which is no count`];
}

function absent(text) {
  return element("p", { class: "absent" }, text);
}

function sourceLine(store, one) {
  const since = note(store, one);
  return element("p", { class: "source" },
    element("b", {}, store), ` · ${place(store, one.product.id)} `,
    since === "" ? null : element("span", { class: "as-of" }, since),
  );
}

/** Show since when a field is unconfirmed, or nothing if its store has just responded. */
function note(store, one) {
  if (one.staleSince !== null) return `as of ${timeText(one.staleSince)}`;
  const isKept = one.missing.has(store) && store !== "Redis" && one.seen[store] !== undefined;
  return isKept ? `does not answer; as of ${timeText(one.seen[store])}` : "";
}

/** Return a time of day, to the second. */
export function timeText(date) {
  return date.toLocaleTimeString("en-GB");
}

function mark(card, was) {
  const stock = card.querySelector(".stock");
  const [, before] = stockText(was, false);
  stock.append(element("span", { class: "was" }, `was ${before.replace(" in stock", "")}`));
  stock.dataset.changed = "";
  setTimeout(() => {
    delete stock.dataset.changed;
    stock.querySelector(".was")?.remove();
  }, CHANGED_MS);
}
