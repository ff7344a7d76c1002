"""The studio: a server for songs, their separation, and the page that plays the stems.

`settings` says how it runs, `jobs` keeps the queue, `worker` separates in a process of its own,
`supervisor` looks after that process, `downloads` makes files from the masters, `app` joins them.
Importing this package imports neither torch nor the web framework.
"""

from __future__ import annotations

from stemwise.studio.settings import Settings, default_data

__all__ = ["Settings", "default_data"]
