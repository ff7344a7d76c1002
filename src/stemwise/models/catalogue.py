"""Trained models by name: those that come with the package, and those that others published.

The published ones are the official weights of Open-Unmix (Stöter et al. 2019), which are downloaded
when they are first used: see `stemwise.models.fetch`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from stemwise.cache import cache_folder

SERVER = "https://zenodo.org"
"""Where the published weights are."""


@dataclass(frozen=True)
class PublishedFile:
    """The weights of one source as they were published."""

    source: str
    location: str
    """Path on the server."""
    sha256: str
    """Hexadecimal digits with which the file's SHA-256 starts."""

    @property
    def name(self) -> str:
        """Name without folders."""
        return self.location.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Where the file is downloaded from: the server, or $STEMWISE_WEIGHTS_URL for a mirror."""
        return (os.environ.get("STEMWISE_WEIGHTS_URL") or SERVER).rstrip("/") + self.location


@dataclass(frozen=True)
class Weights:
    """A trained model: its checkpoint, where that comes from, and what one may do with it."""

    name: str
    network: str
    path: Path
    """The checkpoint, whether or not it is there yet."""
    licence: str
    summary: str
    reference: str = ""
    """What to cite."""
    config: dict[str, Any] = field(default_factory=dict)
    """Arguments of the network that published files are for."""
    published: tuple[PublishedFile, ...] = ()
    """The files that the checkpoint is made of; none where it comes with the package."""

    @property
    def present(self) -> bool:
        """Whether the checkpoint is on this computer."""
        return self.path.is_file()


def weights() -> dict[str, Weights]:
    """Trained models by name, whether or not their files are present."""
    folder = Path(str(files("stemwise.models") / "weights"))
    band = Weights(
        "band",
        "band-unet",
        folder / "band.safetensors",
        "MIT",
        "vocals, drums, bass, other and when each plays; learnt from rendered songs only",
    )
    return {one.name: one for one in (band, *_open_unmix())}


def _open_unmix() -> list[Weights]:
    """The official weights of Open-Unmix, one published file per source."""
    paper = "Stöter, Uhlich, Liutkus, Mitsufuji 2019, doi:10.21105/joss.01667"
    return [
        _published(
            "umxhq",
            3370489,
            "vocals-b62c91ce drums-9619578f bass-8d85a5bd other-b52fbbf7",
            "MIT",
            "Open-Unmix, learnt from MUSDB18-HQ",
            f"{paper}; weights doi:10.5281/zenodo.3370489",
        ),
        _published(
            "umx",
            3370486,
            "vocals-c8df74a5 drums-5a48008b bass-646024d3 other-f8e132cc",
            "MIT",
            "Open-Unmix, learnt from MUSDB18, whose songs end at 16 kHz",
            f"{paper}; weights doi:10.5281/zenodo.3370486",
        ),
        _published(
            "umxl",
            5069601,
            "vocals-bccbd9aa drums-69e0ebd4 bass-2ca1ce51 other-c8c5b3e6",
            "CC BY-NC-SA 4.0",
            "Open-Unmix, wider and learnt from more songs; for non-commercial use only",
            f"{paper}; weights doi:10.5281/zenodo.5069601",
            hidden=1024,
        ),
    ]


def _published(
    name: str,
    record: int,
    names: str,
    licence: str,
    summary: str,
    reference: str,
    hidden: int = 512,
) -> Weights:
    """names: of the files, each the source and the first digits of the SHA-256."""
    parts = [one.split("-") for one in names.split()]
    return Weights(
        name,
        "open-unmix",
        cache_folder("models") / f"{name}.safetensors",
        licence,
        summary,
        reference,
        {"sources": [source for source, _ in parts], "hidden": hidden},
        tuple(
            PublishedFile(source, f"/records/{record}/files/{source}-{digits}.pth", digits)
            for source, digits in parts
        ),
    )
