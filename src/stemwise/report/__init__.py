"""The report: one HTML page to listen to a separated song and to look at it.

The page needs no network: the player's styles and script, pictures and (for songs of up to six
minutes) the audio itself are inside it. `multitrack.describe` makes the document that the player
plays, in the page as in the studio.
"""

from __future__ import annotations

from stemwise.report.page import write_report

__all__ = ["write_report"]
