"""`python -m stemwise`: the command `stemwise`."""

from __future__ import annotations

from stemwise.cli import main

if __name__ == "__main__":
    main()
