/**
 * Create and update elements.
 *
 * Text becomes text nodes, never markup, because the contents of the stores are untrusted.
 */

/**
 * Create an element. `properties` are attributes, except `dataset` (an object) and functions, which
 * are event listeners (`{ click: … }`). `null` and `false` are left out.
 */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "dataset") Object.assign(made.dataset, value);
    else if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(key, String(value));
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Create text for screen readers only. */
export function unseen(text) {
  return element("span", { class: "visually-hidden" }, text);
}

/**
 * Make the children of `parent` match `items`, in order. Children whose key stays are kept, so that
 * a change of the list loses neither the focus nor what is unfolded.
 */
export function keepChildren(parent, items, { keyOf, make, update = () => {} }) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(items.map((item) => String(keyOf(item))));
  for (const child of [...parent.children]) if (!wanted.has(child.dataset.key)) child.remove();
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    const child = there.get(key) ?? make(item);
    child.dataset.key = key;
    update(child, item);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  // Moving an element takes the focus from it.
  if (focused?.isConnected && focused !== document.activeElement) {
    focused.focus({ preventScroll: true });
  }
}

/** Set an element's text only if it differs, so that screen readers announce only changes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Return `count` and its noun: "1 product", "24 products". */
export function counted(count, one, several = `${one}s`) {
  return `${count} ${count === 1 ? one : several}`;
}
