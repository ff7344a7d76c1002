"""What a store holds is what the songs hold, wherever it is read from."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile

from stemwise.activity import Activity, write_activity
from stemwise.data.folder import read_folder
from stemwise.data.prepare import prepare
from stemwise.data.store import Store, open_store
from stemwise.data.store_manifest import data_bytes, dump_manifest, file_name
from stemwise.data.track import Part, Track, labels_from_stems
from stemwise.errors import DataError

RATE = 8000
SAMPLES = 3 * RATE + 123


def songs(root: Path, count: int = 2, *, subtype: str = "PCM_16", channels: int = 2) -> list[Track]:
    """A folder of songs with stems vocals and drums, the second with a mixture, and labels."""
    rng = np.random.default_rng(count)
    for number in range(count):
        folder = root / f"song {number} – Künstler"
        folder.mkdir(parents=True)
        names = ["vocals", "drums"] + ["mixture"] * (number % 2)
        for name in names:
            noise = 0.2 * rng.standard_normal((SAMPLES, channels))
            noise[: RATE // 2] = 0
            soundfile.write(folder / f"{name}.wav", noise, RATE, subtype=subtype)
        probabilities = rng.random((2, 30)).astype(np.float32).round(4)
        labels = Activity(("vocals", "drums"), probabilities, 10.0, 3.0)
        write_activity(folder / "activity.csv", labels)
    return read_folder(root)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Track]:
    return songs(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="module")
def folder(tracks: list[Track], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "store"
    prepare(tracks, path)
    return path


def assert_same(store: Store, tracks: list[Track]) -> None:
    """Every excerpt of the store is, bit for bit, that of the track."""
    assert [one.name for one in store.tracks] == [one.name for one in tracks]
    for stored, track in zip(store.tracks, tracks, strict=True):
        assert (stored.sample_rate, stored.samples) == (track.sample_rate, track.samples)
        assert set(stored.stems) == set(track.stems)
        for start, samples in [(0, 1), (0, SAMPLES), (777, 4000), (SAMPLES - 5, 5)]:
            for source in track.stems:
                expected = track.read_stem(source, start, samples)
                found = stored.read_stem(source, start, samples)
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found, expected)
            expected = track.read_mixture(start, samples)
            np.testing.assert_array_equal(stored.read_mixture(start, samples), expected)
        assert stored.labels is not None
        assert track.labels is not None
        np.testing.assert_array_equal(stored.labels.probabilities, track.labels.probabilities)
        assert stored.labels.sources == track.labels.sources
        assert stored.labels.frame_rate == track.labels.frame_rate
        assert stored.active_level("drums") == pytest.approx(track.active_level("drums"), rel=1e-6)


@pytest.mark.parametrize("mapped", [0, 1 << 30])
def test_excerpts_are_those_of_the_songs(folder: Path, tracks: list[Track], mapped: int) -> None:
    assert_same(open_store(folder, mapped=mapped), tracks)


def test_a_store_moves_between_processes(folder: Path, tracks: list[Track]) -> None:
    store = open_store(folder)
    store.tracks[0].read_stem("vocals", 0, 10)
    copied = pickle.loads(pickle.dumps(store.tracks))
    found = copied[1].read_stem("drums", 50, 60)
    np.testing.assert_array_equal(found, tracks[1].read_stem("drums", 50, 60))
    assert copied[1].labels is not None


@pytest.mark.parametrize("mapped", [0, 1 << 30])
def test_stored_numbers_go_into_the_batch(folder: Path, mapped: int) -> None:
    track = open_store(folder, mapped=mapped).tracks[0]
    batch = np.full((2, 3, 2, 100), 7, np.int16)
    assert track.read_pcm("vocals", 6000, 100, batch[1, 2]) is not None
    expected = track.read_stem("vocals", 6000, 100)
    np.testing.assert_array_equal(batch[1, 2] * np.float32(track.scale("vocals")), expected)
    assert (batch[0] == 7).all()
    np.testing.assert_array_equal(track.read_pcm("vocals", 6000, 100), batch[1, 2])


def test_what_is_not_there_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    track = open_store(folder).tracks[0]
    with pytest.raises(DataError, match="has no stem 'vocal': did you mean 'vocals'"):
        track.read_stem("vocal", 0, 1)
    with pytest.raises(DataError, match=f"ends at sample {SAMPLES}, before {SAMPLES + 1}"):
        track.read_stem("vocals", SAMPLES - 9, 10)
    with pytest.raises(DataError, match="ends at sample"):
        track.read_pcm("vocals", -1, 10)
    with pytest.raises(DataError, match="is not a store: name a folder"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": "something"}')
    with pytest.raises(DataError, match="is not the manifest of a stemwise store"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": "stemwise store", "version": 99}')
    with pytest.raises(DataError, match="is of store version 99"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": "stemwise store", "version": 1}')
    with pytest.raises(DataError, match="is damaged at complete"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": "stemwise st')
    with pytest.raises(DataError, match="is damaged"):
        open_store(tmp_path)


def test_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        songs(tmp_path / "set" / split, 1)
    prepare(read_folder(tmp_path / "set"), tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert [track.split for track in store.split(None)] == ["train", "test"]
    assert [track.split for track in store.split("test")] == ["test"]
    with pytest.raises(DataError, match="has no split 'valid'; it has test, train"):
        store.split("valid")


def test_float_stores_keep_24_bits(tmp_path: Path) -> None:
    tracks = songs(tmp_path / "songs", subtype="PCM_24")
    assert_same(prepare(tracks, tmp_path / "float32", dtype="float32"), tracks)
    [exact, *_] = tracks
    [half, *_] = prepare(tracks, tmp_path / "float16", dtype="float16").tracks
    found, expected = (one.read_stem("drums", 0, SAMPLES) for one in (half, exact))
    np.testing.assert_allclose(found, expected, rtol=2**-11, atol=1e-7)
    assert found.dtype == np.float32


def test_nothing_is_clipped(tmp_path: Path) -> None:
    (tmp_path / "songs" / "loud").mkdir(parents=True)
    loud = np.linspace(-2.5, 2.5, 1001)[:, None].repeat(2, axis=1)
    soundfile.write(tmp_path / "songs" / "loud" / "vocals.wav", loud, RATE, subtype="FLOAT")
    [track] = prepare(read_folder(tmp_path / "songs"), tmp_path / "store").tracks
    assert track.scale("vocals") == 4 / 32768
    np.testing.assert_allclose(track.read_stem("vocals", 0, 1001).T, loud, atol=2 / 32768)


def test_mono_songs_take_half_the_room(tmp_path: Path) -> None:
    tracks = songs(tmp_path / "songs", channels=1)
    store = prepare(tracks, tmp_path / "store")
    assert store.tracks[0].channels == 1
    assert store.tracks[0].read_pcm("vocals", 0, 5).shape == (1, 5)
    assert_same(store, tracks)
    both = store.tracks[0].read_pcm("vocals", 9000, 50, np.empty((2, 50), np.int16))
    np.testing.assert_array_equal(both[0], both[1])


def test_channels_of_a_file_are_parts(tmp_path: Path) -> None:
    ramp = np.stack([np.arange(500), 1000 + np.arange(500)], axis=1).astype(np.int16)
    path = tmp_path / "ikala.wav"
    soundfile.write(path, ramp, RATE)
    left, right = Part(path, 0, 0), Part(path, 0, 1)
    stems = {"vocals": (right,), "other": (left,), "both": (left, right)}
    track = Track("song", "", RATE, 500, stems)
    [stored] = prepare([track], tmp_path / "store").tracks
    assert stored.channels == 1
    np.testing.assert_array_equal(stored.read_pcm("vocals", 0, 500)[0], ramp[:, 1])
    np.testing.assert_array_equal(stored.read_pcm("both", 0, 500)[0], ramp.sum(axis=1))


def test_mixing_down_and_leaving_out_stems(tmp_path: Path) -> None:
    tracks = songs(tmp_path / "songs")
    [first, _] = prepare(tracks, tmp_path / "store", channels=1, sources=["vocals"]).tracks
    assert first.stems == ("vocals",)
    assert first.has_mixture
    expected = tracks[0].read_stem("vocals", 0, SAMPLES).mean(axis=0)
    np.testing.assert_allclose(first.read_stem("vocals", 0, SAMPLES)[0], expected, atol=1 / 32768)
    expected = tracks[0].read_mixture(0, SAMPLES).mean(axis=0)
    found = first.read_mixture(0, SAMPLES)[1]
    np.testing.assert_allclose(found, expected, atol=2 / 32768)
    rest = np.sqrt(np.mean(np.square(tracks[0].read_stem("drums", 0, SAMPLES).mean(axis=0))))
    levels = {level.name: level for level in first.record.levels}
    assert levels["accompaniment"].rms == pytest.approx(rest, rel=1e-3)


def test_other_sample_rates(tmp_path: Path) -> None:
    from stemwise.audio import resample

    tracks = songs(tmp_path / "songs", 1)
    [track] = prepare(tracks, tmp_path / "store", sample_rate=11025).tracks
    expected = resample(tracks[0].read_stem("drums", 0, SAMPLES), RATE, 11025)
    assert (track.sample_rate, track.samples) == (11025, expected.shape[1])
    found = track.read_stem("drums", 0, track.samples)
    np.testing.assert_allclose(found, expected, atol=0.6 * track.scale("drums"))


def test_levels_are_mean_squares_of_blocks(folder: Path, tracks: list[Track]) -> None:
    track = open_store(folder).tracks[0]
    drums = tracks[0].read_stem("drums", 0, SAMPLES)
    vocals = tracks[0].read_stem("vocals", 0, SAMPLES)
    expected = [np.mean(np.square(drums[:, i : i + 800])) for i in range(0, SAMPLES, 800)]
    np.testing.assert_allclose(track.levels("drums"), expected, rtol=1e-5)
    assert track.levels("drums")[:5].max() == 0
    together = np.square(drums + vocals).mean()
    found = np.average(track.levels("mixture"), weights=[800] * 30 + [123])
    assert found == pytest.approx(together, rel=1e-5)
    with pytest.raises(DataError, match="has no levels of 'bass'"):
        track.levels("bass")


def sparse(store: Store, folder: Path, count: int, minutes: int) -> None:
    """A store of `count` songs of silence, whose files are holes."""
    (folder / "tracks").mkdir(parents=True)
    records = []
    for number in range(count):
        changes = {"name": f"song {number}", "file": file_name(f"song {number}")}
        more = {"sample_rate": 44100, "samples": minutes * 60 * 44100}
        record = store.tracks[0].record.model_copy(update={**changes, **more})
        size = data_bytes(record, "int16")
        records.append(record.model_copy(update={"bytes": size}))
        with open(folder / record.file, "wb") as file:
            file.truncate(size)
    manifest = store.manifest.model_copy(update={"tracks": tuple(records)})
    (folder / "store.json").write_bytes(dump_manifest(manifest))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_and_open_files_stay_the_same(folder: Path, tmp_path: Path) -> None:
    def resident() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    sparse(open_store(folder), tmp_path / "large", 200, minutes=5)
    store = open_store(tmp_path / "large")
    assert sum(track.record.bytes for track in store.tracks) > 20e9
    rng = np.random.default_rng(0)
    batch = np.zeros((2, 6 * 44100), np.int16)
    before, files = resident(), len(list(Path("/proc/self/fd").iterdir()))
    for track in store.tracks * 2:
        start = int(rng.integers(track.samples - batch.shape[1]))
        track.read_pcm("vocals", start, batch.shape[1], batch)
        assert track.labels is not None
    assert resident() - before < 30  # 400 excerpts have 423 MB
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def test_labels_come_from_stems_where_there_are_none(tmp_path: Path) -> None:
    tracks = songs(tmp_path / "songs", 3)
    for number in (1, 2):
        [path] = tmp_path.glob(f"songs/song {number}*/activity.csv")
        path.unlink()
    tracks = read_folder(tmp_path / "songs")
    # the first has labels, the second a mixture that is not the sum of its stems
    store = prepare(tracks, tmp_path / "store", labels=True)
    found = [track.labels for track in store.tracks]
    assert found[0] is not None
    assert tracks[0].labels is not None
    np.testing.assert_array_equal(found[0].probabilities, tracks[0].labels.probabilities)
    assert found[1] is None
    expected = labels_from_stems(tracks[2])
    assert found[2] is not None
    assert found[2].sources == expected.sources
    np.testing.assert_allclose(found[2].probabilities, expected.probabilities, atol=1e-6)
    assert (found[2].frame_rate, found[2].duration) == (expected.frame_rate, expected.duration)
    with pytest.raises(DataError, match="labels are computed from all stems"):
        prepare(tracks, tmp_path / "other", labels=True, sources=["vocals"])


def test_memory_urls(folder: Path, tracks: list[Track]) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/loaded", recursive=True)
    assert_same(open_store("memory://loaded"), tracks)
    [data, *_] = memory.glob("/loaded/tracks/*")
    memory.pipe(data, memory.cat(data)[:1000])
    with pytest.raises(DataError, match="ends too early"):
        open_store("memory://loaded").tracks[0].read_stem("drums", SAMPLES - 100, 100)
    with pytest.raises(DataError, match=r"memory://nothing/store\.json does not exist"):
        open_store("memory://nothing")
    with pytest.raises(DataError, match="cannot be opened"):
        open_store("wrong://nothing")


class _Server(BaseHTTPRequestHandler):
    """Serves the files of a folder, with byte ranges unless told to ignore them."""

    root: Path
    ranges = True

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, body: bool) -> None:
        path = self.root / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content, wanted = path.read_bytes(), self.headers.get("Range")
        if wanted and self.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1]
            self.send_response(206)
            span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        else:
            part = content
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, type[_Server]]]:
    handler = type("Handler", (_Server,), {"root": folder})
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{service.server_port}", handler
    service.shutdown()
    service.server_close()
    thread.join()


def test_http_servers(server: tuple[str, type[_Server]], tracks: list[Track]) -> None:
    url, handler = server
    assert_same(open_store(url), tracks)
    handler.ranges = False
    with pytest.raises(DataError, match="must support byte ranges"):
        open_store(url).tracks[0].read_stem("vocals", 0, 100)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_stream_too(
    server: tuple[str, type[_Server]], tracks: list[Track], method: str
) -> None:
    track = open_store(server[0]).tracks[0]
    expected = track.read_stem("vocals", 9000, 100)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(track.read_stem, "vocals", 9000, 100).result(timeout=60)
    np.testing.assert_array_equal(found, expected)


def test_s3_servers(folder: Path, tracks: list[Track], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    service = moto.ThreadedMotoServer("127.0.0.1", 0)
    service.start()
    try:
        host, port = service.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}"}
        system = fsspec.filesystem("s3", **options)
        system.mkdir("bucket")
        system.put(str(folder), "bucket/store", recursive=True)
        assert_same(open_store("s3://bucket/store", options=options), tracks)
    finally:
        service.stop()
