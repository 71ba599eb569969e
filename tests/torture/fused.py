"""The shop's command line, which kills itself at one step of the saga.

Run as ``python -m tests.torture.fused before record serve …``: SIGKILL, no farewell, nothing
released, as a machine that loses its power.
"""

from __future__ import annotations

import functools
import os
import signal
import sys

from helpers.faces import cli, relaying
from helpers.faces.api import service
from helpers.shop.order_keeper import OrderKeeper
from helpers.shop.orders import Orders


def main() -> None:
    moment, step, *arguments = sys.argv[1:]

    def watch(now: str, at: str) -> None:
        if (now, at) == (moment, step):
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(service, "Orders", functools.partial(Orders, watch=watch))  # noqa: B010
    setattr(relaying, "OrderKeeper", functools.partial(OrderKeeper, watch=watch))  # noqa: B010
    sys.argv[1:] = arguments
    cli.main()


if __name__ == "__main__":
    main()
