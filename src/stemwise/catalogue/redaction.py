"""What of a URL may be shown: not its password, and not the values of its query (signatures)."""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
_VALUE = re.compile(r"=[^&]*?([.,:;)]*)(?=&|$)")
HIDDEN = "***"


def redacted(text: str) -> str:
    """A URL, or a sentence with URLs, without what gives access to them."""
    return _URL.sub(lambda found: "::".join(map(_redacted, found[0].split("::"))), text)


def _redacted(url: str) -> str:
    place, mark, query = url.partition("?")
    scheme, parted, rest = place.partition("://")
    host, slash, path = rest.partition("/")
    user, at, host = host.rpartition("@")
    if scheme not in ("http", "https"):
        pass  # a question mark may be part of a name there
    elif "=" in query:
        query = _VALUE.sub(rf"={HIDDEN}\1", query)
    elif query:
        query = HIDDEN
    return f"{scheme}{parted}{HIDDEN if user else ''}{at}{host}{slash}{path}{mark}{query}"
