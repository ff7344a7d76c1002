"""Many clients at once are all answered while a song separates. How fast: see the benchmark."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from tests.studio.conftest import PATIENCE, Live, long_song
from tests.studio.test_server_events import events

POLLING, STREAMING, ASKING = 25, 25, 12


def test_fifty_clients_are_served_while_a_song_separates(live: Live, tmp_path: Path) -> None:
    id = live.client.upload(long_song(tmp_path / "song.flac", 100, 8000))["id"]

    async def poll(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        seen = []
        for _ in range(ASKING):
            answer = await client.get(f"/api/jobs/{id}")
            assert answer.status_code == 200
            seen.append(answer.json())
        return seen

    async def stream(client: httpx.AsyncClient) -> list[tuple[str, Any]]:
        text = ""
        async with client.stream("GET", f"/api/jobs/{id}/events") as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_text():
                text += piece
        return events(text)

    async def everybody() -> tuple[list[Any], list[Any]]:
        address = live.client.base_url
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=address, timeout=PATIENCE, limits=limits, trust_env=False
        ) as client:
            streams = asyncio.gather(*(stream(client) for _ in range(STREAMING)))
            polls = await asyncio.gather(*(poll(client) for _ in range(POLLING)))
            return polls, await streams

    polls, streams = asyncio.run(everybody())
    for seen in polls:
        done = [job["seconds_done"] for job in seen]
        assert done == sorted(done)
        assert {job["id"] for job in seen} == {id}
    for heard in streams:
        assert heard[-1][1]["state"] == "done"


def test_listeners_are_bounded(live: Live) -> None:
    live.studio.hub._limit, before = 1, live.studio.hub._limit
    try:
        with live.client.stream("GET", "/api/events") as first:
            assert first.status_code == 200
            answer = live.client.get("/api/events")
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert live.client.get("/api/jobs").status_code == 200
    finally:
        live.studio.hub._limit = before
