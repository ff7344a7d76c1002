"""Looking into uploads in a process of its own: a file that crashes a decoder harms no other."""

from __future__ import annotations

import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from stemwise.child import Child, ChildDied, Messages
from stemwise.errors import AudioError, AudioWarning


class NotAudio(AudioError):  # noqa: N818  # the file is at fault
    """An upload that cannot be read as audio."""


@dataclass(frozen=True)
class Facts:
    """What a song's file says of itself; duration in seconds, None where only decoding tells."""

    sample_rate: int
    channels: int
    duration: float | None


def inspect(path: Path) -> Facts:
    """Open a song as the separation would. Raises AudioError."""
    from stemwise.audio import open_audio

    with open_audio(path, warn=False) as reader:
        reader.verify()
        info = reader.info
        duration = info.duration if info.samples is None else info.samples / info.sample_rate
        return Facts(info.sample_rate, info.channels, duration)


def main(pipe: Connection) -> None:
    """The process: a path in; its facts, or a sentence, out."""
    warnings.simplefilter("ignore", AudioWarning)
    messages = Messages(pipe)
    while True:
        path = messages.next()
        try:
            messages.send(inspect(Path(path)))
        except (AudioError, OSError, MemoryError) as error:
            messages.send(str(error) or "The file cannot be read as audio.")


class Inspector:
    """Inspects one upload at a time; `timeout`: seconds after which a file is given up."""

    def __init__(self, timeout: float = 120.0) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._child: Child | None = None

    def start(self) -> None:
        """Start the process before it is needed."""
        with self._lock:
            self._started()

    def _started(self) -> Child:
        if self._child is None:
            self._child = Child(main, name="inspector")
        return self._child

    def inspect(self, path: Path, name: str) -> Facts:
        """Facts of an upload that is shown as `name`. Raises NotAudio."""
        with self._lock:
            try:
                child = self._started()
                child.send(str(path))
                answer = child.receive(self._timeout)
            except ChildDied as error:
                self._end()
                raise NotAudio(f"{name} is damaged: reading it crashed the decoder.") from error
            if answer is None:
                self._end()
                raise NotAudio(f"{name} could not be read within {self._timeout:.0f} seconds.")
        if isinstance(answer, Facts):
            return answer
        raise NotAudio(str(answer).replace(str(path), name))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with suppress(OSError):
                child.close()
