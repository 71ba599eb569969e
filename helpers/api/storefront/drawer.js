/** The drawer: a request, its response, and the round trips it took. */

import { timeText } from "./cards.js";
import { counted, element, keepChildren, setText } from "./dom.js";
import { STORE_OF } from "./stores.js";
import { msText, waterfall } from "./waterfall.js";

const KEPT = 12;
const LONGEST_JSON = 4000;
const WIDE = "(min-width: 70rem)";
const NEWEST = "newest";
const WORDS = { 200: "OK", 304: "Not Modified", 400: "Bad Request", 404: "Not Found",
  503: "Service Unavailable" };

export class Drawer {
  #dialog = document.getElementById("drawer");
  #body = document.getElementById("drawer-body");
  #choice = document.getElementById("drawer-requests");
  #toggle = document.getElementById("drawer-toggle");
  #opener = null;
  #kept = [];
  #number = 0;
  #shown = null;

  constructor() {
    this.#toggle.addEventListener("click", () =>
      this.#dialog.open ? this.close() : this.open(this.#toggle));
    document.getElementById("drawer-close").addEventListener("click", () => this.close());
    this.#dialog.addEventListener("close", () => this.#closed());
    this.#choice.addEventListener("change", () => this.#render());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#dialog.open && !event.defaultPrevented) this.close();
    });
    this.#render();
  }

  /** Add an exchange, and show it if the newest is shown. */
  add(exchange) {
    const kept = { ...exchange, number: (this.#number += 1), times: 1 };
    const last = this.#kept.findLast((one) => one.kind === "refresh");
    if (exchange.kind === "refresh" && last) {
      // Keep only the newest of equal refreshes.
      kept.number = last.number;
      kept.times = last.times + 1;
      this.#kept[this.#kept.indexOf(last)] = kept;
    } else {
      this.#kept.push(kept);
      if (this.#kept.length > KEPT) this.#kept.shift();
    }
    this.#render();
  }

  /** Open the drawer; when it closes, the focus returns to `opener`. */
  open(opener, { newest = false } = {}) {
    if (newest) this.#choice.value = NEWEST;
    this.#opener = opener;
    this.#render();
    // Next to the products if there is space, else on top of them.
    if (!this.#dialog.open) {
      if (matchMedia(WIDE).matches) this.#dialog.show();
      else this.#dialog.showModal();
    }
    document.getElementById("drawer-title").focus();
    this.#setToggle(true);
  }

  close() {
    this.#dialog.close();
  }

  #closed() {
    this.#setToggle(false);
    const focused = document.activeElement;
    // If the user has moved the focus meanwhile, leave it there.
    if (focused !== document.body && !this.#dialog.contains(focused)) return;
    const target = this.#opener?.isConnected ? this.#opener : this.#toggle;
    target.focus({ preventScroll: true });
  }

  #setToggle(isOpen) {
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
    setText(this.#toggle, isOpen ? "Hide the request" : "Show the request");
  }

  #render() {
    const choices = [{ number: NEWEST }, ...this.#kept.toReversed()];
    keepChildren(this.#choice, choices, {
      keyOf: ({ number }) => number,
      make: ({ number }) => element("option", { value: number }),
      update: (option, one) => setText(option, choiceText(one)),
    });
    const exchange = this.#chosen();
    if (exchange === this.#shown && exchange !== undefined) return;
    this.#shown = exchange;
    this.#body.replaceChildren(
      ...(exchange ? describeExchange(exchange) : [element("p", {}, "No request was made yet.")]),
    );
  }

  /** The chosen exchange, else the newest that the user started, else the newest. */
  #chosen() {
    const chosen = this.#kept.find(({ number }) => String(number) === this.#choice.value);
    const forUser = this.#kept.findLast(({ kind }) => kind === "list" || kind === "product");
    return chosen ?? forUser ?? this.#kept.at(-1);
  }
}

function choiceText({ number, kind, status, path, at, times }) {
  if (number === NEWEST) return "The newest list or product";
  const name = { list: "List", facets: "Filters’ counts", product: "One product",
    refresh: `Stock, refreshed ${counted(times, "time")}` }[kind];
  const what = kind === "product" ? ` (${path.split("/").at(-1)})` : "";
  return `${timeText(at)} · ${name}${what} · ${status || "no response"}`;
}

function describeExchange(exchange) {
  const { path, status, timing, body, kind } = exchange;
  const sections = [
    element("p", { class: "request-line" }, element("b", {}, "GET "), decoded(path)),
    element("p", { class: "status-line", dataset: { level: level(status) } },
      status === 0 ? "No response" : `${status} ${WORDS[status] ?? ""}`.trim(),
      ` after ${msText(exchange.ms)} in the browser`),
  ];
  if (status >= 400) sections.push(element("p", { class: "note" }, body?.detail ?? ""));
  if (timing && status < 400) sections.push(waterfall(timing));
  if (status !== 0) sections.push(facts(exchange));
  if (status === 200 && (kind === "list" || kind === "product")) sections.push(...responseParts(body));
  return sections;
}

function level(status) {
  if (status === 0 || status >= 400) return "bad";
  return status === 304 ? "same" : "good";
}

/** Return a path without percent-encoding; if it cannot be decoded, unchanged. */
function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function facts(exchange) {
  const pairs = [
    ["X-Request-ID", exchange.requestId],
    ["If-None-Match", exchange.sent],
    ["ETag", exchange.etag],
    ["Size", sizeText(exchange)],
    ["Cache-Control", exchange.cacheControl],
    ["X-Missing-Stores", [...exchange.missing].join(", ")],
    ["X-Missing-Nodes", exchange.missingNodes.join(", ")],
    ["X-Missing-Count", exchange.missingNodes.length > 0 ? exchange.missingCount : null],
    ["Link, next", exchange.next],
  ];
  return element("dl", { class: "facts" }, pairs.filter(([, value]) => value).map(
    ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function sizeText({ status, bytes, transferred, encoding }) {
  if (status === 304) return "no body: nothing changed since the ETag that was sent";
  const whole = bytesText(bytes ?? 0);
  if (!encoding || !transferred) return whole;
  return `${whole}, sent as ${bytesText(transferred)} (${encoding})`;
}

function bytesText(bytes) {
  return bytes < 1000 ? counted(bytes, "byte") : `${(bytes / 1000).toFixed(1)} kB`;
}

/** Show the JSON of one product, with each member in the colour of its store. */
function responseParts(body) {
  const product = Array.isArray(body) ? body[0] : body;
  if (typeof product !== "object" || product === null) return [];
  const title = Array.isArray(body) ? `The response: the first of ${counted(body.length, "product")}`
    : "The response";
  return [
    element("h3", {}, title),
    element("div", { class: "answer", role: "group", "aria-label": title },
      Object.entries(product).map(([name, value]) =>
        element("pre", { class: "field", dataset: { store: STORE_OF[name] ?? "" } },
          `${JSON.stringify(name)}: ${json(value)}`))),
  ];
}

function json(value) {
  const text = JSON.stringify(value, null, 2);
  return text.length > LONGEST_JSON ? `${text.slice(0, LONGEST_JSON)} …` : text;
}
