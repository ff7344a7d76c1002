"""Published weights from the server to the stems: fetched once, converted, then used offline."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import weights_server as server
from safetensors.torch import load_file
from torch import Tensor
from weights_server import Answer, Mirror

import stemwise
from stemwise import models
from stemwise.cli import run
from stemwise.errors import ModelError
from stemwise.models import catalogue, download
from stemwise.models.catalogue import PublishedFile, Weights
from stemwise.models.fetch import fetch

SOURCES = ("vocals", "drums", "bass", "other")
HIDDEN = 16
BINS, CROPPED = 2049, 1487  # all, and those up to 16 kHz


def official_state(seed: int, hidden: int = HIDDEN) -> dict[str, Tensor]:
    """Random tensors under the names and with the shapes of the published files."""
    torch.manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "input_mean": (CROPPED,),
        "input_scale": (CROPPED,),
        "output_scale": (BINS,),
        "output_mean": (BINS,),
        "fc1.weight": (hidden, 2 * CROPPED),
        "fc2.weight": (hidden, 2 * hidden),
        "fc3.weight": (2 * BINS, hidden),
    }
    for layer, width in (("bn1", hidden), ("bn2", hidden), ("bn3", 2 * BINS)):
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{layer}.{key}"] = (width,)
        shapes[f"{layer}.num_batches_tracked"] = ()
    for number in range(3):
        for way in ("", "_reverse"):
            shapes[f"lstm.weight_ih_l{number}{way}"] = (2 * hidden, hidden)
            shapes[f"lstm.weight_hh_l{number}{way}"] = (2 * hidden, hidden // 2)
            shapes[f"lstm.bias_ih_l{number}{way}"] = (2 * hidden,)
            shapes[f"lstm.bias_hh_l{number}{way}"] = (2 * hidden,)
    state = {key: torch.rand(shape) * 0.2 for key, shape in shapes.items()}
    for key in state:
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
    window = torch.hann_window(4096)
    rate = torch.tensor(44100.0)
    return state | {"sample_rate": rate, "stft.window": window, "transform.0.window": window}


def pickled(content: object, *, old: bool = False) -> bytes:
    """A .pth file; old: as PyTorch wrote them when the weights were published."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


class Published:
    """The model `umxhq`, but small, random, and published on this computer."""

    def __init__(self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self.mirror, self.cache = mirror, cache
        self.states = {source: official_state(at) for at, source in enumerate(SOURCES)}
        entry = catalogue.weights()["umxhq"]
        self.entry: Weights = replace(entry, config={"sources": list(SOURCES), "hidden": HIDDEN})
        for source in SOURCES:
            self.publish(source, pickled(self.states[source], old=source == "bass"))
        monkeypatch.setattr(catalogue, "_open_unmix", lambda: [self.entry])

    def publish(self, source: str, content: bytes) -> None:
        """Replace a file, and what the catalogue says of it."""
        digits = hashlib.sha256(content).hexdigest()[:8]
        file = PublishedFile(source, f"/records/1/files/{source}-{digits}.pth", digits)
        files = (file if one.source == source else one for one in self.entry.published)
        self.entry = replace(self.entry, published=tuple(files))
        self.mirror.files[file.location] = content

    def location(self, source: str) -> str:
        """Where a source's file is on the server."""
        return next(one.location for one in self.entry.published if one.source == source)

    def files(self) -> list[str]:
        """What the cache holds, less the lock."""
        found = (one for one in self.cache.rglob("*") if one.is_file())
        return sorted(one.name for one in found if not one.name.endswith(".lock"))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Published]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "STEMWISE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PATIENCE", download.Patience(10, 2, 0.01))
    with Mirror() as mirror:
        monkeypatch.setenv("STEMWISE_WEIGHTS_URL", mirror.url)
        yield Published(mirror, monkeypatch, tmp_path / "cache")


def test_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEMWISE_WEIGHTS_URL", raising=False)
    known = catalogue.weights()
    assert [*known] == ["band", "umxhq", "umx", "umxl"]
    for name, hidden, licence in (
        ("umxhq", 512, "MIT"),
        ("umx", 512, "MIT"),
        ("umxl", 1024, "CC BY-NC-SA 4.0"),
    ):
        entry = known[name]
        assert entry.config == {"sources": list(SOURCES), "hidden": hidden}
        assert entry.licence == licence
        assert "doi:10.21105/joss.01667" in entry.reference
        assert [one.source for one in entry.published] == list(SOURCES)
        for file in entry.published:
            assert re.fullmatch(r"[0-9a-f]{8}", file.sha256)
            assert file.name == f"{file.source}-{file.sha256}.pth"
            assert re.fullmatch(rf"https://zenodo\.org/records/\d+/files/{file.name}", file.url)
    assert "non-commercial" in known["umxl"].summary
    assert len({file.sha256 for entry in known.values() for file in entry.published}) == 12


def test_cache_and_mirror_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path))
    monkeypatch.setenv("STEMWISE_WEIGHTS_URL", "https://mirror.example/zenodo/")
    entry = catalogue.weights()["umx"]
    assert entry.path == tmp_path / "models" / "umx.safetensors"
    assert not entry.present
    start = "https://mirror.example/zenodo/records/3370486/files/vocals-"
    assert entry.published[0].url.startswith(start)


def test_converts_into_one_checkpoint(published: Published) -> None:
    seen: dict[str, list[tuple[int, int | None]]] = {}
    path = fetch(
        published.entry,
        progress=lambda name, done, total: seen.setdefault(name, []).append((done, total)),
    )
    assert path == published.cache / "models" / "umxhq.safetensors"
    assert published.files() == ["umxhq.safetensors"]
    assert [*seen] == [one.name for one in published.entry.published]
    assert all(steps[-1][0] == steps[-1][1] for steps in seen.values())
    (published.cache / "plain").touch()
    assert path.stat().st_mode == (published.cache / "plain").stat().st_mode
    stored = load_file(path)
    for source, state in published.states.items():
        for key in state.keys() - {"sample_rate", "stft.window", "transform.0.window"}:
            assert torch.equal(stored[f"network.members.{source}.{key}"], state[key]), key
    card = models.read_card("umxhq")
    assert (card.network, card.config["hidden"]) == ("open-unmix", HIDDEN)
    assert card.metadata["licence"] == "MIT"
    assert len(card.metadata["sha256"]) == 4
    separator = models.load("umxhq")
    assert separator.sources == SOURCES
    assert not separator.training
    assert len(published.mirror.requests) == 4


def test_what_has_arrived_is_not_downloaded_again(published: Published) -> None:
    published.mirror.answers[published.location("bass")] = [server.status(404)]
    with pytest.raises(ModelError, match="404 Not Found"):
        fetch(published.entry)
    assert [one.partition("-")[0] for one in published.files()] == ["drums", "vocals"]
    fetch(published.entry)
    assert len(published.mirror.requests) == 5
    assert published.files() == ["umxhq.safetensors"]


def test_two_at_once_download_once(published: Published) -> None:
    paths: list[Path] = []
    begun, waits = threading.Event(), threading.Event()

    def progress(name: str, done: int, total: int | None) -> None:
        begun.set()
        assert waits.wait(20)

    def first() -> None:
        paths.append(fetch(published.entry, progress=progress))

    def second() -> None:
        assert begun.wait(20)
        paths.append(fetch(published.entry, waiting=waits.set))

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert paths == [published.entry.path] * 2
    assert len(published.mirror.requests) == 4
    assert published.files() == ["umxhq.safetensors"]


def _without(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != key}


class _Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: _without(state, "fc2.weight"), "missing fc2.weight"),
        (lambda state: state | {"fc9.bias": torch.zeros(1)}, "unexpected fc9.bias"),
        (
            lambda state: official_state(0, hidden=8),
            r"input_mean|is \(8, 2974\), not \(16, 2974\)",
        ),
        (lambda state: {"state": state}, "something else than tensors"),
        (lambda state: [1, 2], "something else than tensors"),
    ],
    ids=["missing", "unexpected", "shape", "nested", "list"],
)
def test_misfits_are_listed(
    published: Published, change: Callable[[dict[str, Tensor]], object], words: str
) -> None:
    published.publish("drums", pickled(change(published.states["drums"])))
    with pytest.raises(ModelError, match=words) as caught:
        fetch(published.entry)
    assert re.match(r"drums-[0-9a-f]{8}\.pth ", str(caught.value))
    assert str(caught.value).endswith(".")
    assert published.files() == []


@pytest.mark.parametrize("content", [b"", b"not weights", pickled({})[:300], pickle.dumps({})])
def test_files_that_are_no_weights(published: Published, content: bytes) -> None:
    published.publish("other", content)
    with pytest.raises(ModelError, match=r"^other-[0-9a-f]{8}\.pth ") as caught:
        fetch(published.entry)
    assert "\n" not in str(caught.value)
    assert published.files() == []


@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_executed(published: Published, tmp_path: Path, old: bool) -> None:
    attack = _Attack(f"touch {tmp_path / 'owned'}")
    published.publish("vocals", pickled({"fc1.weight": attack}, old=old))
    with pytest.raises(ModelError, match="holds no weights that can be read"):
        fetch(published.entry)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_offline(published: Published, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    words = rf"umxhq.*--offline.*{published.entry.published[3].name}.*into .*models/umxhq\."
    with pytest.raises(ModelError, match=words):
        fetch(published.entry, offline=True)
    monkeypatch.setenv("STEMWISE_OFFLINE", value)
    with pytest.raises(ModelError, match=words):
        stemwise.load("umxhq")
    assert published.mirror.requests == []
    assert not published.cache.exists()
    monkeypatch.setenv("STEMWISE_OFFLINE", "0")
    assert stemwise.load("umxhq", device="cpu").sources == SOURCES


def test_files_put_there_by_hand(published: Published) -> None:
    folder = published.cache / "models" / "umxhq"
    folder.mkdir(parents=True)
    for file in published.entry.published:
        (folder / file.name).write_bytes(published.mirror.files[file.location])
    assert fetch(published.entry, offline=True) == published.entry.path
    assert published.mirror.requests == []
    assert not folder.exists()


def test_a_cache_that_cannot_be_made(
    published: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path / "file"))
    entry = replace(published.entry, path=tmp_path / "file" / "models" / "umxhq.safetensors")
    with pytest.raises(stemwise.StemwiseError, match=r"Cannot use .*umxhq: Not a directory"):
        fetch(entry)


@pytest.fixture
def song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three seconds of noise in an odd format."""
    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(0).standard_normal((3 * 48000 + 7, 1)) * 0.1
    soundfile.write(tmp_path / "song.wav", samples, 48000)
    return tmp_path / "song.wav"


def test_from_the_server_to_the_stems(
    published: Published, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["separate", "-n", "umxhq", "song.wav", "-o", "first"]) == 0
    told = capsys.readouterr()
    assert "song.wav -> first/song: vocals, drums, bass, other" in told.out
    assert "licence: MIT" in told.err
    assert "licence" not in told.out
    published.mirror.requests.clear()
    assert run(["separate", "-n", "umxhq", "song.wav", "-o", "second", "--offline", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert published.mirror.requests == []
    for source in SOURCES:
        info = soundfile.info(f"first/song/{source}.wav")
        assert (info.samplerate, info.channels, info.frames) == (48000, 1, 3 * 48000 + 7)
        first, second = (Path(f"{one}/song/{source}.wav") for one in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        assert np.abs(soundfile.read(first)[0]).max() > 0


def test_progress_on_a_terminal(
    published: Published,
    song: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(["separate", "-n", "umxhq", "song.wav"]) == 0
    told = capsys.readouterr()
    for file in published.entry.published:
        assert file.name[:10] in told.err
        assert file.name[:10] not in told.out


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_silent_modes(
    published: Published, song: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert run(["separate", "-n", "umxhq", "song.wav", option]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert len(lines) == (1 if option == "--json" else 0)
    assert all(json.loads(line)["song"] == "song.wav" for line in lines)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (server.status(404), "404 Not Found"),
        (server.status(500), "500 Internal Server Error, 2 times"),
        (server.replaced(b"something else"), "not the file it should be"),
        (server.cut(0), "broke off after 0 of"),
        (server.silent, "sent nothing for 0.3 s"),
        (server.redirect("/"), "404 Not Found"),
        (server.redirect("/records/1/files/loop"), "redirects in a circle"),
    ],
    ids=["404", "500", "corrupt", "cut", "stall", "redirect", "loop"],
)
@pytest.mark.parametrize("command", ["separate", "detect"])
def test_one_sentence_and_no_stems(
    published: Published,
    song: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    answer: Answer,
    words: str,
) -> None:
    monkeypatch.setattr(download, "PATIENCE", download.Patience(0.3, 2, 0.01))
    published.mirror.always = answer
    published.mirror.files["/records/1/files/loop"] = b"-"
    assert run([command, "-n", "umxhq", "song.wav"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(rf"stemwise: [^\n]*{words}[^\n]*\.\n", told.err), told.err
    assert all(one.startswith(".") for one in published.files())
    assert not (song.parent / "separated").exists()


def test_offline_command(
    published: Published, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["separate", "-n", "umxhq", "song.wav", "--offline"]) == 1
    assert "network may not be used" in capsys.readouterr().err
    assert published.mirror.requests == []


def test_models_lists_licence_and_presence(
    published: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> dict[str, object]:
        assert run(["models", "--json"]) == 0
        entries = json.loads(capsys.readouterr().out)
        return next(one for one in entries if one["name"] == "umxhq")

    before = listed()
    assert (before["licence"], before["network"]) == ("MIT", "open-unmix")
    assert published.mirror.requests == []
    fetch(published.entry)
    after = listed()
    assert (after["licence"], after["network"]) == ("MIT", "open-unmix")
    assert before["weights"] != after["weights"]
    assert before["trainable_parameters"] == after["trainable_parameters"]
