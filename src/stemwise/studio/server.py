"""Running a studio: a socket, uvicorn, and an end that leaves nothing behind."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import ip_address

import uvicorn

from stemwise.studio.app import create_app
from stemwise.studio.settings import Settings, StudioError
from stemwise.studio.studio import Studio

_FAREWELL = 3
"""Seconds that answers have to end when the studio closes."""
_CONNECTIONS = 1000


class _Server(uvicorn.Server):
    """Tells when it is ready, and ends the streams of events first: they would wait for ever."""

    def __init__(
        self, config: uvicorn.Config, studio: Studio, ready: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._studio, self._ready = studio, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all that is open."""
        self._studio.hub.close()
        await super().shutdown(sockets)


def serve(settings: Settings, started: Callable[[str], None]) -> None:
    """Run a studio until it is interrupted; `started` is called with its address.

    Raises StudioError where the port is taken or the folder cannot be used.
    """
    listening = listen(settings.host, settings.port)
    with listening:
        app = create_app(settings)
        studio: Studio = app.state.studio
        config = uvicorn.Config(
            app,
            lifespan="on",
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_FAREWELL,
        )
        try:
            place = address(settings, listening.getsockname()[1])
            _Server(config, studio, lambda: started(place)).run(sockets=[listening])
        except KeyboardInterrupt:
            return  # the usual end of a studio
        finally:
            studio.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises StudioError."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise StudioError(f"There is no address {host!r} to listen on.") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(256)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise StudioError(
                f"Port {port} is taken, perhaps by another studio: choose another --port."
            ) from error
        raise StudioError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error
    return made


def address(settings: Settings, port: int) -> str:
    """Where a browser finds the studio, the token included."""
    host = settings.host
    try:
        if ip_address(host).is_unspecified:
            host = _own_address()
    except ValueError:
        pass  # a name
    shown = f"[{host}]" if ":" in host else host
    token = "" if settings.token is None else f"?token={settings.token}"
    return f"http://{shown}:{port}/{token}"


def _own_address() -> str:
    """The address by which other computers of the network know this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses a way out
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
