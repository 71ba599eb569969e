"""Run the command line: ``python -m helpers`` (``helpers.cli.commands``)."""

import sys

from helpers.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
