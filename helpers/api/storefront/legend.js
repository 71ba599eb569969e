/** The legend: what each store holds, whether it responds, and its cost of the last list. */

import { counted, setText } from "./dom.js";
import { STORES } from "./stores.js";
import { msText } from "./waterfall.js";

export class Legend {
  #parts = new Map();
  #costs = new Map();

  constructor(list) {
    for (const item of list.children) {
      this.#parts.set(item.dataset.store, item.querySelector(".legend-state"));
    }
  }

  /** Update the legend from an exchange: which stores responded, and which did not. */
  add(exchange) {
    if (exchange.status === 0) return this.#sayAll("", "unknown: the service does not respond");
    if (exchange.status === 503) {
      const store = exchange.body?.store;
      const of = (exchange.body?.nodes ?? []).map((node) => `${node} `).join("");
      if (STORES.includes(store)) this.#say(store, "away", `${of}does not answer`);
      return undefined;
    }
    if (exchange.status >= 400) return undefined;
    if (exchange.kind === "list") this.#costs = costsOf(exchange);
    const needsAllStores = exchange.kind !== "facets";
    for (const store of STORES) {
      if (exchange.missing.has(store)) this.#say(store, "away", "does not answer");
      else if (needsAllStores) this.#say(store, "there", this.#costs.get(store) ?? "no request");
    }
    return undefined;
  }

  #sayAll(state, text) {
    for (const store of STORES) this.#say(store, state, text);
  }

  #say(store, state, text) {
    const part = this.#parts.get(store);
    part.dataset.state = state;
    setText(part, text);
  }
}

function costsOf({ timing }) {
  return new Map(timing.stores.map(({ store, ms, roundTrips }) =>
    [store, `${counted(roundTrips, "round trip")}, ${msText(ms < 10 ? ms : Math.round(ms))}`]));
}
