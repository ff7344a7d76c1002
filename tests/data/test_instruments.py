"""The table of instruments against every name in the real metadata."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from stemwise.data.instruments import (
    TARGETS,
    instrument_table,
    source_of,
    sources_within,
    unmapped,
)
from stemwise.data.medleydb import read_metadata, songs_per_target

PAPER = {
    "vocals": 374,
    "drums": 468,
    "bass": 458,
    "electric guitar": 325,
    "acoustic guitar": 128,
    "piano": 189,
}


def test_no_name_stands_twice() -> None:
    import stemwise.data

    text = Path(stemwise.data.__path__[0], "instruments.yaml").read_text(encoding="utf-8")
    names = Counter(name for several in yaml.safe_load(text).values() for name in several)
    assert [name for name, count in names.items() if count > 1] == []
    assert all(isinstance(name, str) and name == name.lower().strip() for name in names)
    assert set(TARGETS) <= set(instrument_table().values())


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("male singer", "vocals"),
        ("Female Singer", "vocals"),
        ("drum set", "drums"),
        ("double bass", "bass"),
        ("distorted electric guitar", "electric guitar"),
        ("Rhodes", "piano"),
        ("Tambourine", "percussion"),
        ("cello section", "strings"),
        ("Main System", "room"),
        (["male singer", "vocalists"], "vocals"),
        (["acoustic guitar", "clean electric guitar"], None),
    ],
)
def test_names_and_lists_of_names(name: str | list[str], source: str | None) -> None:
    assert source_of(name) == source


def test_unknown_names_are_listed_never_dropped() -> None:
    assert unmapped(["Male Singer", "theremin", ["piano", "Nose Flute"], "theremin"]) == {
        "Nose Flute": 1,
        "theremin": 2,
    }
    assert sources_within(["piano", "male singer"]) == {"piano", "vocals"}
    for function in (source_of, sources_within):
        with pytest.raises(KeyError, match="theremin"):
            function(["piano", "theremin"])


def test_every_real_name_is_in_the_table(real_metadata: Path) -> None:
    names = [
        stem["instrument"]
        for path in sorted(real_metadata.glob("*/*_METADATA.yaml"))
        for stem in yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["stems"].values()
    ]
    assert len({str(name) for name in names}) == 360
    assert unmapped(names) == {}


def test_songs_per_target_are_the_paper_s(real_metadata: Path) -> None:
    songs = [read_metadata(path) for path in sorted(real_metadata.glob("*/*_METADATA.yaml"))]
    assert len(songs) == 588
    found = songs_per_target(songs)
    print("\ntarget           songs  paper")
    for target, wanted in PAPER.items():
        print(f"{target:16} {found[target]:5} {wanted:6}  {found[target] / wanted - 1:+.1%}")
        assert found[target] == pytest.approx(wanted, rel=0.1), target
