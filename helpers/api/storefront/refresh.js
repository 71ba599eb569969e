/**
 * Stock that refreshes itself: what is shown is asked for again and again, with the ETag of the
 * last answer. Where nothing changed, the answer is 304 and has no body.
 */

import { ask } from "./api.js";

const EVERY_MS = 3000;
const AT_ONCE = 200;

export class Refresh {
  #ids;
  #apply;
  #failed;
  #etags = new Map();
  #begin = 0;
  #timer = null;
  #asking = null;
  #isRunning = false;
  #isPaused = false;

  /**
   * `ids()` are the products that are shown; `apply(ids, exchange)` takes an answer (its body is
   * `null` where nothing changed), `failed(error)` takes what went wrong: nothing more is asked
   * then until `start()`.
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

  /** Begin, in a while: what is shown has just come, so that no earlier answer is still known. */
  start() {
    this.#isRunning = true;
    this.#etags.clear();
    this.#schedule(EVERY_MS);
  }

  /** Stop, and forget what is on its way. */
  stop() {
    this.#isRunning = false;
    this.#asking?.abort();
    clearTimeout(this.#timer);
  }

  #schedule(ms) {
    clearTimeout(this.#timer);
    const isWanted = this.#isRunning && !this.#isPaused && document.visibilityState === "visible";
    if (isWanted) this.#timer = setTimeout(() => this.ask(), ms);
  }

  /** Ask once, now. Long lists are asked for in parts, one after the other. */
  async ask() {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const all = this.#ids();
    if (this.#begin >= all.length) this.#begin = 0;
    const ids = all.slice(this.#begin, this.#begin + AT_ONCE);
    this.#begin += AT_ONCE;
    if (ids.length === 0) return this.#schedule(EVERY_MS);
    const path = `/api/products?ids=${ids.join(",")}&limit=${ids.length}`;
    try {
      const etag = this.#etags.get(path) ?? null;
      const exchange = await ask(path, { kind: "refresh", etag, signal: asking.signal });
      // Without an ETag (a store was away), all is asked for anew.
      this.#etags.set(path, exchange.etag);
      this.#apply(ids, exchange);
      this.#schedule(EVERY_MS);
    } catch (error) {
      if (asking.signal.aborted) return undefined;
      this.#isRunning = false;
      this.#failed(error);
    }
    return undefined;
  }
}
