/**
 * Parse `Server-Timing`: the start and the duration of each request to a store.
 *
 *     total;dur=12.3, postgresql;dur=2.9;desc="1 round trip",
 *     postgresql-1;dur=2.8;start=0.4;desc="SELECT"
 */

import { STORES, storeNamed } from "./stores.js";

// A quoted string may contain commas and semicolons, so the header cannot be split at them.
const PART = /\s*([,;])?\s*([^\s,;="]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;]*)))?/y;

/** Return the entries of a `Server-Timing` header, in order: `{ name, dur, desc, start, … }`. */
export function parseServerTiming(header) {
  const entries = [];
  PART.lastIndex = 0;
  for (let found = PART.exec(header ?? ""); found !== null; found = PART.exec(header)) {
    const [, sign, name, quoted, bare] = found;
    if (sign !== ";" || entries.length === 0) entries.push({ name });
    else entries.at(-1)[name.toLowerCase()] = quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "";
  }
  return entries;
}

/**
 * Return the cost of a request: `total` in ms, `stores` with their round trips and ms, `requests`
 * (each to one store) in order of their start, the number of `unlisted` ones, and `notes` such as
 * "with another request".
 */
export function readTiming(header) {
  const cost = { total: null, stores: [], requests: [], unlisted: 0, notes: [] };
  for (const entry of parseServerTiming(header)) readEntry(entry, cost);
  cost.requests.sort((one, other) => one.start - other.start);
  cost.stores.sort((one, other) => STORES.indexOf(one.store) - STORES.indexOf(other.store));
  const ends = cost.requests.map((request) => request.start + request.ms);
  cost.total ??= Math.max(0, ...ends, ...cost.stores.map((one) => one.ms));
  const trips = cost.stores.reduce((sum, one) => sum + one.roundTrips, 0);
  cost.unlisted = Math.max(0, trips - cost.requests.length);
  return cost;
}

function readEntry(entry, cost) {
  const ms = Number.parseFloat(entry.dur) || 0;
  const [, stem, number] = /^(.*?)(?:-(\d+))?$/.exec(entry.name);
  const store = storeNamed(stem);
  if (entry.name === "total") cost.total = ms;
  else if (store !== null && number !== undefined) {
    const start = Number.parseFloat(entry.start) || 0;
    cost.requests.push({ store, number: Number(number), start, ms, what: entry.desc ?? "" });
  } else if (store !== null) {
    cost.stores.push({ store, ms, roundTrips: Number.parseInt(entry.desc, 10) || 0 });
  } else if (entry.name === "shared") {
    cost.notes.push(`This response was shared ${entry.desc ?? "with another request"}.`);
  } else if (entry.name === "read-model") {
    cost.notes.push(`From the read model, ${entry.desc ?? "of an unknown version"}.`);
  }
}
