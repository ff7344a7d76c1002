"""Names that come from clients: for display, for downloads, and never for the file system."""

from __future__ import annotations

import re
import secrets
import unicodedata
from urllib.parse import quote

LONGEST = 200
"""Letters of a display name."""
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ +.-]{0,63}")
_KEPT_FORMAT = "\u200c\u200d"  # joiners, without which some scripts and emoji fall apart
_SUFFIXES = (
    ".stem.mp4", ".wav", ".wave", ".bwf", ".aif", ".aiff", ".aifc", ".flac", ".mp3", ".opus",
    ".ogg", ".oga", ".m4a", ".aac", ".mp4", ".wma", ".mka", ".mkv", ".webm", ".mov", ".caf",
    ".alac", ".ape", ".wv", ".mp2", ".ac3", ".au", ".w64", ".rf64",
)  # fmt: skip
_DEVICES = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}


def new_id() -> str:
    """128 random bits, safe in addresses and file names; never starts with '-'."""
    while (made := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return made


def is_id(text: str) -> bool:
    """Whether a text could be the id of a job."""
    return _ID.fullmatch(text) is not None


def is_stem_name(text: str) -> bool:
    """Whether a model's stem can be a file name and a part of an address."""
    taken = text.lower() in {"mixture", "activity", *_DEVICES}
    return _STEM.fullmatch(text) is not None and not taken and text[-1] not in ". "


def display_name(text: str) -> str:
    """A song's name as it is shown: no folders, no control characters, at most 200 letters."""
    text = unicodedata.normalize("NFC", text.replace("\\", "/")).rpartition("/")[2]
    text = "".join(one for one in text if _shown(one))
    text = re.sub(r"\s+", " ", text)[:LONGEST].strip()
    return text if text.strip(". ") else "song"


def _shown(letter: str) -> bool:
    # other format characters reverse the direction of text or hide in it
    kind = unicodedata.category(letter)
    return kind not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or letter in _KEPT_FORMAT


def title(name: str) -> str:
    """A display name without the suffix of an audio file."""
    lower = name.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix) and name[: -len(suffix)].strip(". "):
            return name[: -len(suffix)].strip()
    return name


def file_name(text: str) -> str:
    """A display name that every system takes as a file's or folder's name."""
    text = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", display_name(text)).rstrip(". ")
    while len(text.encode()) > 180:
        text = text[:-1]
    return f"_{text}" if text.partition(".")[0].strip().lower() in _DEVICES else text or "song"


def attachment(name: str) -> str:
    """The Content-Disposition of a download (RFC 6266, RFC 8187)."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ._()\[\]-]", "_", plain).strip() or "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
