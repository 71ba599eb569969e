"""The shop as a whole: create it in all stores, load its data, and open it."""

from helpers.shop.engines import describe_stores
from helpers.shop.opening import locate, open_lesson, open_shop, start_worker
from helpers.shop.seed import load, seed

__all__ = ["describe_stores", "load", "locate", "open_lesson", "open_shop", "seed", "start_worker"]
