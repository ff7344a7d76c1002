"""The command's options, and what it says: sentences, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stemwise.cli import run
from stemwise.studio import Settings, default_data
from stemwise.studio import server as server_module
from stemwise.studio.server import address, listen
from stemwise.studio.settings import StudioError


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """The settings of studios that were to be run."""
    seen: list[Settings] = []

    def serve(settings: Settings, started: Callable[[str], None]) -> None:
        seen.append(settings)
        started(address(settings, settings.port))

    monkeypatch.setattr(server_module, "serve", serve)
    monkeypatch.setenv("STEMWISE_STUDIO", str(tmp_path / "data"))
    monkeypatch.delenv("STEMWISE_STUDIO_TOKEN", raising=False)
    return seen


def test_options_are_settings(
    served: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: Path
) -> None:
    options = (
        "--port 9000 --max-upload 20 --queue 3 --keep 2 --quota 1.5 --timeout 60 -j 2 -d cpu "
        f"--allow-host studio.example --checkpoint {tiny} --no-open"
    )
    assert run(["studio", *options.split()]) == 0
    [settings] = served
    assert settings.data == tmp_path / "data"
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 9000, None)
    assert (settings.max_upload, settings.queue, settings.keep) == (20_000_000, 3, 2 * 86400)
    assert (settings.quota, settings.timeout, settings.workers) == (1_500_000_000, 60, 2)
    assert (settings.device, settings.allowed_hosts) == ("cpu", ("studio.example",))
    assert settings.models == {"tiny": tiny}
    assert "http://127.0.0.1:9000/" in capsys.readouterr().out


def test_other_hosts_get_a_token_which_is_printed(
    served: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["studio", "--host", "0.0.0.0", "--no-open", "--quiet"]) == 0
    token = served[0].token
    assert token is not None
    assert len(token) >= 32
    assert f"?token={token}" in capsys.readouterr().out
    run(["studio", "--host", "0.0.0.0", "--no-open"])
    assert served[1].token != token


def test_quiet_prints_nothing(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["studio", "--no-open", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--token", "short"], "at least 16"),
        (["--checkpoint", "nothing/band.safetensors"], "two models called 'band'"),
        (["--checkpoint", "a/x.safetensors", "--checkpoint", "b/x.safetensors"], "two models"),
    ],
)
def test_mistakes_are_sentences(
    served: list[Settings],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    assert run(["studio", "--no-open", *arguments]) == 1
    assert sentence in capsys.readouterr().err
    assert served == []


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("stemwise.studio.server", "stemwise.studio.app"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert run(["studio", "--no-open"]) == 1
    assert "pip install fastapi uvicorn" in capsys.readouterr().err


def test_addresses_that_are_none() -> None:
    with pytest.raises(StudioError, match="There is no address"):
        listen("a" * 300, 0)
    with listen("localhost", 0) as socket:
        assert socket.getsockname()[1] > 0


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    from stemwise.studio.app import create_app

    with pytest.raises(StudioError, match="choose another --data"):
        create_app(Settings(tmp_path / "file" / "data"))
    with pytest.raises(StudioError, match="There is no checkpoint"):
        create_app(Settings(tmp_path / "data", models={"x": tmp_path / "x.safetensors"}))


def test_the_data_folder_is_the_system_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STEMWISE_STUDIO", raising=False)
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert default_data() == tmp_path / "stemwise" / "studio"
    monkeypatch.setenv("STEMWISE_STUDIO", str(tmp_path / "mine"))
    assert default_data() == tmp_path / "mine"


def test_the_server_needs_no_torch() -> None:
    program = "import sys, stemwise.studio.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
