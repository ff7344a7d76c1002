"""`stemwise export`: a model's network as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwise.cli.download import Offline, obtain
from stemwise.cli.options import Quiet, one_of

if TYPE_CHECKING:
    from stemwise.runtimes.export import Exported, Port

FORMATS = ("onnx", "pt2")


def export(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A model from `stemwise models`, or a checkpoint.")
    ],
    format: Annotated[
        str | None, typer.Option("--format", help="onnx, or pt2 for torch.export.load [onnx].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file [NAME.onnx or NAME.pt2].")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(help="Compare the file's outputs with PyTorch's, and keep it if they agree."),
    ] = True,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export the network of a model: features in, maps and activity logits out."""
    kind = _format(format, out)

    from stemwise import models
    from stemwise.runtimes.export import export as write
    from stemwise.stem_output import make_folder

    path = out or Path(f"{Path(name).stem if Path(name).suffix else name}.{kind}")
    obtain(name, offline=offline, shown=not quiet and not json)
    separator = models.load(name)
    known = models.weights().get(name)
    licence = models.read_card(name).metadata.get("licence") if known is None else known.licence
    make_folder(path.parent)
    exported = write(separator, path, format=kind, check=check, licence=licence)
    if json:
        _print_json(exported)
    elif not quiet:
        _tell(exported)


def _format(format: str | None, out: Path | None) -> str:
    """The format asked for, by the option or by the file's suffix; they may not contradict."""
    suffix = "" if out is None else out.suffix.lower().lstrip(".")
    if format is None:
        return suffix if suffix in FORMATS else "onnx"
    one_of("--format", format, FORMATS)
    if suffix in FORMATS and suffix != format:
        raise typer.BadParameter(f"the file's name says {suffix}, --format says {format}.")
    return format


def _print_json(exported: Exported) -> None:
    from json import dumps

    facts: dict[str, Any] = {
        "file": str(exported.path),
        "format": exported.format,
        "bytes": exported.path.stat().st_size,
        "inputs": {port.name: list(port.axes) for port in exported.inputs},
        "outputs": {port.name: list(port.axes) for port in exported.outputs},
        "difference": exported.difference,
        "metadata": exported.metadata,
    }
    typer.echo(dumps(facts, indent=2))


def _tell(exported: Exported) -> None:
    size = exported.path.stat().st_size / 1e6
    found = exported.difference
    agreement = "not compared" if found is None else f"differs from PyTorch by {found:.0e} at most"
    typer.echo(f"{exported.path}: {size:.1f} MB, {agreement}")
    for title, ports in (("in", exported.inputs), ("out", exported.outputs)):
        for port in ports:
            typer.echo(f"  {title:<3}  {_shape(port)}")


def _shape(port: Port) -> str:
    return f"{port.name} ({', '.join(map(str, port.axes))})"
