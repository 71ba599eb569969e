"""Run the torture test. ``make torture`` runs the long plan, and prints its seed.

``python -m tests.e2e.torture --seed 7`` repeats the run with that seed.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
from pathlib import Path

from tests.e2e.torture.plan import long_plan, short_plan
from tests.e2e.torture.run import torture


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.torture", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the plan of `make test`")
    parser.add_argument("--seed", type=int, help="what to kill and when (default: random)")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds to run")
    options = parser.parse_args()
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # its warnings are expected here
    first = random.randrange(1, 1_000_000) if options.seed is None else options.seed
    for seed in range(first, first + options.runs):
        print(f"seed {seed}", flush=True)
        began = time.monotonic()
        plan = (short_plan if options.short else long_plan)(seed)
        with tempfile.TemporaryDirectory() as folder:
            outcome = torture(plan, Path(folder), lambda text: print(f"  {text}", flush=True))
        print(f"  passed, {time.monotonic() - began:.0f} s: {outcome}", flush=True)


if __name__ == "__main__":
    main()
