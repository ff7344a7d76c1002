"""The life of a writer: open, closed under its final name, or gone without a trace."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from stemwise.audio.part import PartFile, output_errors
from stemwise.errors import AudioError


class Finisher(Protocol):
    """The end of an encoder, however its blocks come."""

    def finish(self) -> None:
        """Complete the file and close it."""

    def abort(self) -> None:
        """Close the file as it is."""


class StagedWriter:
    """Ends a part file: `close` gives it its name, `abort` or an exception removes it."""

    def __init__(self, part: PartFile, finisher: Finisher) -> None:
        self.path, self.samples = part.path, 0
        self._part, self._finisher, self._open = part, finisher, True

    def close(self) -> None:
        """Finish the file and give it its name; a failure removes it and raises OutputError."""
        if not self._open:
            return
        if not self.samples:
            self.abort()
            raise AudioError(f"{self.path} was not written because there are no samples for it")
        try:
            with output_errors(self.path):
                self._finisher.finish()
            self._part.commit()
            self._open = False
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove the unfinished file."""
        if self._open:
            self._open = False
            self._finisher.abort()
            self._part.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()
