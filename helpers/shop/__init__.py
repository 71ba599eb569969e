"""The shop as a whole: the schema of all stores, its data, and how it is opened.

A name is imported when it is first used (PEP 562): ``python -m helpers status`` needs neither the
schema nor the data, and is faster without them.
"""

from typing import TYPE_CHECKING

from helpers.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from helpers.shop.engines import describe_stores
    from helpers.shop.opening import locate, open_lesson, open_shop, start_worker
    from helpers.shop.seeding import load, seed

_MODULE_OF = {
    "describe_stores": "engines",
    "load": "seeding",
    "locate": "opening",
    "open_lesson": "opening",
    "open_shop": "opening",
    "seed": "seeding",
    "start_worker": "opening",
}

__all__ = ["describe_stores", "load", "locate", "open_lesson", "open_shop", "seed", "start_worker"]

__getattr__ = lazy_getattr(__name__, _MODULE_OF)
