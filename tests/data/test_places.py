"""What a command line calls a data set: a kind, a name, a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemwise.data.places import Place, name_places
from stemwise.data.store_manifest import MANIFEST
from stemwise.errors import DataError


@pytest.fixture
def store(tmp_path: Path) -> str:
    folder = tmp_path / "stores" / "mine"
    folder.mkdir(parents=True)
    (folder / MANIFEST).touch()
    return str(folder)


def test_a_store_has_any_name_even_that_of_a_kind(store: str) -> None:
    """As in `--data musdb18=STORE`, which was taken for a folder as MUSDB18 is published."""
    place = Place(None, store)
    assert name_places([store]) == {"mine": place}
    assert name_places([f"songs={store}"]) == {"songs": place}
    assert name_places([f"musdb18={store}"]) == {"musdb18": place}
    assert name_places(["jamendo=s3://bucket/store"]) == {
        "jamendo": Place(None, "s3://bucket/store")
    }


def test_a_folder_has_the_kind_that_is_given(tmp_path: Path) -> None:
    assert name_places([f"musdb18={tmp_path}"]) == {tmp_path.name: Place("musdb18", str(tmp_path))}
    assert name_places([f"test=musdb18={tmp_path}"]) == {"test": Place("musdb18", str(tmp_path))}


def test_two_sets_of_one_name_are_refused(store: str) -> None:
    with pytest.raises(DataError, match="two data sets are named 'mine'"):
        name_places([store, store])
