"""The report: one HTML page to listen to a separated song and to look at it.

The page needs no network and no other file: styles, script, drawings and (for songs of up to six
minutes) the audio itself are inside it.
"""

from __future__ import annotations

from stemwise.report.page import write_report

__all__ = ["write_report"]
