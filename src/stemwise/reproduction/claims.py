"""What the papers say of their tables, as predicates over a table's cells.

A claim holds where every number points its way; whether chance could do the same is told beside it
(p of the paired Wilcoxon test, or of DeLong's), and does not decide. "About equal", "matches" and
"costs little" have their margins here, in decibels. A claim whose numbers were not measured is not
testable on this data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stemwise.evaluation.comparison import FEWEST, SIGNIFICANT
from stemwise.reproduction.experiments import FOUR, TARGETS
from stemwise.reproduction.results import Difference

ABOUT_EQUAL = 0.5
"""dB within which SDR "stays about equal" (Stoller et al. print differences of 0.03)."""
MATCHES = 0.1
"""dB below another row that still match it (Kadandale et al., table IV)."""
LITTLE = 0.2
"""dB that count as little (Kadandale et al. print 0.02)."""
HALF_OF_6_PERCENT = 0.03
"""Share by which the error must fall for "about 6 %" to hold."""


class Cells(Protocol):
    """What claims read of a table; see `results.Results`."""

    def number(self, row: str, column: str) -> float | None:
        """A cell's number; None where there is none."""

    def difference(self, first: str, second: str, column: str) -> Difference:
        """One row less another in a column."""

    def between(self, row: str, first: str, second: str) -> Difference:
        """One column less another in a row."""


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds (None: not testable on this data), why, and the comparisons behind."""

    held: bool | None
    because: str
    differences: tuple[Difference, ...] = ()

    @property
    def word(self) -> str:
        """ "held", "not held" or "not testable"."""
        return {True: "held", False: "not held", None: "not testable"}[self.held]


@dataclass(frozen=True)
class Claim:
    """What a paper says of a table, and how the table's cells judge it."""

    table: str
    text: str
    judge: Callable[[Cells], Verdict]


def claims(table: str) -> list[Claim]:
    """The claims on a table."""
    return [one for one in CLAIMS if one.table == table]


def _decide(
    differences: Sequence[Difference], holds: Callable[[Sequence[float]], bool], more: str = ""
) -> Verdict:
    """Judge values of differences; not testable where one of them is missing."""
    missing = [one for one in differences if one.value is None or math.isnan(one.value)]
    if missing:
        return Verdict(None, f"{described(missing[0])} was not measured", tuple(differences))
    values = [one.value for one in differences if one.value is not None]
    told = "; ".join(map(described, differences))
    because = f"{told}{more and '; '}{more}"
    return Verdict(holds(values), because, tuple(differences))


def described(one: Difference) -> str:
    """E.g. `mtl against svs, mse: -0.0012 (p = 0.031, 12 songs)`."""
    names = f"{one.first} against {one.second}, {one.column}"
    if one.value is None:
        return names
    shown = f"{one.value:+.2f}" if abs(one.value) >= 0.1 else f"{one.value:+.2g}"
    counted = "frames" if one.test == "DeLong" else "songs" if one.pairs > 1 else "song"
    if math.isnan(one.p):
        return f"{names}: {shown}"
    chance = " too few to tell from chance" if one.test != "DeLong" and one.pairs < FEWEST else ""
    star = "*" if one.p < SIGNIFICANT else ""
    p = "p < 1e-6" if one.p < 1e-6 else f"p = {one.p:.2g}"
    return f"{names}: {shown} ({p}{star}, {one.pairs} {counted}{chance})"


def _all_above(values: Sequence[float]) -> bool:
    return all(value > 0 for value in values)


def _all_below(values: Sequence[float]) -> bool:
    return all(value < 0 for value in values)


def _lower_mse(cells: Cells) -> Verdict:
    base = cells.number("svs", "mse")
    difference = cells.difference("mtl", "svs", "mse")
    if base is None or difference.value is None:
        return _decide([difference], _all_below)
    share = difference.value / base
    return _decide([difference], lambda _: share <= -HALF_OF_6_PERCENT, f"{share:+.1%}")


def _quieter_at_equal_sdr(cells: Cells) -> Verdict:
    level = "vocals_rms_nonvocal"
    if cells.number("mtl", level) is None:  # songs without 30 s of silent vocals
        level = "vocals_rms_silent_seconds"
    columns = (level, "vocals_sdr", "acc_sdr")
    differences = [cells.difference("mtl", "svs", column) for column in columns]
    return _decide(
        differences,
        lambda found: found[0] < 0 and all(abs(one) <= ABOUT_EQUAL for one in found[1:]),
    )


def _higher_auroc(cells: Cells) -> Verdict:
    return _decide([cells.difference("mtl", "svd", "au_roc")], _all_above)


def _replacement(row: str, better: bool) -> Callable[[Cells], Verdict]:
    def judge(cells: Cells) -> Verdict:
        difference = cells.between(row, "with", "without")
        return _decide([difference], _all_below if better else _all_above)

    return judge


def _rows_of_targets() -> list[str]:
    return [target.replace(" ", "-") for target in TARGETS]


def _measured(found: Sequence[Difference]) -> list[Difference]:
    return [one for one in found if one.value is not None]


def _sir_most(cells: Cells) -> Verdict:
    """By the mean over the targets that the data has."""
    changes = {
        metric: _measured(
            [
                cells.between(row, f"yes-yes {metric}", f"yes-no {metric}")
                for row in _rows_of_targets()
            ]
        )
        for metric in ("SIR", "SDR", "SAR")
    }
    if not all(changes.values()):
        return Verdict(None, "no target was measured with and without the gate")
    means = {
        metric: sum(one.value or 0.0 for one in found) / len(found)
        for metric, found in changes.items()
    }
    told = ", ".join(f"{metric} {value:+.2f}" for metric, value in means.items())
    held = means["SIR"] > max(0.0, means["SDR"], means["SAR"])
    return Verdict(held, f"means over {len(changes['SIR'])} targets: {told}", tuple(changes["SIR"]))


def _median_then_oracle(cells: Cells) -> Verdict:
    median = {row: cells.number(row, "median") for row in _rows_of_targets()}
    oracle = {row: cells.number(row, "oracle") for row in _rows_of_targets()}
    told, held = [], True
    for row in _rows_of_targets():
        one, other = median[row], oracle[row]
        if one is None or other is None:
            continue
        told.append(f"{row}: median {one:+.2f}, oracle {other:+.2f}")
        held = held and one > 0 and other > one
    if not told:
        return Verdict(None, "no target was measured with the gates")
    return Verdict(held, "; ".join(told))


def _activity_loss_alone(cells: Cells) -> Verdict:
    found = _measured(
        [cells.between(row, "yes-no mean", "no-no mean") for row in _rows_of_targets()]
    )
    if not found:
        return Verdict(None, "no target was measured without the gate")
    lower = sum(1 for one in found if one.value is not None and one.value < 0)
    told = "; ".join(map(described, found))
    return Verdict(
        2 * lower >= len(found), f"lower for {lower} of {len(found)}: {told}", tuple(found)
    )


def _l1_isolates(cells: Cells) -> Verdict:
    differences = [cells.difference("l1", "open-unmix", column) for column in ("sir", "sar")]
    return _decide(differences, lambda found: found[0] > 0 > found[1])


def _transformer_no_faster(cells: Cells) -> Verdict:
    difference = cells.difference("transformer", "open-unmix", "seconds-per-epoch")
    return _decide([difference], lambda found: found[0] >= 0)


def _gpu_use(cells: Cells) -> Verdict:
    return Verdict(None, "it is about the paper's own loader and GPU; docs/performance.md has ours")


def _interleaved_sir(cells: Cells) -> Verdict:
    columns = [f"sir_{source}" for source in ("vocals", "drums", "bass")]
    return _decide(
        [cells.difference("interleaved", "simultaneous", column) for column in columns], _all_above
    )


_SHARED = ("simultaneous", "interleaved", "interleaved-accumulated")


def _independent_best(cells: Cells) -> Verdict:
    differences = [
        cells.difference("independent", row, f"sdr_{source}")
        for source in ("vocals", "drums", "bass")
        for row in _SHARED
    ]
    others = ("independent", "interleaved", "interleaved-accumulated")
    differences += [cells.difference("simultaneous", row, "sdr_other") for row in others]
    return _decide(differences, _all_above)


def _larger_encoder(cells: Cells) -> Verdict:
    differences = [
        cells.difference("encoder+", "encoder", f"{metric}_{source}")
        for metric in ("sdr", "sir")
        for source in FOUR
    ]
    differences += [
        cells.difference("encoder+", "independent", f"sir_{source}")
        for source in ("drums", "bass", "other")
    ]
    vocals = cells.difference("independent", "encoder+", "sir_vocals")
    return _decide([*differences, vocals], _all_above)


def _weighted_beat_unit(cells: Cells) -> Verdict:
    """By the mean SDR of vocals, in which the paper's numbers say so of every weighting."""
    return _decide(
        [
            cells.difference(row, other, "vocals mean")
            for row in ("dwa", "ebw-p1", "ebw-inst-p1", "ebw-p2")
            for other in ("unit", "c-u-net")
        ],
        _all_above,
    )


def _cheap_and_as_good(cells: Cells) -> Verdict:
    differences = [
        cells.difference("ebw-p1", other, "SDR median") for other in ("dedicated", "c-u-net")
    ]
    cost = "a quarter of the parameters of the one, of the iterations of the other"
    return _decide(differences, lambda found: all(one >= -MATCHES for one in found), cost)


def _indirect_beats_direct(cells: Cells) -> Verdict:
    columns = ("SDR mean", "SAR mean")
    return _decide(
        [cells.difference("ebw-p1", "ebw-p1-direct", column) for column in columns], _all_above
    )


def _dropping_costs_little(cells: Cells) -> Verdict:
    difference = cells.difference("ebw-p1", "ebw-p1-unfiltered", "SDR mean")
    return _decide([difference], lambda found: found[0] >= -LITTLE)


_REPLACEMENTS: Mapping[str, bool] = {
    "dsd100-only": False,
    "more-sets-in-validation-and-test": True,
    "all-sets-everywhere": False,
}

CLAIMS: tuple[Claim, ...] = (
    Claim("stoller2018-1", "mtl lowers the MSE of svs by about 6 %", _lower_mse),
    Claim(
        "stoller2018-1",
        "mtl lowers the vocal RMS in non-vocal windows while SDR stays about equal",
        _quieter_at_equal_sdr,
    ),
    Claim("stoller2018-1", "mtl raises AU-ROC over svd slightly", _higher_auroc),
    *(
        Claim(
            "stoller2018-replacement",
            f"{row}: replacement makes the test MSE {'better' if better else 'worse'}",
            _replacement(row, better),
        )
        for row, better in _REPLACEMENTS.items()
    ),
    Claim("hung2020-4", "activity as a weight raises SIR most", _sir_most),
    Claim(
        "hung2020-4",
        "training with the activity loss but without the gate often lowers the mean",
        _activity_loss_alone,
    ),
    Claim(
        "hung2020-fig5",
        "the median filter raises the mean score of every instrument; oracle labels raise it "
        "further",
        _median_then_oracle,
    ),
    Claim(
        "george2022-1",
        "l1 isolates vocals better (SIR) but sounds worse (SAR) than MSE",
        _l1_isolates,
    ),
    Claim("george2022-1", "the transformer is no faster per epoch", _transformer_no_faster),
    Claim(
        "george2022-1",
        "batch 1 with 32 loader workers raised GPU use from under 10 % to 40 %",
        _gpu_use,
    ),
    Claim(
        "doire2019-2",
        "interleaved gives a higher SIR than simultaneous for vocals, drums and bass",
        _interleaved_sir,
    ),
    Claim(
        "doire2019-2",
        "independent has the best SDR except for other, where simultaneous is best",
        _independent_best,
    ),
    Claim(
        "doire2019-3",
        "encoder+ raises every SDR and SIR, and exceeds independent in SIR except for vocals",
        _larger_encoder,
    ),
    Claim(
        "kadandale2020-2",
        "energy weightings and DWA beat unit weights and C-U-Net with two sources",
        _weighted_beat_unit,
    ),
    Claim(
        "kadandale2020-4",
        "the weighted M-U-Net matches or beats dedicated networks and C-U-Net at a fraction of "
        "their cost",
        _cheap_and_as_good,
    ),
    Claim(
        "kadandale2020-4", "the indirect loss beats the direct one in SDR and SAR",
        _indirect_beats_direct,
    ),
    Claim(
        "kadandale2020-4", "dropping samples with silent sources costs little",
        _dropping_costs_little,
    ),
)  # fmt: skip
"""Every claim of the five papers' tables."""
