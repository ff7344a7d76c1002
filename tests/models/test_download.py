"""Downloads from servers that break off, lie, stall and redirect: a whole file or one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast
from urllib.request import Request

import numpy as np
import pytest
import weights_server as server
from weights_server import Answer, Mirror

from stemwise.models import download as module
from stemwise.models.download import DownloadError, Patience, download, exclusive

BODY = np.random.default_rng(0).bytes(200_000)
SHA = hashlib.sha256(BODY).hexdigest()
PATH = "/records/1/files/vocals.pth"
QUICK = Patience(timeout=10, attempts=3, pause=0.01)
HASTY = Patience(timeout=0.3, attempts=2, pause=0.01)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Mirror({PATH: BODY}) as mirror:
        yield mirror


def fetched(mirror: Mirror, folder: Path, patience: Patience = QUICK, **how: Any) -> bytes:
    """The file, when nothing but the file is in the folder."""
    download(mirror.url + PATH, folder / "vocals.pth", SHA[:8], patience=patience, **how)
    assert [one.name for one in folder.iterdir()] == ["vocals.pth"]
    return (folder / "vocals.pth").read_bytes()


def refused(mirror: Mirror, folder: Path, words: str, patience: Patience = QUICK) -> None:
    """One sentence that ends in a full stop, and no file of that name."""
    with pytest.raises(DownloadError, match=words) as caught:
        download(mirror.url + PATH, folder / "vocals.pth", SHA[:8], patience=patience)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert not (folder / "vocals.pth").exists()
    assert all(one.name.startswith(".") for one in folder.iterdir())


def test_whole_file_and_progress(mirror: Mirror, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    assert fetched(mirror, tmp_path, progress=progress) == BODY
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_continues_where_it_broke_off(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers[PATH] = [server.cut(70_000), server.cut(50_000)]
    assert fetched(mirror, tmp_path) == BODY
    asked = [(one.get("Range"), one.get("If-Range")) for one in mirror.asked(PATH)]
    assert asked == [(None, None), ("bytes=70000-", '"v1"'), ("bytes=120000-", '"v1"')]


def test_a_later_call_continues(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers[PATH] = [server.cut(70_000)]
    once = Patience(timeout=10, attempts=1)
    refused(mirror, tmp_path, "broke off after 70000 of 200000 bytes, once", once)
    assert fetched(mirror, tmp_path) == BODY
    assert mirror.asked(PATH)[1]["Range"] == "bytes=70000-"


def test_progress_renews_patience(mirror: Mirror, tmp_path: Path) -> None:
    mirror.always = server.cut(21_000)
    assert fetched(mirror, tmp_path) == BODY
    assert len(mirror.requests) == 10


def test_stopped_by_the_user_continues(mirror: Mirror, tmp_path: Path) -> None:
    def progress(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(mirror, tmp_path, progress=progress)
    assert not (tmp_path / "vocals.pth").exists()
    assert fetched(mirror, tmp_path) == BODY
    assert int(mirror.asked(PATH)[1]["Range"][6:-1]) > 0


@pytest.mark.parametrize("tag", ['"v2"', None])
def test_a_file_that_changed_meanwhile_starts_again(
    mirror: Mirror, tmp_path: Path, tag: str | None
) -> None:
    if tag is None:
        mirror.tag = None  # then only the SHA-256 tells, and both halves are thrown away
    mirror.answers[PATH] = [server.cut(70_000)]
    mirror.files[PATH] = bytes(len(BODY))
    refused(mirror, tmp_path, "broke off", Patience(timeout=10, attempts=1))
    mirror.tag, mirror.files[PATH] = tag, BODY
    assert fetched(mirror, tmp_path) == BODY
    assert len(mirror.requests) == (2 if tag else 3)


def test_a_weak_tag_is_not_relied_on(mirror: Mirror, tmp_path: Path) -> None:
    mirror.tag = 'W/"v1"'
    mirror.answers[PATH] = [server.cut(70_000)]
    assert fetched(mirror, tmp_path) == BODY
    assert "If-Range" not in mirror.asked(PATH)[1]


@pytest.mark.parametrize("answer", [server.without_ranges, server.without_length])
def test_servers_without_ranges_start_again(mirror: Mirror, tmp_path: Path, answer: Answer) -> None:
    mirror.answers[PATH] = [server.cut(70_000), answer]
    assert fetched(mirror, tmp_path) == BODY
    assert len(mirror.requests) == 2


def test_a_whole_part_is_not_downloaded_again(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / ".vocals.pth.part").write_bytes(BODY)
    assert fetched(mirror, tmp_path) == BODY
    assert len(mirror.requests) == 1


def test_a_part_longer_than_the_file_is_thrown_away(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / ".vocals.pth.part").write_bytes(BODY + b"more")
    assert fetched(mirror, tmp_path) == BODY


def test_another_part_than_asked_for(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers[PATH] = [server.cut(70_000), server.other_part]
    assert fetched(mirror, tmp_path) == BODY
    mirror.always = server.other_part
    (tmp_path / "vocals.pth").unlink()
    refused(mirror, tmp_path, "another part of the file")


def test_wrong_content_is_removed(mirror: Mirror, tmp_path: Path) -> None:
    mirror.always = server.replaced(BODY[::-1])
    refused(mirror, tmp_path, f"SHA-256 starts with [0-9a-f]{{8}}, not {SHA[:8]}")
    assert list(tmp_path.iterdir()) == []
    assert len(mirror.requests) == 1


def test_a_server_that_always_cuts_and_changes_ends(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[PATH] = BODY[::-1]
    mirror.answers[PATH] = [server.cut(70_000), server.serve] * 5
    refused(mirror, tmp_path, "not the file it should be")
    assert len(mirror.requests) == 4


@pytest.mark.parametrize(("code", "words"), [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_refusals_are_final(mirror: Mirror, tmp_path: Path, code: int, words: str) -> None:
    mirror.always = server.status(code)
    refused(mirror, tmp_path, f"the server answered {words}")
    assert len(mirror.requests) == 1


def test_an_answer_without_content(mirror: Mirror, tmp_path: Path) -> None:
    mirror.always = server.status(204)
    refused(mirror, tmp_path, "the server answered 204")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_transient_failures_are_tried_again(mirror: Mirror, tmp_path: Path, code: int) -> None:
    mirror.answers[PATH] = [server.status(code), server.status(code, Retry_After=0)]
    assert fetched(mirror, tmp_path) == BODY
    mirror.always = server.status(code)
    (tmp_path / "vocals.pth").unlink()
    refused(mirror, tmp_path, rf"the server answered {code} [\w ]+, 3 times")
    assert len(mirror.requests) == 6


def test_retry_after_is_waited_for(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("stemwise.models.download.time.sleep", waited.append)
    mirror.answers[PATH] = [server.status(503, Retry_After=7), server.status(500)]
    fetched(mirror, tmp_path)
    assert waited == [7.0, 0.02]


def test_a_stalled_server(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers[PATH] = [server.stall(70_000)]
    assert fetched(mirror, tmp_path, Patience(1.0, 2, 0.01)) == BODY
    assert mirror.asked(PATH)[1]["Range"] == "bytes=70000-"
    (tmp_path / "vocals.pth").unlink()
    mirror.always = server.silent
    refused(mirror, tmp_path, "the server sent nothing for 0.3 s, 2 times", HASTY)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(mirror: Mirror, tmp_path: Path, code: int) -> None:
    mirror.files["/elsewhere"] = BODY
    mirror.answers["/elsewhere"] = [server.cut(70_000)]
    mirror.always = None
    mirror.answers[PATH] = [server.redirect("/elsewhere", code)] * 2
    assert fetched(mirror, tmp_path) == BODY
    assert mirror.asked("/elsewhere")[1]["Range"] == "bytes=70000-"


@pytest.mark.parametrize("target", [PATH, "ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_bad_redirects(mirror: Mirror, tmp_path: Path, target: str) -> None:
    mirror.always = server.redirect(target)
    refused(mirror, tmp_path, "redirects in a circle or to no address of the web|not encrypted")
    assert list(tmp_path.iterdir()) == []


def test_encryption_is_never_given_up() -> None:
    redirects = module._Redirects()
    request = Request("https://weights.example/a")
    arguments = (request, cast("IO[bytes]", None), 302, "Found", cast("Any", {}))
    with pytest.raises(DownloadError, match="not encrypted"):
        redirects.redirect_request(*arguments, "http://weights.example/a")
    followed = redirects.redirect_request(*arguments, "https://other.example/a")
    assert followed is not None
    assert followed.full_url == "https://other.example/a"


def test_content_length_too_long(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers[PATH] = [server.claim(len(BODY) + 100)]
    assert fetched(mirror, tmp_path) == BODY
    mirror.always = server.claim(len(BODY) + 100)
    (tmp_path / "vocals.pth").unlink()
    refused(mirror, tmp_path, "broke off after 200000 of 200100 bytes, 3 times")


def test_content_length_too_short(mirror: Mirror, tmp_path: Path) -> None:
    mirror.always = server.claim(len(BODY) - 100)
    refused(mirror, tmp_path, "not the file it should be")
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path: Path, mirror: Mirror) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        mirror.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused(mirror, tmp_path, r"the connection failed \(.*refused.*\), 3 times")


@pytest.mark.parametrize("url", ["htp:/nowhere", "http://a b/c", "http://[::1/x", "file:///etc/x"])
def test_no_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match=r"no valid address|does not start with"):
        download(url, tmp_path / "x", patience=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_proxy_of_the_environment(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", mirror.url)
    download(f"http://weights.invalid{PATH}", tmp_path / "x", SHA, patience=QUICK)
    assert (tmp_path / "x").read_bytes() == BODY
    assert mirror.asked(PATH)[0]["Host"] == "weights.invalid"


class _FullDisk:
    """A file on a disk that has room for a little."""

    def __init__(self, file: IO[bytes], code: int) -> None:
        self.file, self.code, self.room = file, code, 100_000

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, block: bytes) -> int:
        self.room -= len(block)
        if self.room < 0:
            raise OSError(self.code, os.strerror(self.code))
        return self.file.write(block)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space left in .*: free some, or set STEMWISE_CACHE"),
        (errno.EIO, "Cannot write .*vocals.pth: Input/output error"),
    ],
)
def test_disks_that_refuse(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    original = module._Part.restart

    def restart(self: Any, headers: Any) -> Any:
        return _FullDisk(original(self, headers), code)

    monkeypatch.setattr(module._Part, "restart", restart)
    refused(mirror, tmp_path, words)
    if code == errno.ENOSPC:
        assert list(tmp_path.iterdir()) == []


def test_no_folder(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"Cannot write .*: No such file or directory"):
        download(mirror.url + PATH, tmp_path / "none" / "x", patience=QUICK)


def test_a_lock_makes_threads_wait(tmp_path: Path) -> None:
    order: list[str] = []
    held, waiting = threading.Event(), threading.Event()

    def second() -> None:
        held.wait()
        with exclusive(tmp_path / ".lock", waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with exclusive(tmp_path / ".lock"):
        held.set()
        assert waiting.wait(20)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


HOLD = """
import sys, time
from pathlib import Path
from stemwise.models.download import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with exclusive(tmp_path / ".lock", lambda: holder.send_signal(signal.SIGTERM)):
            assert holder.wait(20) != 0
    finally:
        holder.kill()
        holder.communicate()


def test_a_lock_needs_a_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(DownloadError, match="Cannot write"),
        exclusive(tmp_path / "none" / ".lock"),
    ):
        pass


def test_no_torch_is_needed() -> None:
    code = (
        "import sys, stemwise.models.fetch, stemwise.models.catalogue as c; c.weights();"
        "assert not {'torch', 'numpy'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
