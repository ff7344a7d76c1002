"""Which sources are scored together: BSS Eval judges a set of sources, not one.

SIR and SAR depend on what else is in the set, and so do the windows that silence leaves out, and
with them every median: vocals scored among four stems and vocals scored against the accompaniment
differ by some tenths of a dB. Every score therefore carries the name of its problem.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stemwise.data.track import Part
from stemwise.errors import EvaluationError, hint

ACCOMPANIMENT = "accompaniment"
VOCALS = "vocals"
ALIASES = {"no_vocals": ACCOMPANIMENT, "instrumental": ACCOMPANIMENT, "karaoke": ACCOMPANIMENT}
"""Names that separators give to everything but the vocals."""
NOT_SOURCES = ("mixture", "mix", "linear_mixture")
ORDER = ("vocals", "drums", "bass", "other", ACCOMPANIMENT)
KINDS = ("auto", "stems", "accompaniment", "both")

Files = Mapping[str, tuple[Part, ...]]


@dataclass(frozen=True)
class Problem:
    """Sources that are scored together, and those whose scores count."""

    sources: tuple[str, ...]
    reported: tuple[str, ...]

    @property
    def name(self) -> str:
        """E.g. `vocals+drums+bass+other`."""
        return "+".join(self.sources)


def in_order(names: Collection[str]) -> list[str]:
    """Vocals, drums, bass, other, accompaniment; then the rest by name."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))


def choose_problems(
    references: Collection[str],
    estimates: Collection[str],
    kind: str = "auto",
    sources: Sequence[str] | None = None,
) -> list[Problem]:
    """What can be scored of these references and estimates.

    kind: "stems" scores all stems together; "accompaniment" scores vocals against the sum of
    everything else, which is summed up where it has no file; "both" does both and reports vocals
    twice. "auto" does what museval does: all stems together, and where an estimate of the
    accompaniment is given, vocals and accompaniment as a problem of their own, from which alone
    the vocals are then reported. sources: only these take part (None: all).

    Raises EvaluationError for estimates or references that are missing.
    """
    if kind not in KINDS:
        raise EvaluationError(f"there is no problem {kind!r}: {hint(kind, KINDS)}")
    references, estimates = set(references), set(estimates)
    if sources is not None:
        references = _only(references, sources)
        estimates &= references | {ACCOMPANIMENT, *_others(estimates, references)}
    stems = references - {ACCOMPANIMENT}
    two = Problem((VOCALS, ACCOMPANIMENT), (VOCALS, ACCOMPANIMENT))
    if kind == "auto":
        given = {VOCALS, ACCOMPANIMENT} <= estimates and VOCALS in references
        only_two = given and not (estimates & stems) - {VOCALS} and len(stems) > 1
        if only_two or (stems <= {VOCALS} and ACCOMPANIMENT in references):
            kind = "accompaniment"
        elif given and len(stems) > 1:
            _check(stems, estimates)
            named = in_order(stems)
            rest = tuple(name for name in named if name != VOCALS)
            return [Problem(tuple(named), rest), two]
        else:
            kind = "stems"
    problems = []
    if kind in ("stems", "both"):
        _check(stems or references, estimates)
        named = in_order(stems or references)
        problems.append(Problem(tuple(named), tuple(named)))
    if kind in ("accompaniment", "both"):
        _check_two(references, "reference", references)
        _check_two(estimates, "estimate", references)
        problems.append(two)
    return problems


def _only(references: set[str], sources: Sequence[str]) -> set[str]:
    derived = references | ({ACCOMPANIMENT} if len(references) > 1 else set())
    for name in sources:
        if name not in derived:
            raise EvaluationError(f"the reference has no {name}: {hint(name, in_order(derived))}")
    return set(sources)


def _others(estimates: set[str], references: set[str]) -> set[str]:
    """Estimates that can only serve to sum up the accompaniment."""
    return estimates - {VOCALS} if ACCOMPANIMENT in references else set()


def _check(wanted: set[str], estimates: set[str]) -> None:
    missing = wanted - estimates
    if not missing:
        return
    names = ", ".join(in_order(missing))
    there = in_order(wanted & estimates)
    advice = f", or leave them out with --sources {','.join(there)}" if there else ""
    raise EvaluationError(f"there is no estimate of {names}: add it{advice}")


def _check_two(names: set[str], what: str, references: set[str]) -> None:
    if VOCALS not in names:
        raise EvaluationError(f"there is no {what} of vocals to score against the accompaniment")
    if ACCOMPANIMENT in names:
        return
    rest = references - {VOCALS, ACCOMPANIMENT} or names - {VOCALS}
    missing = rest - names
    if missing or not rest:
        lacking = ", ".join(in_order(missing)) or "what is not vocals"
        raise EvaluationError(
            f"the {what} of the accompaniment is the sum of what is not vocals, and {lacking} is "
            "missing: add it, or an accompaniment"
        )


def summands(name: str, files: Collection[str], references: Collection[str]) -> list[str]:
    """The sources whose sum a source of a problem is: itself, or what makes the accompaniment.

    files: the sources of this side that there are. references: the reference's sources, which say
    what belongs to the accompaniment.
    """
    if name in files:
        return [name]
    rest = [one for one in in_order(references) if one not in (VOCALS, ACCOMPANIMENT)]
    return rest or [one for one in in_order(files) if one != VOCALS]


def files_of(
    problem: Problem, files: Files, references: Collection[str]
) -> dict[str, tuple[Part, ...]]:
    """The parts of every source of a problem on one side; see `summands`."""
    return {
        name: tuple(part for one in summands(name, files, references) for part in files[one])
        for name in problem.sources
    }
