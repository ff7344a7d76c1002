"""One of several processes that train together: runs one command after another.

python processes.py ARGUMENTS [-- ARGUMENTS ...]: each as `stemwise` would take them; exits with the
first status that is not 0. A process group left to the interpreter's end is told of: its threads
then abort some processes that are done.
"""

from __future__ import annotations

import atexit
import sys
from itertools import groupby

import torch.distributed as dist

from stemwise.cli import run


def main() -> int:
    """See the module."""
    atexit.register(_look)  # what is registered first runs last
    commands = [list(g) for parted, g in groupby(sys.argv[1:], lambda a: a == "--") if not parted]
    return next((status for status in map(run, commands) if status), 0)


def _look() -> None:
    if dist.is_initialized():
        print("the process group is still there", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
