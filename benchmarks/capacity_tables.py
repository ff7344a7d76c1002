"""The capacity plan's figures as the tables and the plot of docs/scale.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
PRICES = (0.02, 0.04, 0.08)
"""Examples of what an hour of a core may cost, in any currency."""
COMPUTED = (1, 2, 16, 64, 256, 1024)


def page_with_tables(page: str, figures: Figures) -> str:
    """The page with every table between its markers made anew."""

    def made(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]](figures)}\n{match[3]}"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?(<!-- end -->)", made, page, flags=re.DOTALL)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def measured(figures: Figures) -> str:
    """What was measured, and what the simulation makes of it."""
    rows = []
    for run, check in zip(figures["measured"]["runs"], figures["validation"], strict=True):
        rows.append(
            [
                str(run["workers"]),
                f"{len(run['lengths'])} songs, {sum(run['lengths']) / 60:.0f} min",
                f"{run['wall']:.0f} s",
                f"{run['cpu']:.0f} s",
                f"{check['songs_per_hour']:.0f}",
                f"{check['music_per_second']:.1f}×",
                f"{check['simulated']:.0f} s ({check['error']:+.0%})",
                f"{run['peak_mb']:.0f} MB",
            ]
        )
    head = ["workers", "catalogue", "wall", "CPU", "songs per hour", "of real time", "simulated"]
    return _table([*head, "memory of a worker"], rows)


def machine(figures: Figures) -> str:
    """What was measured on, as a sentence."""
    about = figures["machine"]
    busy = about["load"] > 0.5
    state = f"busy with other programs (load {about['load']:.1f})" if busy else "otherwise idle"
    return (
        f"Machine: {about['cpus']} virtual CPUs of an {about['processor']}, {state}, Python "
        f"{about['python']}, torch {about['torch']}."
        + (" Seconds are too long by what the others took; CPU seconds are not." if busy else "")
    )


def costs(figures: Figures) -> str:
    """What a song costs, piece by piece."""
    found, driver = figures["costs"], figures["measured"]["driver"]
    low, high = found["noise"][0], found["noise"][-1]
    line = f"{found['base']:.2f} s + {found['per_second']:.4f} s for a second of song"
    store = figures["measured"]["store"]
    rows = [
        ["separating a song, one thread", f"{line}; single songs {low:.2f} to {high:.2f} of that"],
        ["cores that a worker keeps busy", f"{cores_of_worker(figures):.2f}"],
        ["start of a worker", f"{found['start']:.1f} s"],
        *(
            [
                f"driver, a song, by {name}",
                f"{one['cpu'] * 1000:.2f} ms of CPU and {one['ledger'] * 1000:.2f} ms until the "
                f"ledger's line is on the disk ({one['wall'] * 1000:.2f} ms from song to song)",
            ]
            for name, one in (("the pool", driver["pool"]), ("Ray", driver["ray"]))
        ),
        ["more of it for each worker", f"{found['driver_per_worker'] * 1e6:.2f} µs"],
        ["fetching, a file", f"{store['fetch']['per_file'] * 1000:.0f} ms"],
        ["publishing, a file", f"{store['publish']['per_file'] * 1000:.0f} ms"],
    ]
    return _table(["what", "measured"], rows)


def handed(figures: Figures) -> str:
    """What the driver can hand out at most."""
    disks = {
        "here": "a disk as here",
        "slow": f"one that takes {figures['assumed']['slow_ledger'] * 1000:.0f} ms longer",
    }
    found = figures["driver"]
    rows = [
        [disk, f"{found[name]['songs_per_second']:.0f}", f"{found[name]['workers']:.0f}"]
        for name, disk in disks.items()
    ]
    head = ["ledger on", "songs a second at most", "workers that this keeps busy"]
    return _table(head, rows)


def core_hours(figures: Figures) -> float:
    """Hours of a core for 100 000 songs, simulated with one worker to which nothing happens."""
    [row] = _rows(figures, "calm", workers=1)
    return float(row["seconds"] / 3600) * cores_of_worker(figures)


def cores_of_worker(figures: Figures) -> float:
    """Cores that a worker of one thread keeps busy: more than one where its stages overlap."""
    [one] = [run for run in figures["measured"]["runs"] if run["workers"] == 1]
    return max(1.0, float(one["cpu"] / one["wall"]))


def prices(figures: Figures) -> str:
    """The formula with some prices put in."""
    hours = core_hours(figures)
    factors = (1, 1 / 0.9, 10)
    songs = figures["simulated"]["songs"]
    rows = [
        ["core hours", *(f"{hours * factor:.0f}" for factor in factors)],
        ["songs an hour of a core", *(f"{songs / hours / factor:.0f}" for factor in factors)],
    ]
    for price in PRICES:
        cells = [f"{price * hours * factor:.2f}" for factor in factors]
        rows.append([f"cost at {price:.2f} an hour", *cells])
    head = ["", "efficiency 100 %", "90 %", "100 %, a network of ten times the seconds"]
    return _table(head, rows)


def traffic(figures: Figures) -> str:
    """Terabytes for 100 000 songs, by format."""
    found = figures["measured"]["bytes_per_second"]
    seconds = figures["simulated"]["hours_of_music"]["songs"] * 3600
    rows = [
        [f"in: songs as {name}", f"{size / 1000:.0f} kB", f"{size * seconds / 1e12:.1f} TB"]
        for name, size in found["song"].items()
    ]
    rows += [
        [f"out: four stems as {name}", f"{size / 1000:.0f} kB", f"{size * seconds / 1e12:.1f} TB"]
        for name, size in found["stems"].items()
    ]
    return _table(["", "for a second of song", "for 100 000 songs"], rows)


def growth(figures: Figures) -> str:
    """Time and efficiency against workers."""
    rows = []
    for workers in COMPUTED:
        [calm] = _rows(figures, "calm", workers=workers)
        [usual] = _rows(figures, "usual", workers=workers)
        [moved] = _rows(figures, "preempted", workers=workers)
        rows.append(
            [
                str(workers),
                *(f"{_time(one['seconds'])}, {one['efficiency']:.1%}" for one in (calm, usual)),
                f"{_time(moved['seconds'])}, {moved['efficiency']:.1%}",
                f"{moved['losses']} / {moved['given_up']}",
                f"{usual['driver']:.1%}",
            ]
        )
    head = ["workers", "nothing happens", "slow machines, failures", "and preemption"]
    return _table([*head, "songs lost / twice", "driver busy"], rows)


def orders(figures: Figures) -> str:
    """The end of a run by order."""
    rows = []
    for workers in COMPUTED[2:]:
        cells = [str(workers)]
        for catalogue, names in (
            ("songs", ("usual", "longest", "shortest")),
            ("with hours", ("usual", "longest")),
        ):
            for name in names:
                [row] = _rows(figures, name, catalogue, workers)
                cells.append(f"{_time(row['seconds'])}, {_time(row['tail'])}")
        rows.append(cells)
    head = ["workers", "as they come", "longest first", "shortest first"]
    return _table([*head, "with hours: as they come", "with hours: longest first"], rows)


def stores(figures: Figures) -> str:
    """Time and efficiency behind a store of bounded bandwidth."""
    rows = []
    for workers in COMPUTED[1:]:
        cells = [str(workers)]
        for name in ("usual", "store 10 Gbit/s", "store 1 Gbit/s"):
            [row] = _rows(figures, name, workers=workers)
            cells.append(f"{_time(row['seconds'])}, {row['efficiency']:.1%}")
        rows.append(cells)
    return _table(["workers", "disks of their own", "10 Gbit/s", "1 Gbit/s"], rows)


def heavier(figures: Figures) -> str:
    """Heavier networks under preemption."""
    rows = [
        [
            f"{one['times']}×",
            _time(one["seconds"]),
            f"{one['efficiency']:.1%}",
            str(one["losses"]),
            str(one["given_up"]),
        ]
        for one in figures["simulated"]["slower"]
    ]
    head = ["seconds per song", "time", "efficiency", "songs lost once or more", "twice or more"]
    return _table(head, rows)


def _rows(
    figures: Figures, scenario: str, catalogue: str = "songs", workers: int | None = None
) -> list[Figures]:
    return [
        row
        for row in figures["simulated"]["rows"]
        if row["scenario"] == scenario
        and row["catalogue"] == catalogue
        and workers in (None, row["workers"])
    ]


TABLES: dict[str, Callable[[Figures], str]] = {
    "measured": measured,
    "machine": machine,
    "costs": costs,
    "handed": handed,
    "prices": prices,
    "traffic": traffic,
    "growth": growth,
    "orders": orders,
    "stores": stores,
    "heavier": heavier,
}


def draw(figures: Figures, path: Path) -> None:
    """Speed-up and efficiency against workers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = {
        "calm": "nothing happens",
        "usual": "5 % slow machines, failures",
        "preempted": "and preemption",
        "store 10 Gbit/s": "store of 10 Gbit/s",
        "store 1 Gbit/s": "store of 1 Gbit/s",
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for scenario, label in names.items():
        rows = _rows(figures, scenario)
        workers = [row["workers"] for row in rows]
        left.plot(
            workers, [row["workers"] * row["efficiency"] for row in rows], "o-", ms=3, label=label
        )
        right.plot(workers, [100 * row["efficiency"] for row in rows], "o-", ms=3, label=label)
    left.plot([1, 1024], [1, 1024], ":", color="grey")
    left.set(xscale="log", yscale="log", xlabel="workers", ylabel="times as fast as one")
    right.set(xscale="log", xlabel="workers", ylabel="efficiency, %", ylim=(0, 105))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.3)
    left.set_yscale("log", base=2)
    left.legend(fontsize=8)
    figure.suptitle("100 000 songs, simulated", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
