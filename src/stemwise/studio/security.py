"""Who may ask what: host names, tokens, requests from other sites, and headers on every answer.

A studio on loopback is open to the programs of its computer, and so to every page in its browser.
The host name stops pages whose own name was made to point here (DNS rebinding), the origin stops
those that send requests across sites; elsewhere a token is needed as well.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
from ipaddress import ip_address
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stemwise.studio.settings import Settings

COOKIE = "stemwise_studio"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
WELCOME = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>stemwise studio</title>'
    '<meta http-equiv="refresh" content="0;url=/"><p><a href="/">Open the studio</a></p></html>'
)
"""Leads on to the page. A redirection would not send the cookie when another site led here."""
_log = logging.getLogger("stemwise.studio")


class Guard:
    """Stands in front of the application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._token = app, settings.token
        own = socket.gethostname().lower()
        names = {"localhost", own, f"{own}.local", settings.host, *settings.allowed_hosts}
        self._names = {name.lower().rstrip(".") for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is not allowed; pass the rest on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refusal(scope)
        if answer is not None:
            await _answer(sending, *answer)
            return
        try:
            await self._app(scope, receive, sending)
        except Exception:
            _log.exception("A request failed: %s %s", scope["method"], scope["path"])
            if begun:
                raise
            await _answer(sending, 500, "The studio made a mistake: its terminal says more.", {})

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        headers = Headers(scope=scope)
        if not self._known_host(headers.getlist("host")):
            return 421, "The studio is not known by this host name: --allow-host makes it so.", {}
        if not _own_page(scope, headers):
            return 403, "The request came from another site's page.", {}
        if self._token is None:
            return None
        if scope["path"] == "/" and scope["method"] == "GET":
            given = [value for name, value in _query(scope) if name == "token"]
            if given:
                return self._log_in(given)
        # the page holds nothing that is secret, and asks for the token itself
        page = scope["path"] == "/" or scope["path"].startswith("/assets/")
        if page or self._knows_token(headers):
            return None
        return (
            401,
            "A token is needed: open the address that the studio printed, or send the token as "
            "Authorization: Bearer.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _known_host(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        name = _host_name(hosts[0])
        if name is None:
            return False
        try:
            ip_address(name)
        except ValueError:
            return name in self._names
        return True  # rebinding needs a name

    def _log_in(self, given: list[str]) -> tuple[int, str, dict[str, str]]:
        """Trade the token in the address for a cookie, so that it stays in no history."""
        assert self._token is not None
        if len(given) != 1 or not _same(given[0], self._token):
            return 401, "The token is wrong: open the address that the studio printed.", {}
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        return 200, WELCOME, {"Set-Cookie": cookie, "Content-Type": "text/html; charset=utf-8"}

    def _knows_token(self, headers: Headers) -> bool:
        assert self._token is not None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        return _same(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), self._token)


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode())


def _query(scope: Scope) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=100)
    except ValueError:
        return []


def _host_name(host: str) -> str | None:
    """The name in a Host header without its port, lower case; None for nonsense."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        port = port.removeprefix(":")
        return name if bracket and (not port or port.isdigit()) else None
    name, _, port = host.partition(":")
    return name.rstrip(".") if name and (not port or port.isdigit()) else None


def _own_page(scope: Scope, headers: Headers) -> bool:
    """Whether a request comes from the studio's page, from the address bar, or from a script."""
    safe = scope["method"] in SAFE_METHODS
    site = headers.get("sec-fetch-site")
    if site in ("cross-site", "same-site"):
        # another page may link here, and not use what is here
        return safe and headers.get("sec-fetch-mode") == "navigate"
    origin = headers.get("origin")
    if safe or origin is None:
        return True
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and host.lower() == headers.get("host", "").strip().lower()


async def _answer(send: Send, status: int, sentence: str, headers: dict[str, str]) -> None:
    page = sentence is WELCOME
    body = sentence.encode() if page else json.dumps({"detail": sentence}).encode()
    every = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in headers.items()},
    }
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
