/**
 * Refresh the stock periodically: request the shown products with the ETag of the last response. If
 * nothing changed, the response is 304 without a body.
 */

import { ask } from "./api.js";

const EVERY_MS = 3000;
const MAX_IDS = 200;

export class Refresh {
  #ids;
  #apply;
  #failed;
  #etags = new Map();
  #begin = 0;
  #timer = null;
  #controller = null;
  #isRunning = false;
  #isPaused = false;

  /**
   * `ids()` returns the ids of the shown products. `apply(ids, exchange)` is called with a response
   * (its body is `null` if nothing changed), `failed(error)` with an error: no more requests are
   * sent then until `start()`.
   */
  constructor({ ids, apply, failed }) {
    this.#ids = ids;
    this.#apply = apply;
    this.#failed = failed;
    document.addEventListener("visibilitychange", () => this.#schedule(0));
  }

  get isPaused() {
    return this.#isPaused;
  }

  set isPaused(value) {
    this.#isPaused = value;
    this.#schedule(0);
  }

  /** Start after one interval: the products have just been loaded, so earlier ETags are void. */
  start() {
    this.#isRunning = true;
    this.#etags.clear();
    this.#schedule(EVERY_MS);
  }

  /** Stop, and abort the running request. */
  stop() {
    this.#isRunning = false;
    this.#controller?.abort();
    clearTimeout(this.#timer);
  }

  #schedule(ms) {
    clearTimeout(this.#timer);
    const isWanted = this.#isRunning && !this.#isPaused && document.visibilityState === "visible";
    if (isWanted) this.#timer = setTimeout(() => this.ask(), ms);
  }

  /** Send one request now. A long list is refreshed in parts, one request after the other. */
  async ask() {
    this.#controller?.abort();
    const controller = (this.#controller = new AbortController());
    const all = this.#ids();
    if (this.#begin >= all.length) this.#begin = 0;
    const ids = all.slice(this.#begin, this.#begin + MAX_IDS);
    this.#begin += MAX_IDS;
    if (ids.length === 0) return this.#schedule(EVERY_MS);
    const path = `/api/products?ids=${ids.join(",")}&limit=${ids.length}`;
    try {
      const etag = this.#etags.get(path) ?? null;
      const exchange = await ask(path, { kind: "refresh", etag, signal: controller.signal });
      // Without an ETag (a store was unavailable), the next response is complete.
      this.#etags.set(path, exchange.etag);
      this.#apply(ids, exchange);
      this.#schedule(EVERY_MS);
    } catch (error) {
      if (controller.signal.aborted) return undefined;
      this.#isRunning = false;
      this.#failed(error);
    }
    return undefined;
  }
}
