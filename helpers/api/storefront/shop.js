/**
 * The shop's page: load the products that its address selects, show them, and refresh them.
 *
 * There is one list at a time: a new choice aborts the request that is running.
 */

import { ask, exchanges, UnreachableError } from "./api.js";
import { Cards, timeText } from "./cards.js";
import { showChips } from "./chips.js";
import { counted, element, setText } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Facets } from "./facets.js";
import { Legend } from "./legend.js";
import { Outage } from "./outage.js";
import { filterText, readFilters, storeOf, without } from "./query.js";
import { Refresh } from "./refresh.js";

const PAGE = 24;
const SAY_CHANGES_EVERY_MS = 15_000;
const RELOAD_EMPTY_MS = 5000;

const at = (id) => document.getElementById(id);

class Shop {
  #query = readFilters(location.search);
  #next = null;
  #isShown = false;
  #loading = null;
  #missing = new Set();
  #facetsMissing = new Set();
  #saidChangesAt = 0;
  #lastAnswer = null;

  #drawer = new Drawer();
  #legend = new Legend(document.querySelector(".legend ul"));
  #cards = new Cards(at("products"), (id, button) => this.#takeApart(id, button));
  #facets = new Facets(
    at("filters"), (query) => this.#choose(query), (text) => this.#findFacets(text),
  );
  #outage = new Outage({
    wayOut: (error) => this.#wayOut(error),
    over: () => announce("All stores are available again."),
  });
  #refresh = new Refresh({
    ids: () => this.#cards.ids,
    apply: (ids, exchange) => this.#refreshed(ids, exchange),
    failed: (error) => this.#refreshFailed(error),
  });

  begin() {
    exchanges.addEventListener("exchange", ({ detail }) => this.#heard(detail));
    window.addEventListener("popstate", () => this.#follow(readFilters(location.search)));
    at("more").addEventListener("click", () => this.#more());
    at("refresh-pause").addEventListener("click", () => this.#pause());
    at("filters-toggle").addEventListener("click", ({ currentTarget }) => {
      const isOpen = currentTarget.getAttribute("aria-expanded") === "true";
      currentTarget.setAttribute("aria-expanded", String(!isOpen));
    });
    this.#cards.showPlaceholders(PAGE / 2);
    this.#follow(this.#query);
  }

  #heard(exchange) {
    this.#drawer.add(exchange);
    this.#legend.add(exchange);
  }

  /** Show the query that the user chose, as a new entry of the history. */
  #choose(query) {
    const search = query.toString();
    history.pushState(null, "", search === "" ? "/" : `/?${search}`);
    this.#follow(query);
  }

  /** Load and show the products that meet `query`. */
  #follow(query) {
    this.#query = query;
    this.#refresh.stop();
    this.#outage.forget();
    this.#loading?.abort();
    this.#loading = new AbortController();
    document.title = titleOf(query);
    showChips(at("chips"), query, (changed) => this.#choose(changed));
    this.#facets.render(query);
    setText(at("filters-toggle"), query.size === 0 ? "Filters" : `Filters (${query.size} chosen)`);
    this.#loadList(this.#loading.signal);
    this.#loadFacets(this.#loading.signal);
  }

  /** Load the list. With `isAgain`, announce it only if it has products. */
  async #loadList(signal, isAgain = false) {
    at("products").setAttribute("aria-busy", "true");
    try {
      const search = new URLSearchParams(this.#query);
      search.set("limit", PAGE);
      const exchange = await ask(`/api/products?${search}`, { kind: "list", signal });
      this.#cards.replace(exchange);
      at("products").removeAttribute("aria-busy");
      this.#isShown = true;
      this.#took(exchange);
      if (!isAgain || exchange.body.length > 0) announce(at("count").textContent);
      this.#outage.settle("list");
    } catch (error) {
      if (signal.aborted) return;
      this.#sayNoList(error);
      this.#failed("list", error, () => this.#loadList(signal));
    }
  }

  async #loadFacets(signal) {
    try {
      const search = this.#query.size === 0 ? "" : `?${facetQuery(this.#query)}`;
      const exchange = await ask(`/api/facets${search}`, { kind: "facets", signal });
      this.#facetsMissing = exchange.missing;
      this.#facets.render(this.#query, exchange);
      this.#outage.settle("facets");
    } catch (error) {
      if (signal.aborted) return;
      this.#failed("facets", error, () => this.#loadFacets(signal));
    }
  }

  /** Return the facets that contain `text`, or `null` if the request fails. */
  async #findFacets(text) {
    const { signal } = this.#loading;
    const search = facetQuery(this.#query);
    search.set("find", text);
    try {
      const { body } = await ask(`/api/facets?${search}`, { kind: "facets", signal });
      return body;
    } catch (error) {
      if (!signal.aborted) announce("The values could not be searched.");
      return null;
    }
  }

  async #more() {
    const button = at("more");
    if (this.#next === null || button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    const { signal } = this.#loading;
    try {
      const exchange = await ask(this.#next, { kind: "list", signal });
      const first = this.#cards.append(exchange);
      this.#took(exchange);
      announce(`${counted(exchange.body.length, "more product")}. ${at("count").textContent}`);
      // After the last page the button is hidden: move the focus to the first new card.
      if (this.#next === null) first?.querySelector("button").focus({ preventScroll: true });
      this.#outage.settle("more");
    } catch (error) {
      if (!signal.aborted) this.#failed("more", error, () => this.#more());
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }

  /** Update the page after a response: the next link, unavailable stores, the count. */
  #took(exchange) {
    this.#next = exchange.next;
    this.#lastAnswer = exchange;
    at("more").hidden = this.#next === null;
    this.#tookMissing(exchange.missing);
    const count = this.#cards.ids.length;
    const words = this.#next === null ? "no more" : "there are more";
    const shown = count === 0 ? "None" : `${counted(count, "product")}, ${words}`;
    setText(at("count"), `${shown}${lostText(exchange)}`);
    this.#sayEmpty(count === 0 && exchange.missingNodes.length === 0);
    this.#refresh.start();
  }

  #sayEmpty(isEmpty) {
    at("empty").hidden = !isEmpty;
    if (!isEmpty) return;
    at("empty").replaceChildren(...(this.#query.size > 0
      ? [element("p", {}, "No product meets all of these filters. "),
        element("button", { type: "button", class: "button",
          click: () => this.#choose(new URLSearchParams()) }, "Remove all filters")]
      : [element("p", {}, "The shop has no products yet. Fill it with ",
        element("code", {}, "python -m helpers seed"), "; they appear here automatically.")]));
    if (this.#query.size === 0) this.#reloadLater();
  }

  /** Load the list again later, because the shop has no products yet. */
  #reloadLater() {
    const { signal } = this.#loading;
    setTimeout(() => !signal.aborted && this.#loadList(signal, true), RELOAD_EMPTY_MS);
  }

  /** Show that the list could not be loaded. Earlier products stay if a retry may succeed. */
  #sayNoList(error) {
    const isRefused = error.status < 500;
    if (isRefused) this.#isShown = false;
    at("more").hidden = true;
    if (this.#isShown) {
      return void setText(at("count"), "Earlier products: the new list is not loaded yet");
    }
    this.#cards.showPlaceholders(0);
    at("products").removeAttribute("aria-busy");
    setText(at("count"), isRefused ? "None" : "None could be loaded yet");
    at("empty").hidden = false;
    at("empty").replaceChildren(element("p", {}, isRefused ? "See the message below."
      : "The products appear here as soon as they can be loaded. See the message below."));
  }

  /** Show changes of the stock, and which stores are unavailable or available again. */
  #refreshed(ids, exchange) {
    this.#lastAnswer = exchange;
    this.#outage.settle("refresh");
    this.#cards.setStale(null);
    const isSame = exchange.status === 304;
    const changed = isSame ? [] : this.#cards.refresh(ids, exchange);
    setText(at("refresh-state"), outcomeText(exchange, changed.length));
    if (!isSame) this.#tookMissing(exchange.missing);
    this.#sayChanges(changed);
  }

  /** Announce which stores became unavailable or available, and reload the facets if needed. */
  #tookMissing(missing) {
    const away = [...missing].filter((store) => !this.#missing.has(store));
    const back = [...this.#missing].filter((store) => !missing.has(store));
    this.#missing = missing;
    this.#facets.setAway(missing);
    if (away.length > 0) announce(`${away.join(" and ")} does not answer: its fields are unknown.`);
    if (back.length > 0) announce(`${back.join(" and ")} is available again.`);
    const hasFacetsBack = [...this.#facetsMissing].some((store) => !missing.has(store));
    if (hasFacetsBack) this.#loadFacets(this.#loading.signal);
  }

  /** Announce changes at long intervals: otherwise a busy shop would never be silent. */
  #sayChanges(changed) {
    if (changed.length === 0 || Date.now() - this.#saidChangesAt < SAY_CHANGES_EVERY_MS) return;
    this.#saidChangesAt = Date.now();
    const [first] = changed;
    announce(changed.length === 1 ? `Stock of ${first.name}: ${first.stock}`
      : `The stock of ${changed.length} products has changed`);
  }

  #refreshFailed(error) {
    this.#failed("refresh", error, () => {
      this.#refresh.start();
      this.#refresh.ask();
    });
  }

  #failed(task, error, retry) {
    if (error instanceof UnreachableError && this.#isShown) {
      this.#cards.setStale(this.#lastAnswer.at);
    }
    this.#outage.report(task, error, retry);
  }

  /** Return the buttons that help with an error: a query that does not need the store. */
  #wayOut(error) {
    const { store, status } = error;
    const needs = store && store !== "PostgreSQL"
      && [...this.#query.keys()].some((name) => storeOf(name) === store);
    const way = (text, query) => [{ text, act: () => this.#choose(query) }];
    if (needs) return way(`Go on without ${store}’s filters`, without(this.#query, store));
    if (!(status < 500)) return [];
    if (this.#query.size > 0) return way("Remove all filters", new URLSearchParams());
    return [{ text: "Reload the list", act: () => this.#follow(this.#query) }];
  }

  #pause() {
    this.#refresh.isPaused = !this.#refresh.isPaused;
    at("refresh-pause").setAttribute("aria-pressed", String(this.#refresh.isPaused));
    if (this.#refresh.isPaused) setText(at("refresh-state"), "Stock refresh is paused");
  }

  /** Request one product, and show the request in the drawer. */
  async #takeApart(id, button) {
    this.#drawer.open(button, { newest: true });
    try {
      await ask(`/api/products/${id}`, { kind: "product" });
    } catch {
      // The drawer shows the error, as it shows every request.
    }
  }
}

/** Return the query for the facets: all filters except the stock, which has no counts. */
function facetQuery(query) {
  const asked = new URLSearchParams(query);
  asked.delete("in_stock");
  return asked;
}

/** Return a note about the products of unavailable nodes. */
function lostText({ missingNodes, missingCount }) {
  if (missingNodes.length === 0) return "";
  const nodes = missingNodes.join(" and ");
  const known = missingCount > 0 ? `: ${counted(missingCount, "product")} here, or fewer` : "";
  return `. Products on ${nodes}, which does not answer, are left out${known}`;
}

function outcomeText({ status, missing, at: time }, changes) {
  if (missing.has("Redis")) return `Stock unknown at ${timeText(time)}`;
  const outcome = status === 304 ? "304, nothing changed" : `200, ${counted(changes, "change")}`;
  return `Stock as of ${timeText(time)} (${outcome})`;
}

function titleOf(query) {
  const filters = [...query].map(([name, value]) => filterText(name, value));
  return [filters.join(", "), "The shop"].filter(Boolean).join(" · ");
}

/** Make screen readers announce a text, even if it is the same as the last one. */
function announce(text) {
  at("announcer").textContent = "";
  setTimeout(() => setText(at("announcer"), text), 50);
}

new Shop().begin();
