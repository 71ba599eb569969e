"""``python -m helpers``: see ``helpers.faces.cli``."""

import sys

from helpers.faces.cli import main

if __name__ == "__main__":
    sys.exit(main())
