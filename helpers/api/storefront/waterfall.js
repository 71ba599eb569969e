/** Draw the cost of a request: a bar for each request to a store, from its start. */

import { counted, element, unseen } from "./dom.js";

/** Return the waterfall of `timing` (see `readTiming`): a table with a column of bars. */
export function waterfall(timing) {
  const scale = niceScale(timing.total);
  const rows = timing.requests.length > 0 ? timing.requests : wholeStores(timing);
  const trips = timing.stores.reduce((sum, one) => sum + one.roundTrips, 0);
  return element("div", { class: "waterfall" },
    element("p", { class: "waterfall-total" },
      element("b", {}, msText(timing.total)), " in the service, ", counted(trips, "round trip")),
    perStore(timing),
    element("table", {},
      element("caption", {}, "Each request to a store, from the start of the HTTP request"),
      element("thead", {}, element("tr", {},
        element("th", { scope: "col" }, "Request"),
        element("th", { scope: "col", class: "scale" }, ...ticks(scale)),
        element("th", { scope: "col", class: "number" }, "Took"),
      )),
      element("tbody", {}, rows.map((row) => tableRow(row, scale))),
    ),
    timing.unlisted > 0 ? element("p", { class: "absent" },
      `${counted(timing.unlisted, "more request")}, not listed`) : null,
    timing.notes.map((note) => element("p", { class: "note" }, note)),
  );
}

function perStore({ stores }) {
  return element("ul", { class: "per-store", "aria-label": "Round trips per store" },
    stores.map(({ store, ms, roundTrips }) =>
      element("li", { class: "field", dataset: { store } },
        element("b", {}, store), element("span", {}, counted(roundTrips, "round trip")),
        element("span", {}, msText(ms)),
      )),
  );
}

function tableRow({ store, start, ms, what }, scale) {
  const bar = element("span", { class: "bar", dataset: { store } });
  bar.style.setProperty("--from", String(share(start, scale)));
  bar.style.setProperty("--share", String(share(ms, scale)));
  return element("tr", { dataset: { store } },
    element("th", { scope: "row" }, element("b", {}, store), " ", element("span", {}, what)),
    element("td", { class: "track" }, bar, unseen(`begins at ${msText(start)}`)),
    element("td", { class: "number" }, msText(ms)),
  );
}

function wholeStores({ stores }) {
  return stores.map(({ store, ms }) => ({ store, start: 0, ms, what: "" }));
}

function share(ms, scale) {
  return Math.min(1, Math.max(0, ms / scale));
}

/** Return the end of a scale with round marks for times up to `total`. */
function niceScale(total) {
  const power = 10 ** Math.floor(Math.log10(Math.max(total, 0.1)));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((one) => one * power).find((end) => end >= total);
}

function ticks(scale) {
  return [0, 0.5, 1].map((at) => {
    const tick = element("span", { class: "tick" }, at === 1 ? msText(scale) : number(at * scale));
    tick.style.setProperty("--from", String(at));
    return tick;
  });
}

/** Return a time in words: "2.9 ms". */
export function msText(ms) {
  return `${number(ms)} ms`;
}

function number(ms) {
  return String(Number(ms.toFixed(ms < 0.1 ? 2 : ms < 100 ? 1 : 0)));
}
