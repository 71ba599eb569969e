/** Show the chosen filters as chips with a button to remove each. */

import { element, keepChildren, unseen } from "./dom.js";
import { filterText, storeOf, toggled } from "./query.js";
import { clip } from "./values.js";

/** Show `query` as chips in `list`. `change(query)` is called when a filter is removed. */
export function showChips(list, query, change) {
  const chips = [...query].map(([name, value]) => ({ name, value, store: storeOf(name) }));
  if (chips.length > 1) chips.push({ name: "", value: "", store: "" });
  list.hidden = chips.length === 0;
  keepChildren(list, chips, {
    keyOf: ({ name, value }) => `${name}=${value}`,
    make: ({ name, value, store }) => (name === "" ? makeLast() : makeChip(name, value, store)),
    update: (item, { name, value }) => {
      item.querySelector("button").onclick = () => {
        const next = item.nextElementSibling ?? item.previousElementSibling;
        const isLast = name === "" || chips.length === 1;
        change(name === "" ? new URLSearchParams() : toggled(query, name, value));
        // The button is removed, so move the focus to a neighbour.
        const target = isLast ? null : list.contains(next) && next.querySelector("button");
        (target || document.getElementById("products-title")).focus({ preventScroll: true });
      };
    },
  });
}

function makeChip(name, value, store) {
  return element("li", {}, element("button", { type: "button", class: "chip field",
    dataset: { store } },
    clip(filterText(name, value), 60),
    unseen(`, from ${store}: remove this filter`),
    element("span", { class: "chip-cross", "aria-hidden": "true" }, "×"),
  ));
}

function makeLast() {
  return element("li", {}, element("button", { type: "button", class: "chip chip-all" },
    "Remove all", unseen(" filters")));
}
