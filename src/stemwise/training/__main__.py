"""`python -m stemwise.training`: the command `stemwise train`."""

from __future__ import annotations

import sys

import typer

from stemwise.cli.train import train
from stemwise.errors import StemwiseError

if __name__ == "__main__":
    try:
        typer.run(train)
    except StemwiseError as error:
        typer.echo(f"stemwise: {error}", err=True)
        sys.exit(1)
