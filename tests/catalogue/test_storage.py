"""Files behind URLs: fetched and published whole or not at all, with bounded patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from loopback import TIMES, Loopback

from stemwise.catalogue import patience, storage
from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.storage import fetch, find_files, opened, publish
from stemwise.errors import Cancelled, CatalogueError

CONTENT = bytes(range(256)) * 5000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE", 0.01)


@pytest.fixture
def server() -> Iterator[Loopback]:
    server = Loopback()
    server.files["/song.wav"] = CONTENT
    yield server
    server.close()


@pytest.mark.parametrize("fault", ["cut", 500, 503, 429, 408])
def test_what_passes_is_waited_for(server: Loopback, tmp_path: Path, fault: str | int) -> None:
    server.faults["/song.wav"] = (fault, 2)
    file = fetch(f"{server.url}/song.wav?x=1", tmp_path)
    assert (file.name, file.read_bytes()) == ("song.wav", CONTENT)
    assert [one.name for one in tmp_path.iterdir() if one.stat().st_size] == ["song.wav"]


@pytest.mark.parametrize(
    ("fault", "sentence", "asked"),
    [
        (500, r"song\.wav cannot be reached \(500 Internal Server Error\): try again later\.", 4),
        ("cut", r"song\.wav cannot be reached \(", 4),
        (404, r"There is no file http.*song\.wav\.", 1),
        (403, r"song\.wav may not be read or written: check its permissions", 1),
        (401, r"song\.wav may not be read or written: check its permissions", 1),
        (418, r"song\.wav cannot be used \(418 I'm a Teapot\)\.", 1),
    ],
)
def test_what_lasts_is_one_sentence(
    server: Loopback, tmp_path: Path, fault: str | int, sentence: str, asked: int
) -> None:
    server.faults["/song.wav"] = (fault, TIMES)
    with pytest.raises(CatalogueError, match=sentence) as raised:
        fetch(f"{server.url}/song.wav", tmp_path)
    assert "\n" not in str(raised.value)
    assert asked <= server.asked["/song.wav"] <= 2 * asked, "fsspec may ask for the size, too"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (403, r"song\.wav may not be read or written: check its permissions"),
        (404, r"There is no file s3://bucket/song\.wav\."),
        (503, r"song\.wav cannot be reached \(Service Unavailable\): try again later\."),
    ],
)
def test_object_stores_that_refuse(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int, sentence: str
) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    s3fs.S3FileSystem.clear_instance_cache()
    server.files["/bucket/song.wav"] = CONTENT
    assert fetch("s3://bucket/song.wav", tmp_path).read_bytes() == CONTENT
    server.files.clear()
    server.faults["/bucket/song.wav"] = (fault, TIMES)
    with pytest.raises(CatalogueError, match=sentence):
        fetch("s3://bucket/song.wav", tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_server_that_stalls_is_given_up(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "STALL", 0.3)
    monkeypatch.setattr(patience, "ATTEMPTS", 2)
    server.faults["/song.wav"] = ("stall", TIMES)
    with pytest.raises(CatalogueError, match=r"song\.wav cannot be reached \(nothing came for 0"):
        fetch(f"{server.url}/song.wav", tmp_path)
    server.faults["/song.wav"] = ("stall", 1)
    assert fetch(f"{server.url}/song.wav", tmp_path).read_bytes() == CONTENT


def test_a_server_that_is_gone(server: Loopback, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(CatalogueError, match=r"song\.wav cannot be reached \(Cannot connect"):
        fetch(f"{server.url}/song.wav", tmp_path)
    with pytest.raises(CatalogueError, match=r"cannot be reached \(Cannot connect"):
        find_files(f"{server.url}/", f"{server.url}/*.wav")


def test_waiting_ends_when_the_work_is_stopped(server: Loopback, tmp_path: Path) -> None:
    server.faults["/song.wav"] = ("stall", TIMES)
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        fetch(f"{server.url}/song.wav", tmp_path, cancel)
    assert time.monotonic() - started < patience.STALL / 2


def test_secrets_stay_out_of_sentences(server: Loopback, tmp_path: Path) -> None:
    secret = server.url.replace("http://", "http://me:pass@") + "/no.wav?id=1&sig=abc"
    with pytest.raises(CatalogueError) as raised:
        fetch(secret, tmp_path)
    shown = server.url.replace("http://", "http://***@") + "/no.wav?id=***&sig=***"
    assert str(raised.value) == f"There is no file {shown}."
    with pytest.raises(CatalogueError) as raised:
        fetch("http://me:pass@127.0.0.1:1/no.wav?sig=abc", tmp_path)
    assert "pass" not in str(raised.value)
    assert "abc" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a@b/song.mp3", "s3://bucket/a@b/song.mp3"),
        ("C:/music/what?.mp3 and a=b", "C:/music/what?.mp3 and a=b"),
        ("sftp://me:secret@host/x.wav", "sftp://***@host/x.wav"),
        ("s3://bucket/what?.mp3", "s3://bucket/what?.mp3"),
        ("https://h/x.wav?token", "https://h/x.wav?***"),
        ("https://h/x.wav?a=1&b=: it ends (https://u@h/).", None),
        ("zip://a.wav::https://u:p@h/x.zip?s=1", "zip://a.wav::https://***@h/x.zip?s=***"),
    ],
)
def test_redacted(text: str, shown: str | None) -> None:
    shown = shown or "https://h/x.wav?a=***&b=***: it ends (https://***@h/)."
    assert redacted(text) == shown
    assert redacted(shown) == shown


def test_files_of_memory_are_published_and_found(tmp_path: Path) -> None:
    file = tmp_path / "one.wav"
    file.write_bytes(CONTENT)
    publish(file, "memory://storage/a/Ü 1.wav")
    assert find_files("memory://storage/") == [("a/Ü 1.wav", "memory:///storage/a/Ü 1.wav")]
    folder = tmp_path / "copy"
    folder.mkdir()
    assert fetch("memory://storage/a/Ü 1.wav", folder).read_bytes() == CONTENT
    with opened("memory://storage/a/Ü 1.wav") as content:
        assert content.read() == CONTENT


def test_a_store_that_refuses_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "one.wav"
    file.write_bytes(b"x")
    memory = fsspec.filesystem("memory")
    calls = []

    def full(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        if len(calls) < 3:
            raise OSError("no space left")

    monkeypatch.setattr(type(memory), "put_file", full)
    publish(file, "memory://refusing/one.wav")
    assert len(calls) == 3, "it was tried again"

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError("Access denied")

    monkeypatch.setattr(type(memory), "put_file", refused)
    with pytest.raises(CatalogueError, match=r"memory://refusing/one\.wav may not be read or wri"):
        publish(file, "memory://refusing/one.wav")


def test_a_slow_store_has_time_for_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "STALL", 0.3)
    monkeypatch.setattr(storage, "SLOWEST", 100)
    file = tmp_path / "large.wav"
    file.write_bytes(b"x" * 1000)
    memory = fsspec.filesystem("memory")
    put = type(memory).put_file

    def slow(*arguments: object, **options: object) -> None:
        time.sleep(1.0)
        put(*arguments, **options)

    monkeypatch.setattr(type(memory), "put_file", slow)
    publish(file, "memory://slow/large.wav")
    assert memory.cat_file("/slow/large.wav") == file.read_bytes()
