/**
 * Filters as query parameters of the API: `category=laptop&tag=gift&spec.ram=16GB`.
 *
 * The page's address has the same parameters, so that links can be shared and "back" works.
 */

import { readable } from "./values.js";

const KNOWN = ["category", "tag", "in_stock"];
const SPECIFICATION = "spec.";
const NAME = /^[\p{L}\p{N}][^$.\p{C}]{0,199}(\.[\p{L}\p{N}][^$.\p{C}]{0,199}){0,3}$/u;
const LONGEST = 200;
const LARGEST = 2 ** 63;
const NUMBER = /^-?(0|[1-9]\d{0,17})(\.\d{1,17})?(e[+-]?\d{1,3})?$/;

/** Return the filters in the page's address, without any other parameters. */
export function readFilters(search) {
  const filters = new URLSearchParams();
  for (const [name, value] of new URLSearchParams(search)) {
    const isKnown = KNOWN.includes(name) || name.startsWith(SPECIFICATION);
    if (isKnown && !filters.has(name, value)) filters.append(name, value);
  }
  return filters;
}

/** Return the filters with `name` set to `value`, or without it if `value` is `null`. */
export function replaced(filters, name, value) {
  const changed = new URLSearchParams(filters);
  if (value === null) changed.delete(name);
  else changed.set(name, value);
  return changed;
}

/** Return the filters with `name=value` added, or removed if they have it. */
export function toggled(filters, name, value) {
  const changed = new URLSearchParams();
  for (const [one, its] of filters) if (one !== name || its !== value) changed.append(one, its);
  if (!filters.has(name, value)) changed.append(name, value);
  return changed;
}

/** Return the filters without those that need `store`. */
export function without(filters, store) {
  const changed = new URLSearchParams();
  for (const [name, value] of filters) if (storeOf(name) !== store) changed.append(name, value);
  return changed;
}

/** Return the store that a filter needs. */
export function storeOf(name) {
  return { category: "PostgreSQL", in_stock: "Redis" }[name] ?? "MongoDB";
}

/** Return the parameter of a specification, or `null` if the API refuses its name. */
export function specification(name) {
  return NAME.test(name) ? SPECIFICATION + name : null;
}

/**
 * Return a value as the API parses it: a string that looks like another type gets quotation marks.
 * Return `null` if the API cannot filter by it.
 */
export function valueText(value) {
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") {
    return NUMBER.test(value) && Math.abs(value) < LARGEST ? String(value) : null;
  }
  if (typeof value !== "string" || value === "" || value.length > LONGEST) return null;
  const looksElse =
    NUMBER.test(value) || /^(true|false|".*")$/s.test(value) || value.includes("..");
  return looksElse ? `"${value}"` : value;
}

/** Return a category or a tag as a parameter, or `null` if the API cannot filter by it. */
export function nameText(value) {
  return typeof value === "string" && value !== "" && value.length <= LONGEST ? value : null;
}

/** Return a range as the API parses it. An empty end is open. */
export function rangeText(low, high) {
  return low === "" && high === "" ? null : `${low}..${high}`;
}

/** Return the ends of a range, or `null` if `text` is not a range. */
export function readRange(text) {
  const [low, high, ...more] = (text ?? "").split("..");
  const isEnd = (end) => end === "" || NUMBER.test(end);
  return high !== undefined && more.length === 0 && isEnd(low) && isEnd(high) ? [low, high] : null;
}

/** Return a filter in words: "ram: 16GB", "pages: 100 to 300". */
export function filterText(name, value) {
  if (name === "in_stock") return "in stock only";
  if (!name.startsWith(SPECIFICATION)) return `${name}: ${value}`;
  return `${readable(name.slice(SPECIFICATION.length))}: ${valueWords(value)}`;
}

/** Return the value of a specification in words: "from 100", "yes". */
export function valueWords(value) {
  const range = readRange(value);
  if (range !== null) {
    const [low, high] = range;
    if (low === "") return `up to ${high}`;
    return high === "" ? `from ${low}` : `${low} to ${high}`;
  }
  if (value === "true") return "yes";
  if (value === "false") return "no";
  return /^".+"$/s.test(value) ? value.slice(1, -1) : value;
}
