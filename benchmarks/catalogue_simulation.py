"""Runs over catalogues, simulated event by event: workers, the driver, the store, what goes wrong.

A worker takes a song, fetches it, separates it and publishes the results; the driver notes that it
is done and hands out the next one, one song after another; all workers share the store's bandwidth.
Workers fail and are preempted at random, and their song is done again by whoever asks next.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Costs:
    """What a song costs, measured: seconds, unless another unit is named.

    base, per_second: of separating a song, as a straight line over its length. noise: factors on
    that, drawn anew for every song. start: of a worker, before its first song. driver: of the
    driver for a song, and driver_per_worker: more of it for each worker there is. per_file: of
    fetching and publishing a song besides its bytes.
    """

    base: float
    per_second: float
    noise: tuple[float, ...] = (1.0,)
    start: float = 0.0
    driver: float = 0.0
    driver_per_worker: float = 0.0
    per_file: float = 0.0


@dataclass(frozen=True)
class World:
    """Where a run happens, assumed.

    slow, slowness: share of workers that are slower throughout, and how many times. failures,
    preemptions: of a worker in an hour; back, back_preempted: seconds until there is another in its
    place, to which its start comes. bandwidth: of the store, bytes a second for all workers
    together (None: songs and results are on disks of their own); worker_bandwidth: of each.
    traffic: bytes in and out for a second of song. order: of the songs: "arrival", "longest" or
    "shortest" first.
    """

    slow: float = 0.0
    slowness: float = 2.0
    failures: float = 0.0
    preemptions: float = 0.0
    back: float = 30.0
    back_preempted: float = 300.0
    bandwidth: float | None = None
    worker_bandwidth: float = 100e6
    traffic: float = 0.0
    order: str = "arrival"


@dataclass
class Outcome:
    """A simulated run: seconds until the last song is done, and of those of all workers together
    what was work and what was lost; the driver's; songs lost, and those lost twice or more."""

    seconds: float = 0.0
    work: float = 0.0
    driver: float = 0.0
    lost: float = 0.0
    losses: int = 0
    given_up: int = 0
    first_idle: float | None = None

    @property
    def tail(self) -> float:
        """Seconds in which workers already had nothing more to do."""
        return 0.0 if self.first_idle is None else self.seconds - self.first_idle


def simulate(
    lengths: Sequence[float], workers: int, costs: Costs, world: World, seed: int = 0
) -> Outcome:
    """A run over songs of these lengths (seconds), given out in their order."""
    rng = np.random.default_rng(seed)
    order = np.asarray(lengths, dtype=float)
    if world.order != "arrival":
        order = np.sort(order)[:: -1 if world.order == "longest" else 1]
    noise = rng.choice(np.asarray(costs.noise), size=len(order))
    speed = np.where(rng.random(workers) < world.slow, world.slowness, 1.0)
    waiting = list(range(len(order)))[::-1]  # taken from the end
    losses = np.zeros(len(order), dtype=int)
    rate = (world.failures + world.preemptions) / 3600
    preempted = world.preemptions / max(rate * 3600, 1e-12)
    handling = costs.driver + workers * costs.driver_per_worker
    outcome = Outcome()
    driver_free = store_free = 0.0
    parked: list[int] = []
    # when, what happens, to which worker, with which song
    events = [(costs.start, "free", worker, -1) for worker in range(workers)]
    while events:
        now, what, worker, song = heapq.heappop(events)
        if what == "lost":
            waiting.append(song)
            away = world.back_preempted if rng.random() < preempted else world.back
            heapq.heappush(events, (now + away + costs.start, "free", worker, -1))
            if parked:
                heapq.heappush(events, (now, "free", parked.pop(), -1))
            continue
        if what == "done":
            driver_free = max(driver_free, now) + handling
            outcome.driver += handling
            outcome.seconds = now = driver_free
        if not waiting:
            outcome.first_idle = now if outcome.first_idle is None else outcome.first_idle
            parked.append(worker)
            continue
        song = waiting.pop()
        moved = order[song] * world.traffic
        needed = costs.per_file + moved / world.worker_bandwidth
        if world.bandwidth is not None:
            # the store serves in turn: what comes later waits for what came before
            store_free = max(store_free, now) + moved / world.bandwidth
            needed = max(needed, store_free - now)
        needed += (costs.base + costs.per_second * order[song]) * noise[song] * speed[worker]
        fails = rng.exponential(1 / rate) if rate else np.inf
        if fails < needed:
            outcome.losses += 1
            outcome.lost += fails
            losses[song] += 1
            heapq.heappush(events, (now + fails, "lost", worker, song))
        else:
            outcome.work += needed
            heapq.heappush(events, (now + needed, "done", worker, song))
    outcome.given_up = int((losses >= 2).sum())
    return outcome


def efficiency(alone: float, outcome: Outcome, workers: int) -> float:
    """Share of the workers' time that one worker alone would have needed, too."""
    return alone / (workers * outcome.seconds)


def song_lengths(count: int, long: float = 0.0, seed: int = 0) -> np.ndarray:
    """Assumed lengths, seconds: log-normal around three and a half minutes, half of all songs
    between 2:40 and 4:35; a share `long` of them are recordings of an hour."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(210 * np.exp(0.4 * rng.standard_normal(count)), 10, 1200)
    lengths[rng.random(count) < long] = 3600
    return lengths


def fitted(lengths: Sequence[float], seconds: Sequence[float]) -> Costs:
    """A straight line through measured songs, and what they differ from it, as factors."""
    x, y = np.asarray(lengths, dtype=float), np.asarray(seconds, dtype=float)
    # relative errors count, so that short songs do
    table = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    base, slope = np.linalg.lstsq(table, np.ones_like(y), rcond=None)[0]
    base = max(float(base), 0.0)
    factors = y / (base + slope * x)
    return Costs(base, float(slope), tuple(float(one) for one in factors))


def alone(lengths: Sequence[float], costs: Costs, world: World) -> float:
    """Seconds of one worker that never fails, on a store that nobody else uses."""
    calm = replace(world, slow=0.0, failures=0.0, preemptions=0.0, order="arrival")
    return simulate(lengths, 1, replace(costs, start=0.0), calm).seconds
