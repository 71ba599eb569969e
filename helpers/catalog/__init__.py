"""Products: their model, categories, generator, and the import from a file."""

from helpers.catalog.generator import orders, products
from helpers.catalog.zipf import spread_keys, zipf_choices

__all__ = ["orders", "products", "spread_keys", "zipf_choices"]
