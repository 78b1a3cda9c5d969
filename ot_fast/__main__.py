"""``python -m ot_fast``: see ``ot_fast/_cli``."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
