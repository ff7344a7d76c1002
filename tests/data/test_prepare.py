"""Preparation: the same bytes whatever happened on the way, and one sentence for what cannot be."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.audio.part import PartFile
from stemwise.data import prepare as preparing
from stemwise.data import signals, store_write
from stemwise.data.folder import read_folder
from stemwise.data.prepare import Done, prepare
from stemwise.data.store import open_store
from stemwise.data.store_manifest import Origin, file_name
from stemwise.data.track import Part, Track
from stemwise.errors import DataError, OutputError

RATE = 8000


def write_song(root: Path, name: str, seconds: float = 0.5, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    (root / name).mkdir(parents=True, exist_ok=True)
    for source in ("vocals", "drums"):
        noise = 0.1 * rng.standard_normal((round(seconds * RATE), 2))
        soundfile.write(root / name / f"{source}.wav", noise, RATE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(4):
        write_song(tmp_path / "songs", f"song {number}", seed=number)
    return tmp_path / "songs"


def make(root: Path, folder: Path, **how: object) -> list[Done]:
    """Prepare all songs of a root; what was done."""
    done: list[Done] = []
    origin = Origin(root=str(root))
    prepare(read_folder(root), folder, origin=origin, progress=done.append, **how)  # type: ignore[arg-type]
    return done


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def expected(root: Path, tmp_path: Path) -> dict[str, bytes]:
    """The store that an uninterrupted run writes."""
    make(root, tmp_path / "expected")
    return content(tmp_path / "expected")


def killed(run: Callable[..., object], *arguments: Path, after: float | None = None) -> bool:
    """Run in a forked process, killed after some seconds or by itself; whether it was killed."""
    process = multiprocessing.get_context("fork").Process(target=run, args=arguments)
    process.start()
    if after is not None:
        time.sleep(after)
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def test_nothing_but_songs_and_settings_matters(
    root: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    assert sorted(path.split("/")[0] for path in expected) == ["store.json"] + 4 * ["tracks"]
    make(root, tmp_path / "again", workers=2)
    assert content(tmp_path / "again") == expected


def test_a_finished_store_is_left_as_it_is(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert [one.kept for one in make(root, folder)] == [False] * 4
    times = {path: path.stat().st_mtime_ns for path in (folder / "tracks").iterdir()}
    assert [one.kept for one in make(root, folder)] == [True] * 4
    assert times == {path: path.stat().st_mtime_ns for path in (folder / "tracks").iterdir()}


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 5, 6, 9, 12, 13])
def test_killed_at_every_step(
    step: int,
    root: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before and after every rename: of manifest, data file, record, data file, record ..."""
    folder = tmp_path / "store"
    commit, count = PartFile.commit, iter(range(100))

    def commit_or_die(part: PartFile) -> None:
        if next(count) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(part)
        if next(count) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(PartFile, "commit", commit_or_die)
        assert killed(make, root, folder)
    if step == 9:
        with pytest.raises(DataError, match=r"is not finished \(2 of 4 tracks\)"):
            open_store(folder)
        assert len(open_store(folder, partial=True).tracks) == 2
    done = make(root, folder)
    assert sum(one.kept for one in done) == max(0, (step - 1) // 4)
    assert content(folder) == expected


def test_killed_at_random_times(
    root: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    blocks = signals.signal_blocks

    def slow_blocks(*arguments: object) -> object:
        for block in blocks(*arguments):  # type: ignore[arg-type]
            time.sleep(0.02)
            yield block

    hits = 0
    for attempt in range(6):
        folder = tmp_path / f"store {attempt}"
        with monkeypatch.context() as patch:
            patch.setattr(store_write, "signal_blocks", slow_blocks)
            for _ in range(2):
                hits += killed(make, root, folder, after=rng.uniform(0.02, 0.25))
        make(root, folder)
        assert content(folder) == expected
    assert hits


def test_workers_end_with_the_process_that_started_them(
    root: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    folder = tmp_path / "store"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=make, args=(root, folder), kwargs={"workers": 2})
    process.start()
    deadline = time.monotonic() + 60
    while not (folder / "tracks").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    make(root, folder)
    assert content(folder) == expected


def test_a_full_disk_leaves_what_was_done(root: Path, tmp_path: Path) -> None:
    write_song(root, "song 2", seconds=5)
    expected = tmp_path / "expected"
    make(root, expected)
    folder = tmp_path / "store"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"song-2-.*the disk is full: free some space"):
            make(root, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    store = open_store(folder, partial=True)
    assert [track.name for track in store.tracks] == ["song 0", "song 1"]
    store.tracks[1].read_stem("vocals", 0, 100)
    assert not list(folder.rglob("*.part"))
    make(root, folder)
    assert content(folder) == content(expected)


def test_changed_songs_are_prepared_again(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    make(root, folder)
    write_song(root, "song 1", seed=77)
    (root / "song 2" / "drums.wav").rename(root / "song 2" / "bass.wav")
    os.utime(root / "song 3" / "drums.wav", ns=(1, 1))  # touched, but the same
    (root / "song 0" / "activity.csv").write_text("time,vocals\n0,1\n")
    done = {one.track.name: one.kept for one in make(root, folder)}
    assert done == {"song 0": False, "song 1": False, "song 2": False, "song 3": True}
    store = open_store(folder)
    assert store.tracks[2].stems == ("bass", "vocals")
    assert store.tracks[0].labels is not None
    expected = read_folder(root)[1].read_stem("vocals", 0, 4000)
    np.testing.assert_array_equal(store.tracks[1].read_stem("vocals", 0, 4000), expected)


def test_tracks_that_are_gone_leave_the_store(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    make(root, folder)
    prepare(read_folder(root)[1:3], folder, origin=Origin(root=str(root)))
    assert [track.name for track in open_store(folder).tracks] == ["song 1", "song 2"]
    assert len(list((folder / "tracks").iterdir())) == 2


def test_a_damaged_data_file_is_written_again(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    make(root, folder)
    expected = content(folder)
    data = folder / file_name("song 1")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"song-1-.* has \d+ bytes instead of \d+: remove it"):
        open_store(folder)
    make(root, folder)
    assert content(folder) == expected


def test_other_options_need_another_folder(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    make(root, folder)
    with pytest.raises(OutputError, match="was prepared with dtype int16, not float32"):
        make(root, folder, dtype="float32")
    with pytest.raises(OutputError, match="was prepared with sources not set, not drums"):
        make(root, folder, sources=["drums"])
    with pytest.raises(OutputError, match=r"holds other files \(song 0 \.\.\.\)"):
        make(root, root)
    with pytest.raises(DataError, match="no track has a stem 'voclas': did you mean 'vocals'"):
        make(root, tmp_path / "new", sources=["voclas"])
    assert not (tmp_path / "new").exists()


def test_two_preparations_at_once(root: Path, tmp_path: Path) -> None:
    with preparing._locked(tmp_path), pytest.raises(OutputError, match="by another process"):
        make(root, tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_tracks(root: Path, tmp_path: Path, workers: int) -> None:
    tracks = read_folder(root)
    cut = root / "song 1" / "drums.wav"
    cut.write_bytes(cut.read_bytes()[:5000])
    (root / "song 2" / "vocals.wav").unlink()
    origin = Origin(root=str(root))
    broken: list[str] = []
    store = prepare(tracks, tmp_path / "store", origin=origin, workers=workers, broken=broken)
    assert [track.name for track in store.tracks] == ["song 0", "song 3"]
    first, second = sorted(broken)
    assert str(cut) in first
    assert "ends at" in first
    assert f"{root / 'song 2' / 'vocals.wav'}" in second
    assert store.manifest.skipped == (first, second)


def test_a_broken_track_ends_the_preparation(root: Path, tmp_path: Path) -> None:
    tracks = read_folder(root)
    for path in root.glob("*/vocals.wav"):
        path.unlink()
    with pytest.raises(DataError, match=r"song 0/vocals\.wav cannot be read"):
        prepare(tracks, tmp_path / "store")
    with pytest.raises(DataError, match="no track could be prepared"):
        prepare(tracks, tmp_path / "store", broken=[])


def test_what_a_track_may_not_be(root: Path, tmp_path: Path) -> None:
    [song, *_] = read_folder(root)
    with pytest.raises(DataError, match="two tracks are named 'song 0'"):
        prepare([song, song], tmp_path / "store")
    with pytest.raises(DataError, match="there is no track"):
        prepare([], tmp_path / "store")
    with pytest.raises(DataError, match="not valid Unicode"):
        prepare([Track("a\udc80", "", RATE, 10, song.stems)], tmp_path / "store")
    wrong = Track("song", "", 44100, 10, song.stems)
    with pytest.raises(DataError, match="has 8000 Hz and its track 44100 Hz"):
        prepare([wrong], tmp_path / "store")
    path = next(iter(song.stems.values()))[0].path
    wrong = Track("song", "", RATE, 10, {"vocals": (Part(path, 0, 2),)})
    with pytest.raises(DataError, match="has 2 channels, and its track needs channel 3"):
        prepare([wrong], tmp_path / "other")


def test_names_of_data_files_are_safe_and_unique() -> None:
    names = ["train/Łódź – 01 #?%", "train/Łódź – 01 #?&", "漢字", "x" * 300, "a/b", "a b"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert all(file.isascii() and len(file) < 120 and " " not in file for file in files)
    assert files[0].startswith("tracks/train-odz-01-")
    assert files[2].startswith("tracks/track-")
