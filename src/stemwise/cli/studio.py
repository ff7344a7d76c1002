"""`stemwise studio`: songs in the browser: drop them, listen to their stems, take what you need."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.options import Device, Quiet
from stemwise.studio.settings import (
    DAY,
    GIGABYTE,
    MEGABYTE,
    Settings,
    StudioError,
    default_data,
    is_loopback,
)


def studio(
    host: Annotated[
        str,
        typer.Option(help="Where to listen; anything but this computer's own needs a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="STEMWISE_STUDIO_TOKEN",
            help="What clients must know; made and printed where it is needed and not given.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name it may be addressed by."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of songs and stems [or STEMWISE_STUDIO; else your data folder]."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="Offer this model as well."),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Size of a song.")] = 1000,
    queue: Annotated[int, typer.Option(min=1, help="Songs that may wait.")] = 50,
    keep: Annotated[float, typer.Option(min=0.001, metavar="DAYS", help="Days of a result.")] = 7,
    quota: Annotated[
        float | None, typer.Option(min=0.001, metavar="GB", help="Size of everything [the disk's].")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one song.")] = 7200,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Songs at the same time.")] = 1,
    device: Device = "auto",
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Open a page to separate songs, and to listen to their stems."""
    made = token is None and not is_loopback(host)
    settings = Settings(
        (default_data() if data is None else data).expanduser().absolute(),
        host=host,
        port=port,
        token=secrets.token_urlsafe(24) if made else token,
        allowed_hosts=tuple(allow_host or ()),
        models=_models(checkpoint or []),
        device=device,
        workers=jobs,
        max_upload=max_upload * MEGABYTE,
        queue=queue,
        keep=keep * DAY,
        quota=None if quota is None else round(quota * GIGABYTE),
        timeout=timeout,
    )
    try:
        from stemwise.studio.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise StudioError(
            f"The studio needs {error.name}, which is not installed: pip install fastapi uvicorn."
        ) from error
    logging.basicConfig(format="stemwise: %(message)s", level=logging.WARNING)

    def started(address: str) -> None:
        if not quiet or made:
            typer.echo(f"The studio is at {address}")
        if not quiet:
            typer.echo(f"Songs and stems are kept in {settings.data}. Ctrl-C closes the studio.")
        sys.stdout.flush()
        if open_page and _has_screen():
            # some browsers keep whoever starts them waiting
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(settings, started)
    if not quiet:
        typer.echo("The studio is closed; songs that were not done are continued next time.")


def _models(paths: list[Path]) -> dict[str, Path]:
    """Checkpoints by name. Raises StudioError where two have the same."""
    from stemwise.models.catalogue import weights

    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found or path.stem in weights():
            raise StudioError(f"There are two models called {path.stem!r}: rename {path}.")
        found[path.stem] = path
    return found


def _has_screen() -> bool:
    """Whether a browser would have a window; in a terminal it would be in the way."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
