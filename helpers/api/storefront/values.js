/**
 * Convert metadata of any structure to short strings.
 *
 * Documents in MongoDB differ from product to product, so nothing is certain here: tags may be a
 * string, specifications may be nested, and any value may be missing.
 */

const LONGEST = 160;
const DEEPEST = 3;
const KNOWN = new Set(["description", "tags", "specifications"]);

/** Return any JSON value as a string. */
export function plain(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isRawNumber(value)) return value.rawJSON;
  if (Array.isArray(value) && !value.some((one) => isObject(one) || Array.isArray(one))) {
    return value.length === 0 ? "none" : value.map(plain).join(", ");
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Return `text`, cut to `most` characters with an ellipsis if it is longer. */
export function clip(text, most = LONGEST) {
  const characters = [...text.slice(0, 2 * most)];
  return characters.length <= most ? text : `${characters.slice(0, most).join("").trimEnd()} …`;
}

/** Return the name of a specification in words: "bulb socket" for `"bulb.socket"`. */
export function readable(name) {
  return name.replaceAll(/[._]+/g, " ").trim() || name;
}

/**
 * Return the parts of a product's metadata for a card: `description` (a string or `null`), `tags`
 * (strings), and pairs of name and string: `rows` (specifications) and `others` (other keys).
 */
export function describe(metadata) {
  if (!isObject(metadata)) {
    return { description: null, tags: [], rows: [], others: [["metadata", plain(metadata)]] };
  }
  const { description, tags, specifications } = metadata;
  const own = Object.entries(metadata).filter(([name]) => !KNOWN.has(name));
  return {
    description: description === null || description === undefined ? null : plain(description),
    tags: tagTexts(tags),
    rows: isObject(specifications) ? flatten(specifications) : oddRow(specifications),
    others: flatten(Object.fromEntries(own)),
  };
}

function tagTexts(tags) {
  if (tags === null || tags === undefined) return [];
  return (Array.isArray(tags) ? tags : [tags]).map(plain);
}

function oddRow(specifications) {
  const isThere = specifications !== null && specifications !== undefined;
  return isThere ? [["specifications", plain(specifications)]] : [];
}

function flatten(object, prefix = "", depth = 1) {
  return Object.entries(object).flatMap(([name, value]) => {
    const whole = prefix + name;
    const isInner = isObject(value) && depth < DEEPEST && Object.keys(value).length > 0;
    return isInner ? flatten(value, `${whole}.`, depth + 1) : [[whole, plain(value)]];
  });
}

function isObject(value) {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !isRawNumber(value)
  );
}

function isRawNumber(value) {
  return typeof JSON.isRawJSON === "function" && JSON.isRawJSON(value);
}

/**
 * Parse JSON. Whole numbers that JavaScript would round keep all digits if the browser has
 * `JSON.rawJSON`.
 */
export function parseJSON(text) {
  return JSON.parse(text, (_key, value, context) => {
    const isRounded = typeof value === "number" && !Number.isSafeInteger(value);
    const canKeep = /^-?\d+$/.test(context?.source ?? "") && typeof JSON.rawJSON === "function";
    return isRounded && canKeep ? JSON.rawJSON(context.source) : value;
  });
}
