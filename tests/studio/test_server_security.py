"""Who may ask what: host names, tokens, other sites' pages, and headers on every answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.studio.conftest import Offline

from stemwise.studio.security import COOKIE
from stemwise.studio.settings import Settings, StudioError

Make = Callable[..., Offline]
TOKEN = "a-token-of-24-characters"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "192.168.1.7:8765"]
)
def test_hosts_that_are_known(offline: Make, host: str) -> None:
    assert offline().ask("GET", "/api/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[::1", "x:y", "a b", ":80"],
)
def test_a_page_whose_name_points_here_is_refused(offline: Make, host: str) -> None:
    answer = offline().ask("GET", "/api/jobs", headers={"Host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["detail"]


def test_more_names_can_be_allowed(offline: Make) -> None:
    studio = offline(allowed_hosts=("Studio.example",))
    headers = {"Host": "studio.EXAMPLE:443"}
    assert studio.ask("GET", "/api/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/jobs"), ("DELETE", "/api/jobs/x"), ("POST", "/api/jobs/x/cancel")],
)
def test_other_sites_change_nothing(
    offline: Make, headers: dict[str, str], method: str, path: str
) -> None:
    answer = offline().ask(method, path, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_page_and_scripts_may_ask(offline: Make, headers: dict[str, str]) -> None:
    assert offline().ask("POST", "/api/jobs", headers=headers).status_code == 415


def test_other_sites_may_link_and_not_read(offline: Make) -> None:
    studio = offline()
    cross = {"Sec-Fetch-Site": "cross-site"}
    link = {**cross, "Sec-Fetch-Mode": "navigate"}
    assert studio.ask("GET", "/api/docs", headers=link).status_code == 200
    assert studio.ask("GET", "/api/events", headers=cross).status_code == 403


def test_without_a_token_there_is_loopback_only(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.168.0.5", "studio.example", "::"):
        with pytest.raises(StudioError, match="token"):
            Settings(tmp_path, host=host)
        Settings(tmp_path, host=host, token=TOKEN)
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        Settings(tmp_path, host=host)


@pytest.mark.parametrize("token", ["short", "with space in it all", "ü" * 20, 'a"quote-in-it;x=y'])
def test_weak_and_odd_tokens_are_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(StudioError, match="at least 16"):
        Settings(tmp_path, token=token)


def test_a_token_opens_by_header_and_by_cookie(offline: Make) -> None:
    studio = offline(token=TOKEN)
    for path in ("/api/jobs", "/api/events", "/api/openapi.json", "/api/nothing"):
        answer = studio.ask("GET", path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", TOKEN, "Basic " + TOKEN, f"Bearer {TOKEN[:-1]}"):
        headers = {"Authorization": wrong}
        assert studio.ask("GET", "/api/jobs", headers=headers).status_code == 401
    headers = {"Authorization": f"bearer {TOKEN}"}
    assert studio.ask("GET", "/api/jobs", headers=headers).status_code == 200
    assert studio.ask("GET", f"/api/jobs?token={TOKEN}").status_code == 401


def test_the_address_with_the_token_gives_a_cookie(offline: Make) -> None:
    studio = offline(token=TOKEN)
    assert studio.ask("GET", f"/?token={TOKEN}x").status_code == 401
    assert studio.ask("GET", f"/?token={TOKEN}&token={TOKEN}").status_code == 401
    answer = studio.ask("GET", f"/?token={TOKEN}")
    assert answer.status_code == 200
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in answer.text  # which may be kept, unlike the header
    headers = {"Cookie": f"{COOKIE}={TOKEN}"}
    assert studio.ask("GET", "/api/jobs", headers=headers).status_code == 200
    headers = {"Cookie": f"{COOKIE}={TOKEN}x; other=1"}
    assert studio.ask("GET", "/api/jobs", headers=headers).status_code == 401


def test_the_page_asks_for_the_token_itself(offline: Make) -> None:
    studio = offline(token=TOKEN)
    assert studio.ask("GET", "/").status_code == 200
    assert studio.ask("GET", "/assets/studio.js").status_code == 200
    assert studio.ask("GET", "/assets/../api/jobs").status_code in (401, 404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/api/jobs", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/api/jobs", 405),
        ("GET", "/api/jobs/not-an-id", 422),
        ("GET", "/api/docs", 200),
    ],
)
def test_every_answer_has_the_headers(offline: Make, method: str, path: str, status: int) -> None:
    answer = offline().ask(method, path)
    assert answer.status_code == status
    headers = answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe-eval" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_defect_is_an_answer_too(offline: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = offline()

    def fail() -> None:
        raise RuntimeError("a secret of the program")

    monkeypatch.setattr(studio.studio.jobs, "all", fail)
    answer = studio.ask("GET", "/api/jobs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_page_names_another_host(offline: Make) -> None:
    studio = offline()
    for path in ("/", "/api/docs", "/assets/studio.css"):
        text = studio.ask("GET", path).text
        for attribute in re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", text):
            assert not re.match(r"(https?:)?//", attribute), f"{path} loads {attribute}"


def test_assets_are_checked_by_their_tag(offline: Make) -> None:
    studio = offline()
    first = studio.ask("GET", "/assets/studio.js")
    assert first.headers["Content-Type"].startswith("text/javascript")
    tag = first.headers["ETag"]
    again = studio.ask("GET", "/assets/studio.js", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.content == b""
    for path in ("/assets/nothing.js", "/assets/__init__.py", "/assets/..%2Fapi.py"):
        assert studio.ask("GET", path).status_code == 404
