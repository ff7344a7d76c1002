"""Downloads are made once, and nothing waits for itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stemwise.studio.downloads import Maker


class Immediate:
    """A pool whose work is done before it says that it has begun."""

    def submit(self, work: Any, *arguments: Any) -> Future[Any]:
        """Do the work."""
        future: Future[Any] = Future()
        future.set_result(work(*arguments))
        return future


def test_a_file_that_is_ready_at_once_blocks_nobody(tmp_path: Path) -> None:
    """The server stood still when a file was there before anyone could wait for it."""
    maker = Maker()
    maker._pool = Immediate()  # type: ignore[assignment]

    async def ask() -> Path:
        return await maker.made(tmp_path, tmp_path, "key", lambda *_: None)

    thread = ThreadPoolExecutor(1)
    assert thread.submit(asyncio.run, ask()).result(timeout=30) == tmp_path / "key"
    assert not maker.busy(tmp_path)
