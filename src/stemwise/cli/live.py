"""`stemwise live`: raw samples in from a pipe, the samples of stems out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from stemwise.cli.batch import print_json
from stemwise.cli.download import Offline, obtain
from stemwise.cli.options import Device, Name, Quiet, one_of, usage

if TYPE_CHECKING:
    import numpy as np

    from stemwise.separation import Block

    Write = Callable[[list[Block]], None]

FORMATS = ("s16le", "f32le")


def live(
    name: Name = "band",
    stems: Annotated[
        str | None,
        typer.Option("--stems", metavar="STEM,...", help="Stems that are written [all of them]."),
    ] = None,
    rate: Annotated[int, typer.Option(min=1, help="Samples per second.")] = 44100,
    channels: Annotated[int, typer.Option(min=1, max=8, help="Channels that come in.")] = 2,
    format: Annotated[
        str, typer.Option("--format", help="Samples, in and out: s16le or f32le.")
    ] = "s16le",
    segment: Annotated[
        float, typer.Option(help="Seconds computed at a time: less is sooner, and more work.")
    ] = 0.5,
    lookahead: Annotated[
        float, typer.Option(help="Seconds heard in advance: less is sooner, and may be worse.")
    ] = 0.5,
    gate: Annotated[str, typer.Option(help="off, raw or median.")] = "off",
    activity: Annotated[
        bool,
        typer.Option("--activity", help="Write when each stem plays, and no samples: JSON lines."),
    ] = False,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Separate raw audio while it comes in: samples on standard input, stems on standard output.

    The channels of all chosen stems are written side by side, stem by stem.
    """
    one_of("--format", format, FORMATS)
    one_of("--gate", gate, ("off", "raw", "median"))

    from stemwise import models
    from stemwise.live import Stream
    from stemwise.separation import Engine, Options
    from stemwise.songs import Output

    obtain(name, offline=offline, shown=not quiet)
    separator = models.load(name)
    with usage():
        options = Options(segment=segment, lookahead=lookahead, gate=gate, device=device)  # type: ignore[arg-type]
        wanted = None if stems is None else tuple(one.strip() for one in stems.split(","))
        chosen = Output(stems=wanted).names(separator.sources)
    if activity and not separator.activity_sources:
        raise typer.BadParameter("this model does not tell when stems play: leave --activity away.")
    write = (
        _activity(separator.activity_sources, separator.frame_rate)
        if activity
        else _samples([separator.sources.index(one) for one in chosen], format)
    )
    with Stream(Engine(separator, options), rate, channels) as stream:
        if not quiet:
            names = "activity" if activity else ", ".join(chosen)
            typer.echo(f"stemwise: {names}, {stream.latency:.2f} s behind what comes in", err=True)
        for block in _blocks(sys.stdin.buffer, format, channels):
            write(stream.push(block))
        write(stream.finish())


def _blocks(source: BinaryIO, format: str, channels: int) -> Iterator[np.ndarray]:
    """Blocks (channel, sample) as they arrive; a last sample that is cut off is dropped."""
    import numpy as np

    kind = np.dtype("<i2" if format == "s16le" else "<f4")
    width = kind.itemsize * channels
    rest = b""
    while piece := source.read1(1 << 16):  # type: ignore[attr-defined]
        piece = rest + piece
        whole = len(piece) // width * width
        rest = piece[whole:]
        samples = np.frombuffer(piece[:whole], kind).reshape(-1, channels).T
        yield samples.astype(np.float32) / (1 << 15 if format == "s16le" else 1)


def _samples(rows: Sequence[int], format: str) -> Write:
    """Writes the samples of some stems."""
    import numpy as np

    from stemwise.audio.wav import quantise

    def write(blocks: list[Block]) -> None:
        for block in blocks:
            stems = block.stems[rows].reshape(-1, block.stems.shape[-1])
            coded = quantise(stems, 16).astype("<i2") if format == "s16le" else stems
            sys.stdout.buffer.write(np.ascontiguousarray(coded.T).tobytes())
        sys.stdout.buffer.flush()

    return write


def _activity(sources: Sequence[str], frame_rate: float) -> Write:
    """Writes a line for each frame."""

    def write(blocks: list[Block]) -> None:
        for block in blocks:
            for number, frame in enumerate(block.activity.T, block.first_frame):
                values = {name: round(float(p), 4) for name, p in zip(sources, frame, strict=True)}
                print_json({"time": round(number / frame_rate, 6), **values})
        sys.stdout.flush()

    return write
