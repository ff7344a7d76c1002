"""`python -m stemwise.training`: the command `stemwise train`."""

from __future__ import annotations

import sys

from stemwise.cli import run

if __name__ == "__main__":
    sys.exit(run(["train", *sys.argv[1:]]))
