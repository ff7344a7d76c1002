"""One of several processes that train together: runs one command after another.

python processes.py ARGUMENTS [-- ARGUMENTS ...]: each as `stemwise` would take them; exits with the
first status that is not 0.
"""

from __future__ import annotations

import sys
from itertools import groupby

from stemwise.cli import run


def main() -> int:
    """See the module."""
    commands = [list(g) for parted, g in groupby(sys.argv[1:], lambda a: a == "--") if not parted]
    return next((status for status in map(run, commands) if status), 0)


if __name__ == "__main__":
    sys.exit(main())
