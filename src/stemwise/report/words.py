"""Times and levels as people read them."""

from __future__ import annotations


def clock(seconds: float, *, exact: bool = False) -> str:
    """m:ss or h:mm:ss, of whole seconds that have passed, as players count; exact: hundredths."""
    hundredths = round(seconds * 100) if exact else int(seconds + 1e-6) * 100
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 100:02d}" + (f".{rest % 100:02d}" if exact else "")
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def number(value: float | None) -> str:
    """A level with one decimal and a true minus sign; a dash where there is none."""
    if value is None:
        return "–"
    rounded = round(value, 1) + 0.0  # no negative zero
    return f"{rounded:.1f}".replace("-", "−")


def percent(share: float) -> str:
    """A share of 0 to 1 as whole percents, without the sign; a little is not nothing."""
    return "<1" if 0 < share < 0.005 else f"{100 * share:.0f}"


def megabytes(size: int) -> str:
    """Bytes as MB with one decimal, small files as kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"


def channel_count(channels: int) -> str:
    """mono, stereo or a number of channels."""
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def channel_fact(channels: int) -> str:
    """A number of channels, and what it is called."""
    return f"{channels} ({channel_count(channels)})" if channels <= 2 else str(channels)
