"""The command `stemwise`: parses, calls the library, prints. One file per command.

Nothing here imports torch, NumPy or rich until a command needs them, so that `--help` answers at
once.
"""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, cast

import typer

from stemwise import __version__
from stemwise.cli.compare import compare
from stemwise.cli.curves import curves
from stemwise.cli.demo import demo
from stemwise.cli.detect import detect
from stemwise.cli.evaluate import evaluate
from stemwise.cli.export import export
from stemwise.cli.fine_tune import fine_tune
from stemwise.cli.live import live
from stemwise.cli.models import models
from stemwise.cli.oracle import oracle
from stemwise.cli.prepare import prepare
from stemwise.cli.recipes import recipes
from stemwise.cli.render import render
from stemwise.cli.report import report
from stemwise.cli.reproduce import reproduce
from stemwise.cli.runtimes import runtimes
from stemwise.cli.separate import separate
from stemwise.cli.stats import stats
from stemwise.cli.store import store
from stemwise.cli.studio import studio
from stemwise.cli.train import train
from stemwise.errors import AudioWarning, StemwiseError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
TERMINATED = 143
"""Exit status after SIGTERM, as shells have it."""

# typer may bring its own copy of click, so its exceptions are found through the one it exports
_UsageError, _ClickError = cast(
    "tuple[type[Exception], type[Exception]]", typer.BadParameter.__mro__[1:3]
)

app = typer.Typer(
    name="stemwise",
    help="Separate songs into stems, and tell when each stem plays.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes would double the time of --help
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stemwise {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in (
    separate,
    detect,
    live,
    report,
    studio,
    models,
    export,
    runtimes,
    demo,
    render,
    prepare,
    stats,
    recipes,
    train,
    fine_tune,
    curves,
    evaluate,
    oracle,
    compare,
    reproduce,
):
    # the list of commands would cut off its sentence
    app.command(short_help=str(command.__doc__).partition("\n\n")[0])(command)


app.add_typer(store)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status.

    0: all went well. 1: something failed, named in one sentence. 2: the command line is wrong.
    """
    arguments = list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    arguments = [one for at, one in enumerate(arguments) if at >= end or one != "--debug"]
    try:
        status = app(arguments, prog_name="stemwise", standalone_mode=False)
        if status == INTERRUPTED:  # newer releases of typer return it instead of raising
            return _interrupted()
        return status if isinstance(status, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone, and nobody reads more
        return 1
    except (StemwiseError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"stemwise: {_sentence(error)}", err=True)
        return 1
    except _ClickError as error:
        typer.echo(f"stemwise: {error.format_message()}", err=True)  # type: ignore[attr-defined]
        context = getattr(error, "ctx", None)
        if isinstance(error, _UsageError) and context is not None:
            typer.echo(f"Try '{context.command_path} --help'.", err=True)
        return 2


def _interrupted() -> int:
    typer.echo("stemwise: stopped; unfinished results were removed.", err=True)
    return INTERRUPTED


@contextmanager
def _sigterm() -> Iterator[list[int]]:
    """Let SIGTERM stop a command as Ctrl-C does; gives a list that holds the signal if it came."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not received:  # clearing up is not interrupted
            received.append(number)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory: choose a shorter --segment or fewer --jobs."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def main() -> None:
    """Entry point of the command `stemwise`."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a letter of a song's name must not end the song
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore", AudioWarning)  # commands print these as sentences
    with _sigterm() as received:
        status = run(sys.argv[1:])
    sys.exit(TERMINATED if received and status == INTERRUPTED else status)
