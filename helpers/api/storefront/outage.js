/**
 * Show failed requests in a banner, and retry them with growing pauses until they succeed. An error
 * that only the user can correct is shown and not retried.
 */

import { ProblemError, UnreachableError } from "./api.js";
import { element } from "./dom.js";

const FIRST_S = 1;
const LONGEST_S = 15;

export class Outage {
  #banner = document.getElementById("outage");
  #text = document.getElementById("outage-text");
  #countdown = document.getElementById("outage-countdown");
  #actions = document.getElementById("outage-actions");
  #button = document.getElementById("outage-retry");
  #failed = new Map();
  #shown = "";
  #attempts = 0;
  #due = 0;
  #timer = null;
  #wayOut;
  #over;

  /**
   * `wayOut(error)` returns buttons, each `{ text, act }`, that avoid the unavailable store.
   * `over()` is called when all failed requests have succeeded.
   */
  constructor({ wayOut, over }) {
    this.#wayOut = wayOut;
    this.#over = over;
    this.#button.addEventListener("click", () => this.#retry());
    window.addEventListener("online", () => this.#failed.size > 0 && this.#retry());
  }

  /** Report that `task` failed. `retry()` tries it once more, and reports or settles it. */
  report(task, error, retry) {
    this.#failed.set(task, { error, retry, isTried: false });
    this.#show();
    const passing = this.#passing();
    const atLeast = passing.map((one) => one.error.retryAfter ?? 0);
    if (passing.length > 0) this.#wait(Math.max(...atLeast));
    else this.#stopWaiting();
  }

  /** Report that `task` succeeded. */
  settle(task) {
    if (!this.#failed.delete(task)) return;
    if (this.#failed.size > 0) return void this.#show();
    this.forget();
    this.#over();
  }

  /** Forget all failed tasks, because their results are no longer needed. */
  forget() {
    const hadFocus = this.#banner.contains(document.activeElement);
    this.#failed.clear();
    this.#stopWaiting();
    this.#attempts = 0;
    this.#shown = "";
    this.#banner.hidden = true;
    this.#text.replaceChildren();
    document.body.removeAttribute("data-outage");
    if (hadFocus) document.getElementById("products-title").focus({ preventScroll: true });
  }

  #passing() {
    return [...this.#failed.values()].filter(({ error }) => isPassing(error));
  }

  #show() {
    const errors = [...this.#failed.values()].map(({ error }) => error);
    // One cause can make several requests fail: show the most severe error.
    const worst = errors.find((one) => one instanceof UnreachableError) ?? errors[0];
    const [title, text] = words(worst);
    this.#banner.hidden = false;
    document.body.setAttribute("data-outage", "");
    this.#button.hidden = !isPassing(worst);
    // Do not write the same alert again, because screen readers would repeat it.
    const shown = title + worst.message;
    if (this.#shown === shown) return;
    this.#shown = shown;
    this.#banner.dataset.store = worst.store ?? "";
    this.#text.replaceChildren(
      element("p", { class: "outage-title" }, title),
      element("p", {}, text),
    );
    this.#actions.replaceChildren(...this.#wayOut(worst).map((one) =>
      element("button", { type: "button", class: "button", click: one.act }, one.text)));
  }

  #wait(atLeast) {
    const seconds = Math.max(atLeast, Math.min(LONGEST_S, FIRST_S * 2 ** this.#attempts));
    this.#due = Date.now() + seconds * 1000;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), 250);
    this.#tick();
  }

  #tick() {
    const left = Math.ceil((this.#due - Date.now()) / 1000);
    if (left <= 0) this.#retry();
    else this.#countdown.textContent = `Next try in ${left} s`;
  }

  #stopWaiting() {
    clearInterval(this.#timer);
    this.#countdown.textContent = "";
  }

  #retry() {
    this.#stopWaiting();
    this.#countdown.textContent = "Trying …";
    // Do not repeat a request that is running: the response that arrives last may be older.
    const idle = this.#passing().filter(({ isTried }) => !isTried);
    if (idle.length > 0) this.#attempts += 1;
    for (const one of idle) {
      one.isTried = true;
      one.retry();
    }
  }
}

/** Tell whether a retry may succeed. */
function isPassing(error) {
  return error instanceof UnreachableError || (error.status ?? 500) >= 500;
}

function words(error) {
  if (error instanceof UnreachableError) {
    return ["The service does not answer.", "It may have been stopped: python -m helpers serve "
      + "starts it. The page shows its last responses."];
  }
  if (!(error instanceof ProblemError)) return ["This page has failed.", String(error.message)];
  const inLog = error.requestId ? ` In the service’s log, this is ${error.requestId}.` : "";
  if (error.status === 503 && error.nodes.length > 0) {
    return [`Of ${error.store}, ${error.nodes.join(" and ")} does not answer.`, error.message];
  }
  if (error.status === 503 && error.store) {
    return [`${error.store} does not answer.`, STILL_WORKS[error.store] ?? error.message];
  }
  if (error.status === 503) return ["The service is unavailable.", error.message];
  if (error.status >= 500) return ["The service has failed.", `${error.message}${inLog}`];
  return ["The shop refuses the parameters in this page’s address.", error.message];
}

const STILL_WORKS = {
  PostgreSQL: "It holds names, prices and categories. Without it no new list can be loaded; "
    + "the products on this page stay.",
  MongoDB: "Filters by tags and specifications need it; lists without them still work.",
  Redis: "“In stock only” needs it; lists without it still work, with the stock unknown.",
};
