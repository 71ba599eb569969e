/**
 * The three stores: their names, and where each keeps the fields of a product.
 *
 * The style sheet gives elements with `data-store` the colour and the pattern of the store.
 */

export const STORES = ["PostgreSQL", "MongoDB", "Redis"];

/** Return where a store keeps a product's fields: the name of a table, a collection or a key. */
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

/** Return the store with this name in `Server-Timing` (`"postgresql"`), or `null`. */
export function storeNamed(name) {
  return STORES.find((store) => store.toLowerCase() === name.toLowerCase()) ?? null;
}
