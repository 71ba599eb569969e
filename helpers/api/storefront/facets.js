/**
 * The filters: categories from PostgreSQL, tags and specifications from MongoDB, each with its
 * count, and "in stock only" from Redis. The chosen filters are in the query; see `query.js`.
 */

import { element, keepChildren, setText, unseen } from "./dom.js";
import {
  nameText, rangeText, readRange, replaced, specification, toggled, valueText, valueWords,
} from "./query.js";
import { clip, plain, readable } from "./values.js";

const SHORT = 6;
const FEW_SPECIFICATIONS = 8;
const MANY_NUMBERS = 6;
const MANY_VALUES = 12;
const TYPING_MS = 200;

/**
 * The form with the filters. `change(query)` is called when the user changes one, and
 * `find(text)` returns the facets with the values that contain a text.
 */
export class Facets {
  #form;
  #change;
  #find;
  #query = new URLSearchParams();
  #unfolded = new Set();
  #found = new Map();
  #last = { category: [], tags: [], specifications: {} };
  #countsAway = new Set();
  #fieldsAway = new Set();

  constructor(form, change, find) {
    this.#form = form;
    this.#change = change;
    this.#find = find;
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  /** Show the filters of `query`, with the counts of `exchange` if there are new ones. */
  render(query, exchange = null) {
    if (query !== this.#query) this.#forgetFound();
    this.#query = query;
    if (exchange !== null) this.#take(exchange);
    const groups = this.#groups();
    keepChildren(this.#form, groups, {
      keyOf: (group) => group.key,
      make: makeGroup,
      update: (node, group) => group.updateIn(node, group),
    });
  }

  /** Set which stores are unavailable: filters that need them are disabled. */
  setAway(stores) {
    if ([...stores].join() === [...this.#fieldsAway].join()) return;
    this.#fieldsAway = stores;
    this.render(this.#query);
  }

  #isAway(store) {
    return this.#countsAway.has(store) || this.#fieldsAway.has(store);
  }

  #take({ body, missing }) {
    this.#form.removeAttribute("data-waiting");
    this.#countsAway = missing;
    // The part of an unavailable store is null: keep its earlier values.
    if (body.category !== null) this.#last.category = body.category;
    if (body.tags !== null) this.#last.tags = body.tags;
    if (body.specifications !== null) this.#last.specifications = body.specifications;
  }

  /** Forget the values that were found: their counts were those of another query. */
  #forgetFound() {
    this.#found.clear();
    for (const field of this.#form.querySelectorAll(".find")) field.value = "";
  }

  /** Show those values of a group that contain the text in its field, as soon as it is complete. */
  async #findValues(field, { key, pick }) {
    const text = field.value.trim();
    const isLatest = () => field.isConnected && field.value.trim() === text;
    if (text !== "") {
      await new Promise((resolve) => { setTimeout(resolve, TYPING_MS); });
      const body = isLatest() ? await this.#find(text) : null;
      if (body === null || !isLatest()) return;
      this.#found.set(key, pick(body) ?? []);
    } else this.#found.delete(key);
    this.render(this.#query);
  }

  #groups() {
    return [
      {
        key: "category", name: "category", title: "Category", store: "PostgreSQL", isSingle: true,
        options: this.#options("category", this.#last.category, nameText),
        pick: (body) => body.category,
        updateIn: (node, group) => this.#updateGroup(node, group),
      },
      {
        key: "in_stock", name: "in_stock", title: "Availability", store: "Redis",
        options: [{ text: "In stock only", value: "true", count: null,
          isChosen: this.#query.get("in_stock") === "true" }],
        updateIn: (node, group) => this.#updateGroup(node, group),
      },
      {
        key: "tag", name: "tag", title: "Tags", store: "MongoDB",
        options: this.#options("tag", this.#last.tags, nameText),
        pick: (body) => body.tags,
        updateIn: (node, group) => this.#updateGroup(node, group),
      },
      {
        key: "specifications", title: "Specifications", store: "MongoDB",
        kind: "specifications",
        updateIn: (node) => this.#updateSpecifications(node),
      },
    ];
  }

  /** Return a facet's values as options, including chosen values that it does not have. */
  #options(name, values, textOf) {
    const options = [];
    const found = this.#found.get(name);
    for (const { value, count } of found ?? values ?? []) {
      const text = textOf(value);
      if (text === null) continue;
      const isChosen = this.#query.has(name, text);
      options.push({ text: plain(value), value: text, count, isChosen });
    }
    for (const value of this.#query.getAll(name)) {
      // A range has its own input fields.
      const isThere = options.some((one) => one.value === value)
        || (textOf === valueText && readRange(value) !== null);
      const text = textOf === valueText ? valueWords(value) : value;
      if (!isThere) options.unshift({ text, value, count: found ? null : 0, isChosen: true });
    }
    return options;
  }

  #updateGroup(node, group) {
    const isAway = this.#isAway(group.store);
    const list = node.querySelector(".options");
    const note = node.querySelector(".absent");
    const what = group.name === "in_stock" ? "stock is unknown" : "no counts now";
    setText(note, isAway ? `${group.store} does not answer: ${what}` : "");
    note.hidden = !isAway;
    const field = node.querySelector(":scope > .find");
    const isFinding = this.#found.has(group.key);
    field.hidden = isAway || (group.options.length < MANY_VALUES && !isFinding);
    field.oninput = () => this.#findValues(field, group);
    const isUnfolded = isFinding || this.#unfolded.has(group.key)
      || group.options.length <= SHORT + 1;
    const shown = group.options.filter((one, index) =>
      isUnfolded || index < SHORT || one.isChosen);
    const any = { text: "Any", value: "", count: null, isChosen: !this.#query.has(group.name) };
    const options = group.isSingle && shown.length > 0 ? [any, ...shown] : shown;
    keepChildren(list, options, {
      keyOf: (one) => one.value,
      make: (one) => this.#makeOption(group, one),
      update: (item, one) => updateOption(item, one, isAway),
    });
    this.#updateUnfold(node, group, group.options.length - shown.length);
  }

  #makeOption(group, { value }) {
    const choose = () => {
      if (value === "") this.#change(replaced(this.#query, group.name, null));
      else if (group.name === "tag") this.#change(toggled(this.#query, "tag", value));
      else {
        const isChosen = this.#query.has(group.name, value);
        this.#change(replaced(this.#query, group.name, isChosen ? null : value));
      }
    };
    const type = group.isSingle ? "radio" : "checkbox";
    return element("li", {}, element("label", { class: "option" },
      element("input", { type, name: group.name, value, change: choose }),
      element("span", { class: "option-text" }),
      element("span", { class: "option-count" }),
    ));
  }

  #updateUnfold(node, group, hidden) {
    const button = node.querySelector(":scope > .unfold");
    const isUnfolded = this.#unfolded.has(group.key);
    button.hidden = hidden === 0 && !isUnfolded;
    button.setAttribute("aria-expanded", String(isUnfolded));
    const what = unseen(` ${group.what ?? "values"} of ${group.title}`);
    button.replaceChildren(isUnfolded ? "Fewer" : `${hidden} more`, what);
    button.onclick = () => {
      if (!this.#unfolded.delete(group.key)) this.#unfolded.add(group.key);
      this.render(this.#query);
    };
  }

  #updateSpecifications(node) {
    const isAway = this.#isAway("MongoDB");
    const names = this.#specificationNames();
    const isUnfolded = this.#unfolded.has("specifications");
    const isShort = names.length <= FEW_SPECIFICATIONS + 1;
    const shown = names.filter(({ isChosen }, index) =>
      isUnfolded || isShort || isChosen || index < FEW_SPECIFICATIONS);
    const note = node.querySelector(":scope > .absent");
    setText(note, isAway ? "MongoDB does not answer: no counts now" : "");
    note.hidden = !isAway;
    node.hidden = names.length === 0 && !isAway;
    keepChildren(node.querySelector(".specifications"), shown, {
      keyOf: ({ name }) => name,
      make: (one) => this.#makeSpecification(one),
      update: (item, one) => this.#updateSpecification(item, one),
    });
    const group = { key: "specifications", title: "Specifications", what: "names" };
    this.#updateUnfold(node, group, names.length - shown.length);
  }

  #specificationNames() {
    const names = new Map();
    for (const [name, values] of Object.entries(this.#last.specifications ?? {})) {
      const parameter = specification(name);
      if (parameter !== null && Array.isArray(values)) names.set(parameter, { name, values });
    }
    for (const parameter of this.#query.keys()) {
      const isMissing = parameter.startsWith("spec.") && !names.has(parameter);
      if (isMissing) names.set(parameter, { name: parameter.slice(5), values: [] });
    }
    return [...names].map(([parameter, { name, values }]) => ({
      name, parameter, values, isChosen: this.#query.has(parameter),
    }));
  }

  #makeSpecification({ name, isChosen }) {
    const node = makeInnerGroup(readable(name));
    return element("li", {}, element("details", { class: "specification", open: isChosen },
      element("summary", {}, clip(readable(name), 40)), node,
    ));
  }

  #updateSpecification(item, { name, parameter, values }) {
    const group = {
      key: parameter, name: parameter, title: readable(name), store: "MongoDB",
      options: this.#options(parameter, values, valueText),
      pick: (body) => body.specifications?.[name],
    };
    const node = item.querySelector("fieldset");
    this.#updateGroup(node, group);
    node.querySelector(".absent").hidden = true;
    const isNumeric = values.length > 0 && values.every(({ value }) => typeof value === "number");
    const hasRange = readRange(this.#query.get(parameter)) !== null;
    this.#updateRange(node, group, hasRange || (isNumeric && values.length >= MANY_NUMBERS));
  }

  #updateRange(node, { name, title }, isWanted) {
    let range = node.querySelector(".range");
    if (!isWanted) return range?.remove();
    if (range === null) {
      range = makeRange(title, (low, high) =>
        this.#change(replaced(this.#query, name, rangeText(low, high))));
      node.querySelector(".options").before(range);
    }
    const [low, high] = readRange(this.#query.get(name)) ?? ["", ""];
    const inputs = range.querySelectorAll("input");
    [low, high].forEach((end, index) => {
      if (inputs[index].dataset.was !== end) inputs[index].value = end;
      inputs[index].dataset.was = end;
    });
    return undefined;
  }
}

function makeGroup({ title, store, kind = "options" }) {
  return makeFieldset(
    { class: "group field", dataset: { store } },
    element("legend", {}, title, element("span", { class: "source" }, element("b", {}, store))),
    kind, title,
  );
}

/** Create the group of values of one specification. Its name is in the summary. */
function makeInnerGroup(title) {
  const legend = element("legend", { class: "visually-hidden" }, title);
  return makeFieldset({ class: "inner" }, legend, "options", title);
}

function makeFieldset(properties, legend, kind, title) {
  return element("fieldset", properties,
    legend,
    element("p", { class: "absent", hidden: true }),
    element("input", { type: "search", class: "find", hidden: true, maxlength: 200,
      placeholder: "Find a value", "aria-label": `Find a value of ${title}` }),
    element("ul", { class: kind }),
    element("button", { type: "button", class: "unfold", hidden: true }),
  );
}

function updateOption(item, one, isAway) {
  const input = item.querySelector("input");
  input.checked = one.isChosen;
  // A chosen filter can be removed even if its store is unavailable.
  input.disabled = isAway && !one.isChosen && one.value !== "";
  setText(item.querySelector(".option-text"), clip(one.text, 80));
  const count = item.querySelector(".option-count");
  setText(count, one.count === null ? "" : String(one.count));
}

/** Return both ends as plain numbers, the lower one first. An empty end is open. */
function ordered(low, high) {
  const ends = [low, high].map((end) => (end === "" ? "" : String(Number(end))));
  return ends.includes("") || Number(ends[0]) <= Number(ends[1]) ? ends : ends.toReversed();
}

function makeRange(title, apply) {
  const low = element("input", { type: "number", step: "any", inputmode: "decimal" });
  const high = element("input", { type: "number", step: "any", inputmode: "decimal" });
  const go = () => apply(...ordered(low.value, high.value));
  const onEnter = (event) => event.key === "Enter" && (event.preventDefault(), go());
  for (const input of [low, high]) input.addEventListener("keydown", onEnter);
  return element("div", { class: "range" },
    element("label", {}, "from", unseen(` (${title})`), low),
    element("label", {}, "to", unseen(` (${title})`), high),
    element("button", { type: "button", class: "button small", click: go }, "Apply",
      unseen(` (${title})`)),
  );
}
