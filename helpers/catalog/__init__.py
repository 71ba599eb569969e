"""Products: their model and categories, generated data, and the import of a catalogue file."""

from helpers.catalog.generator import orders, products
from helpers.catalog.random_draws import spread_keys, zipf_choices

__all__ = ["orders", "products", "spread_keys", "zipf_choices"]
