"""The simulation of large runs against what can be reckoned by hand, and the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from capacity_tables import TABLES, page_with_tables  # noqa: E402
from catalogue_simulation import (  # noqa: E402
    Costs,
    World,
    alone,
    efficiency,
    fitted,
    simulate,
    song_lengths,
)

SECOND = Costs(base=0.0, per_second=1.0)


def test_one_worker_does_one_song_after_another() -> None:
    costs = Costs(base=0.5, per_second=2.0, start=3.0, driver=0.25, per_file=0.1)
    outcome = simulate([1, 2, 3], 1, costs, World())
    assert outcome.seconds == pytest.approx(3 + 3 * (0.5 + 0.1 + 0.25) + 2 * 6)
    assert outcome.tail == 0


@pytest.mark.parametrize(
    ("order", "seconds", "tail"), [("arrival", 4, 2), ("longest", 3, 0), ("shortest", 4, 2)]
)
def test_a_long_song_at_the_end_keeps_one_worker_busy(
    order: str, seconds: float, tail: float
) -> None:
    outcome = simulate([1, 1, 1, 3], 2, SECOND, World(order=order))
    assert (outcome.seconds, outcome.tail) == (seconds, tail)


def test_workers_wait_for_a_driver_that_cannot_keep_up() -> None:
    costs = Costs(base=1.0, per_second=0.0, driver=0.5, driver_per_worker=0.05)
    outcome = simulate([1] * 100, 10, costs, World())
    assert outcome.seconds == pytest.approx(1 + 100 * 1.0)
    assert outcome.driver / outcome.seconds > 0.98


def test_workers_share_the_bandwidth_of_a_store() -> None:
    world = World(traffic=10.0, bandwidth=100.0, worker_bandwidth=1e9)
    outcome = simulate([10] * 50, 50, Costs(base=0.0, per_second=0.0), world)
    assert outcome.seconds == pytest.approx(50 * 10 * 10 / 100)


def test_lost_songs_are_done_again() -> None:
    lengths = [600.0] * 4000
    calm = simulate(lengths, 8, SECOND, World())
    stormy = simulate(lengths, 8, SECOND, World(failures=2.0, preemptions=1.0))
    # an attempt of ten minutes fails with 1 - exp(-1/2), so that 0.65 are lost for each that ends
    assert stormy.losses == pytest.approx(4000 * (np.exp(0.5) - 1), rel=0.1)
    assert stormy.given_up == pytest.approx(4000 * (1 - np.exp(-0.5)) ** 2, rel=0.1)
    assert stormy.work == calm.work == pytest.approx(4000 * 600)
    assert stormy.seconds > calm.seconds


def test_slow_workers_get_fewer_songs() -> None:
    lengths = [10.0] * 2000
    world = World(slow=0.25, slowness=2.0)
    outcome = simulate(lengths, 40, SECOND, world, seed=1)
    share = efficiency(alone(lengths, SECOND, world), outcome, 40)
    # a quarter of the workers at half speed are worth an eighth less
    assert share == pytest.approx(1 - 0.25 / 2, abs=0.06)


def test_the_measured_line_is_found() -> None:
    lengths = [10, 20, 60, 240]
    costs = fitted(lengths, [0.5 + 0.05 * one for one in lengths])
    assert (costs.base, costs.per_second) == pytest.approx((0.5, 0.05))
    assert costs.noise == pytest.approx([1.0] * 4)


def test_lengths_are_those_that_the_page_states() -> None:
    low, middle, high = np.percentile(song_lengths(100_000), [25, 50, 75])
    assert (low, middle, high) == pytest.approx((160, 210, 275), rel=0.02)


def test_the_page_shows_the_figures_of_its_json() -> None:
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    figures = json.loads((ROOT / "docs/benchmarks/capacity.json").read_text())
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)
    assert page_with_tables(page, figures) == page, "run benchmarks/capacity.py --write"
