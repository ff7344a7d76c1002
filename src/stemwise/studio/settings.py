"""How a studio runs: where it keeps songs, who may reach it, and its limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from stemwise.errors import StemwiseError

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000
DAY = 86_400.0
SHORTEST_TOKEN = 16


class StudioError(StemwiseError):
    """A studio that cannot run as it was asked to."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be chosen about a studio.

    data: folder of songs, results and the list of jobs. host, port: where it listens. token: what
    clients must know (None: nothing; on loopback only). allowed_hosts: more names by which it may
    be addressed. models: checkpoints offered beside the trained models, by name. device: where
    networks run. workers: songs at the same time.

    Limits: max_upload in bytes; queue: songs that wait; keep: seconds that a finished job stays;
    quota: bytes of everything in `data` (None: the disk's size); reserve: bytes that stay free on
    the disk; timeout: seconds for one song; uploads: songs that arrive at the same time;
    upload_idle: seconds without a byte after which an upload is given up; upload_rate: bytes per
    second that it must reach on average; event_clients: listeners to events; heartbeat: seconds.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    models: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    workers: int = 1
    max_upload: int = 1000 * MEGABYTE
    queue: int = 50
    keep: float = 7 * DAY
    quota: int | None = None
    reserve: int = 500 * MEGABYTE
    timeout: float = 7200.0
    uploads: int = 8
    upload_idle: float = 30.0
    upload_rate: int = 4000
    event_clients: int = 200
    heartbeat: float = 10.0

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise StudioError(
                f"Other computers can reach {self.host}: give a token, or listen on 127.0.0.1."
            )
        if self.token is not None and not _sound_token(self.token):
            raise StudioError(
                f"The token must have at least {SHORTEST_TOKEN} letters, digits or any of -_.~: "
                "leave it out to have one made."
            )


def is_loopback(host: str) -> bool:
    """Whether an address or name reaches this computer only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _sound_token(token: str) -> bool:
    # what fits unchanged into an address, a header and a cookie
    known = token.isascii() and all(one.isalnum() or one in "-_.~" for one in token)
    return known and len(token) >= SHORTEST_TOKEN


def default_data() -> Path:
    """$STEMWISE_STUDIO, or the place where this system keeps what programs store for a user."""
    chosen = os.environ.get("STEMWISE_STUDIO")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "stemwise" / "studio"
    variable = "LOCALAPPDATA" if os.name == "nt" else "XDG_DATA_HOME"
    root = os.environ.get(variable)
    return (Path(root) if root else Path.home() / ".local" / "share") / "stemwise" / "studio"
