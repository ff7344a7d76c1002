"""`stemwise demo`: a song rendered on the spot, separated, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.options import Device, Name

SEED = 2018


def demo(
    out: Annotated[Path, typer.Argument(metavar="[OUT]", help="Output folder.")] = Path(
        "stemwise-demo"
    ),
    name: Name = "band",
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of the song.")] = 20.0,
    device: Device = "auto",
) -> None:
    """Render a short song, separate it, and write a report page."""
    from stemwise.audio import Audio, write
    from stemwise.band.render import render_song
    from stemwise.cli.separate import separate
    from stemwise.stem_output import make_folder

    make_folder(out)
    song = out / "demo song.flac"
    typer.echo("Rendering a song ...")
    rendered = render_song(SEED, family="dsp", duration=seconds)
    tags = {"title": "Demo song", "artist": "stemwise"}
    write(song, Audio(rendered.mixture, rendered.sample_rate, tags))
    typer.echo(f"{song}: {rendered.song.style}, {rendered.song.tempo:.0f} beats per minute")
    separate([str(song)], name=name, out=str(out), device=device, report=True)
