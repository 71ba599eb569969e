/**
 * The three stores: what each is called, and where in it a product's fields live.
 *
 * Colours and patterns are the style sheet's: an element that has `data-store` wears them.
 */

export const STORES = ["PostgreSQL", "MongoDB", "Redis"];

/** Where a product's fields live, in the store's own words: a table, a collection, a key. */
export function place(store, id) {
  return { PostgreSQL: "products", MongoDB: "productmetas", Redis: `stock:${id}` }[store];
}

/** The store that a member of a product's JSON comes from. */
export const STORE_OF = {
  id: "PostgreSQL",
  name: "PostgreSQL",
  price: "PostgreSQL",
  metadata: "MongoDB",
  stock: "Redis",
};

/** Return the store of a name as `Server-Timing` has it (`"postgresql"`), or `null`. */
export function storeNamed(name) {
  return STORES.find((store) => store.toLowerCase() === name.toLowerCase()) ?? null;
}
