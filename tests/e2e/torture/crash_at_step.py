"""The shop's command line, in a process that kills itself at one step of the saga.

Run as ``python -m tests.e2e.torture.crash_at_step before record serve …``. SIGKILL ends the
process without any cleanup, like a power failure.
"""

from __future__ import annotations

import functools
import os
import signal
import sys

from helpers.api import service
from helpers.cli import commands, relay
from helpers.orders.order_worker import OrderWorker
from helpers.orders.orders import Orders


def main() -> None:
    moment, step, *arguments = sys.argv[1:]

    def hook(now: str, at: str) -> None:
        if (now, at) == (moment, step):
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(service, "Orders", functools.partial(Orders, hook=hook))  # noqa: B010
    setattr(relay, "OrderWorker", functools.partial(OrderWorker, hook=hook))  # noqa: B010
    sys.argv[1:] = arguments
    commands.main()


if __name__ == "__main__":
    main()
