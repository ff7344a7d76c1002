"""Options that several commands share, and what makes their values valid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from stemwise.errors import StemwiseError, hint

Songs = Annotated[
    list[str],
    typer.Argument(
        metavar="SONG...",
        help="Audio files, folders, patterns, URLs, or manifests (.csv, .jsonl, .parquet).",
    ),
]
Name = Annotated[
    str, typer.Option("-n", "--name", help="Model: a name from `stemwise models`, or a checkpoint.")
]
Device = Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:1, mps ...")]
Runtime = Annotated[
    str,
    typer.Option(help="What computes the network: auto, torch, compile, onnx or openvino."),
]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 (onnx and openvino).")]
RUNTIMES = ("auto", "torch", "compile", "onnx", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "int8")
Jobs = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--jobs",
        min=1,
        help="Songs at the same time [1; on a cluster one per device].",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per song, nothing else.")]


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """`value`, if known; else a usage error that names the nearest known value."""
    if value in known:
        return value
    meant = hint(value, known, otherwise="choose")
    raise typer.BadParameter(f"there is no {value!r}: {meant}", param_hint=option)


@contextmanager
def usage() -> Iterator[None]:
    """What the library refuses in here is an error of the command line."""
    try:
        yield
    except StemwiseError as error:
        raise typer.BadParameter(str(error)) from error
