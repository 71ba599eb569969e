"""The three stores: how to connect, which engines they are, and databases on the cluster."""

from helpers.stores.connect import Document
from helpers.stores.opening import locate, open_lesson, open_shop, start_worker
from helpers.stores.stores import Stores

__all__ = ["Document", "Stores", "locate", "open_lesson", "open_shop", "start_worker"]
