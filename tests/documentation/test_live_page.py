"""The programs of the page on live audio, the second with a sound card that is made up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from page_examples import DOCS, blocks

CARD = '''
"""What the page uses of sounddevice: a card that hears three seconds and ends the program."""
import threading

import numpy as np


class InputStream:
    def __init__(self, samplerate, channels, dtype, callback):
        self.buffer = np.zeros((2048, channels), dtype)
        self.rate, self.callback = samplerate, callback

    def __enter__(self):
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        for _ in range(3 * self.rate // 2048):
            self.buffer[:] = 0.1
            self.callback(self.buffer, 2048, None, None)
            self.buffer[:] = np.nan

    def __exit__(self, *error):
        pass


class OutputStream:
    def __init__(self, samplerate, channels, dtype, latency):
        self.channels = channels

    def __enter__(self):
        return self

    def write(self, samples):
        assert samples.shape[1] == self.channels and samples.flags.c_contiguous
        assert np.isfinite(samples).all()
        print("heard", len(samples))
        raise SystemExit

    def __exit__(self, *error):
        pass
'''


def test_programs_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text(CARD)
    programs = [block.text for block in blocks(DOCS / "live.md") if block.kind == "python"]
    printed = []
    for program in programs:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    first, second = printed
    assert "real-time factor" in first
    assert second.startswith("heard ")
