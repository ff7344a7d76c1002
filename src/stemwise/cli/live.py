"""`stemwise live`: raw samples in from a pipe, the samples of stems out."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from stemwise.cli.download import Offline, obtain
from stemwise.cli.models import outline_of
from stemwise.cli.options import (
    PRECISIONS,
    RUNTIMES,
    Device,
    Name,
    Precision,
    Quiet,
    Runtime,
    one_of,
    usage,
)

if TYPE_CHECKING:
    import numpy as np

    from stemwise.live import Stream
    from stemwise.separation import Block, Options

    Write = Callable[[list[Block]], None]

FORMATS = ("s16le", "f32le")
ATOMIC = getattr(select, "PIPE_BUF", 512)
"""Bytes that go into a pipe all at once or not at all."""
FIRST_NOTE = 1.0
"""Seconds behind from which it is said, and said again each time they have doubled."""
WAITING = 1 << 20
"""Bytes that may wait in the pipe while a piece is computed, where the system allows it: 6 s of CD
sound in place of 0.37 s, after which a sound card loses samples."""


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
    phase: Annotated[str, typer.Option(help="auto, mixture, griffin-lim or wiener.")] = "auto",
    activity: Annotated[
        bool,
        typer.Option("--activity", help="Write when each stem plays, and no samples: JSON lines."),
    ] = False,
    activity_to: Annotated[
        str | None,
        typer.Option("--activity-to", metavar="FILE", help="Write that beside the samples."),
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Tell the latency of these options, and end.")
    ] = False,
    device: Device = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    json: Annotated[
        bool, typer.Option("--json", help="What is said on standard error, as JSON lines.")
    ] = False,
) -> None:
    """Separate raw audio while it comes in: samples on standard input, stems on standard output.

    The channels of all chosen stems are written side by side, stem by stem.
    """
    one_of("--format", format, FORMATS)
    one_of("--gate", gate, ("off", "raw", "median"))
    one_of("--phase", phase, ("auto", "mixture", "griffin-lim", "wiener"))
    one_of("--runtime", runtime, RUNTIMES)
    one_of("--precision", precision, PRECISIONS)

    from stemwise import models
    from stemwise.live import Stream
    from stemwise.separation import Engine, Options
    from stemwise.songs import Output

    with usage():
        options = Options(
            segment=segment,
            lookahead=lookahead,
            gate=gate,  # type: ignore[arg-type]
            phase=phase,  # type: ignore[arg-type]
            device=device,
            runtime=runtime,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
        )
    if latency:
        _tell_latency(name, options, rate, json)
        return
    _refuse_terminals(activity)
    obtain(name, offline=offline, shown=not quiet)
    separator = models.load(name)
    with usage():
        wanted = None if stems is None else tuple(one.strip() for one in stems.split(","))
        chosen = Output(stems=wanted).names(separator.sources)
    if (activity or activity_to is not None) and not separator.activity_sources:
        raise typer.BadParameter(
            "this model does not tell when stems play: leave --activity and --activity-to away."
        )
    rows = [separator.sources.index(one) for one in chosen]
    heard = separator.activity_sources, separator.frame_rate
    with ExitStack() as stack:
        writers = [_activity(sys.stdout, *heard) if activity else _samples(rows, format)]
        if activity_to is not None:
            file = stack.enter_context(open(activity_to, "w", encoding="utf-8"))
            writers.append(_activity(file, *heard))
        stream = stack.enter_context(Stream(Engine(separator, options), rate, channels))
        notes = _Notes(stream, quiet, json)
        notes.begin(["activity"] if activity else list(chosen))
        _widen(sys.stdin.buffer)
        for block in _blocks(sys.stdin.buffer, format, channels, notes):
            blocks = stream.push(block)
            notes.follow()
            for write in writers:
                write(blocks)
        rest = stream.finish()
        for write in writers:
            write(rest)
        notes.end()


def _refuse_terminals(activity: bool) -> None:
    if sys.stdin.isatty():
        raise typer.BadParameter("raw samples come from a pipe or a file, not from a terminal.")
    if sys.stdout.isatty() and not activity:
        raise typer.BadParameter(
            "raw samples would fill the terminal: send them to a program, or add --activity."
        )


def _tell_latency(name: str, options: Options, rate: int, json: bool) -> None:
    from stemwise.live import latency, shortest_latency

    outline = outline_of(name)
    chosen = {key: getattr(options, key) for key in ("segment", "lookahead", "gate", "phase")}
    seconds, shortest = latency(outline, rate, **chosen), shortest_latency(outline)
    if json:
        _json_line(sys.stdout, {"model": name, "latency": seconds, "shortest": shortest, **chosen})
    else:
        typer.echo(
            f"{name}: stems are {seconds:.3f} s behind what comes in with --segment "
            f"{options.segment:g} --lookahead {options.lookahead:g}; at least {shortest:.3f} s"
        )


class _Notes:
    """What is said on standard error: for people, or for programs as JSON lines."""

    def __init__(self, stream: Stream, quiet: bool, json: bool) -> None:
        self._stream, self._quiet, self._json = stream, quiet, json
        self._next = FIRST_NOTE

    def begin(self, written: Sequence[str]) -> None:
        latency = self._stream.latency
        if not self._quiet:
            self._say(
                f"{', '.join(written)}, {latency:.2f} s behind what comes in",
                {"writes": list(written), "latency": round(latency, 4)},
            )

    def follow(self) -> None:
        """Tell of falling behind, to quiet users too: what they hear or record has gaps soon."""
        behind = self._stream.behind
        if behind >= self._next:
            self._next = 2 * behind
            self._say(
                f"computing is {behind:.1f} s slower than the audio plays: "
                "choose a longer --segment, a shorter --lookahead or another model",
                {"behind": round(behind, 3)},
            )

    def cut_off(self, count: int) -> None:
        if not self._quiet:
            self._say(
                f"the last {count} bytes are no whole sample of all channels: they were dropped",
                {"dropped_bytes": count},
            )

    def end(self) -> None:
        """The real-time factor; quiet users learn it where it was too much."""
        received, computing = self._stream.received, self._stream.computing
        if not received or (self._quiet and self._next == FIRST_NOTE):
            return
        factor = computing / received
        self._say(
            f"{received:.1f} s of audio, {computing:.1f} s of computing: {factor:.2f} of real time",
            {
                "seconds": round(received, 3),
                "computing": round(computing, 3),
                "real_time_factor": round(factor, 4),
                "behind": round(self._stream.behind, 3),
            },
        )

    def _say(self, sentence: str, facts: dict[str, Any]) -> None:
        if self._json:
            _json_line(sys.stderr, facts)
        else:
            typer.echo(f"stemwise: {sentence}", err=True)


def _widen(pipe: BinaryIO) -> None:
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # a file, or more than this user may have
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, WAITING)


def _blocks(source: BinaryIO, format: str, channels: int, notes: _Notes) -> Iterator[np.ndarray]:
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
    if rest:
        notes.cut_off(len(rest))


def _samples(rows: Sequence[int], format: str) -> Write:
    """Writes the samples of some stems."""
    import numpy as np

    from stemwise.audio.wav import quantise

    def write(blocks: list[Block]) -> None:
        for block in blocks:
            stems = block.stems[rows].reshape(-1, block.stems.shape[-1])
            coded = quantise(stems, 16).astype("<i2") if format == "s16le" else stems
            _write_whole(np.ascontiguousarray(coded.T))

    return write


def _write_whole(frames: np.ndarray) -> None:
    """Frames (sample, channel) to standard output, never half of one: not even after Ctrl-C."""
    out = sys.stdout.fileno()
    step = max(1, ATOMIC // frames[:1].nbytes) if len(frames) else 1
    for start in range(0, len(frames), step):
        left = frames[start : start + step].tobytes()
        while left:
            left = left[os.write(out, left) :]


def _activity(file: TextIO, sources: Sequence[str], frame_rate: float) -> Write:
    """Writes a line for each frame; each can be read at once."""

    def write(blocks: list[Block]) -> None:
        for block in blocks:
            for number, frame in enumerate(block.activity.T, block.first_frame):
                values = {name: round(float(p), 4) for name, p in zip(sources, frame, strict=True)}
                _json_line(file, {"time": round(number / frame_rate, 6), **values})

    return write


def _json_line(file: TextIO, content: dict[str, Any]) -> None:
    from json import dumps

    file.write(dumps(content) + "\n")
    file.flush()
