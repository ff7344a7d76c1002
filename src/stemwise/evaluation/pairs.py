"""Pairs of references and estimates: found, matched by name and checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stemwise.audio import STEM_NAMES, AudioInfo, probe
from stemwise.data.track import Part
from stemwise.errors import AudioError, EvaluationError
from stemwise.evaluation.layout import STEM_FILE, Entry, list_references, list_tracks
from stemwise.evaluation.problems import Problem, choose_problems, files_of, in_order

Files = Mapping[str, tuple[Part, ...]]


@dataclass(frozen=True)
class Pair:
    """One track to be scored.

    references, estimates: the parts whose sum every source is. problems: what is scored of them.
    mixture: empty where it is the sum of the references. samples: the track's length where the
    files state it.
    """

    name: str
    split: str
    references: Files
    estimates: Files
    problems: tuple[Problem, ...]
    sample_rate: int
    channels: int
    samples: int | None = None
    mixture: tuple[Part, ...] = ()

    @property
    def seconds(self) -> float:
        """Length in seconds; 0 where the files do not state it."""
        return (self.samples or 0) / self.sample_rate

    def inputs(self) -> list[Path]:
        """Every file that decides about the scores."""
        files = [*self.references.values(), *self.estimates.values(), self.mixture]
        return sorted({part.path for parts in files for part in parts})


@dataclass(frozen=True)
class Broken:
    """A track that cannot be scored, and why."""

    name: str
    sentence: str


@dataclass(frozen=True)
class Found:
    """What is to be scored, what cannot be, and what has no reference."""

    pairs: list[Pair] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_pairs(
    references: str | Path,
    estimates: str | Path,
    *,
    split: str | None = None,
    kind: str = "auto",
    sources: Sequence[str] | None = None,
) -> Found:
    """Match the tracks of two places; see `list_tracks` for how they may be laid out.

    Two single files, or two single tracks, are a pair whatever their names. Otherwise tracks are
    matched by name, in the same split where the estimates have splits. kind, sources: see
    `choose_problems`. Raises EvaluationError where a place holds nothing at all.
    """
    wanted, sentences = list_references(Path(references), split)
    given = _estimates(Path(estimates), split)
    found = Found(broken=[Broken("", sentence) for sentence in sentences])
    alone = len(wanted) == len(given) == 1
    matched: set[Entry] = set()
    for entry, name, again in _named(wanted):
        candidates = given if alone else _candidates(entry, given)
        matched.update(candidates)
        try:
            _refuse_twice(entry, again, "reference")
            if not candidates:
                raise EvaluationError(f"there is no estimate of it in {estimates}")
            _refuse_twice(candidates[0], candidates[1:], "estimate")
            found.pairs.append(_pair(entry, name, candidates[0], kind, sources))
        except (EvaluationError, AudioError, OSError) as error:
            found.broken.append(Broken(name, f"{name}: {error}"))
    extra = [entry.name for entry in given if entry not in matched]
    if extra:
        shown = ", ".join(extra[:3]) + (f" and {len(extra) - 3} more" if len(extra) > 3 else "")
        found.notes.append(f"{estimates} has estimates without a reference, left out: {shown}")
    return found


def find_references(
    root: str | Path,
    *,
    estimated: Sequence[str] | None = None,
    split: str | None = None,
    kind: str = "auto",
    sources: Sequence[str] | None = None,
) -> Found:
    """Tracks whose estimates are computed: by a model with the sources `estimated`, or an oracle.

    Raises EvaluationError where nothing is found.
    """
    entries, sentences = list_references(Path(root), split)
    found = Found(broken=[Broken("", sentence) for sentence in sentences])
    for entry, name, again in _named(entries):
        try:
            _refuse_twice(entry, again, "reference")
            found.pairs.append(reference_pair(entry, name, estimated, kind, sources))
        except (EvaluationError, AudioError, OSError) as error:
            found.broken.append(Broken(name, f"{name}: {error}"))
    return found


def reference_pair(
    entry: Entry,
    name: str,
    estimated: Sequence[str] | None,
    kind: str,
    sources: Sequence[str] | None,
) -> Pair:
    """A track called `name` whose estimates are still to be computed; arguments as above.

    Raises EvaluationError and AudioError for a track that cannot be scored.
    """
    stems = _stems(entry)
    mixture = stems.pop("mixture", ())
    names = set(stems) if estimated is None else set(estimated)
    problems = choose_problems(set(stems), names, kind, sources)
    rate, channels, samples = _shape(stems)
    _same_shape(mixture, "mixture", rate, channels)
    return Pair(name, entry.split, stems, {}, tuple(problems), rate, channels, samples, mixture)


def only_tracks(found: Found, count: int | None) -> Found:
    """The first `count` tracks."""
    return found if count is None else replace(found, pairs=found.pairs[:count])


def _estimates(root: Path, split: str | None) -> list[Entry]:
    """Estimates may lack the splits of their references."""
    try:
        return list_tracks(root, split)
    except EvaluationError:
        if split is None or not root.is_dir():
            raise
        return list_tracks(root)


def _named(entries: list[Entry]) -> Iterable[tuple[Entry, str, list[Entry]]]:
    """Each track once, the name it is shown by, and further entries of the same name."""
    several = len({entry.split for entry in entries}) > 1
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.split, entry.key), []).append(entry)
    for first, *again in groups.values():
        yield first, f"{first.split}/{first.name}" if several else first.name, again


def _candidates(entry: Entry, given: list[Entry]) -> list[Entry]:
    same = [one for one in given if one.key == entry.key]
    in_split = [one for one in same if one.split == entry.split]
    return in_split or [one for one in same if not one.split or not entry.split]


def _refuse_twice(entry: Entry, again: Sequence[Entry], what: str) -> None:
    if again:
        places = " and ".join(str(one.path) for one in (entry, *again))
        raise EvaluationError(f"the {what} is there twice, as {places}: remove one")


def _stems(entry: Entry) -> dict[str, tuple[Part, ...]]:
    if entry.path.name.lower().endswith(STEM_FILE):
        streams = probe(entry.path).streams
        if streams != len(STEM_NAMES):
            raise EvaluationError(
                f"{entry.path} has {streams} audio streams, and a stem file has {len(STEM_NAMES)}"
            )
    stems = entry.sources()
    if not set(stems) - {"mixture"}:
        raise EvaluationError(f"{entry.path} holds a mixture but no stems")
    return {name: stems[name] for name in in_order(stems)}


def _pair(
    entry: Entry, name: str, estimate: Entry, kind: str, sources: Sequence[str] | None
) -> Pair:
    references, estimates = _stems(entry), _stems(estimate)
    if entry.path.is_file() and estimate.path.is_file() and len(references) == len(estimates) == 1:
        estimates = dict(zip(references, estimates.values(), strict=True))
    mixture = references.pop("mixture", ())
    estimates.pop("mixture", None)
    problems = choose_problems(set(references), set(estimates), kind, sources)
    rate, channels, samples = _shape(references)
    used = {
        part for one in problems for part in _parts(files_of(one, estimates, references).values())
    }
    for source, parts in estimates.items():
        if used & set(parts):
            _same_shape(parts, f"estimate of {source}", rate, channels)
    estimates = {source: parts for source, parts in estimates.items() if used & set(parts)}
    return Pair(
        name,
        entry.split,
        references,
        estimates,
        tuple(problems),
        rate,
        channels,
        samples,
        mixture,
    )


def _parts(groups: Iterable[tuple[Part, ...]]) -> set[Part]:
    return {part for parts in groups for part in parts}


def _shape(stems: Files) -> tuple[int, int, int | None]:
    """Rate, channels and length of the references; raises EvaluationError where they differ."""
    infos = {part: _probe(part) for parts in stems.values() for part in parts}
    first, info = next(iter(infos.items()))
    width = _width(first, info)
    for part, other in infos.items():
        names = f"{_source(stems, first)} {{}} and {_source(stems, part)} {{}}"
        if other.sample_rate != info.sample_rate:
            rates = names.format(f"{info.sample_rate} Hz", f"{other.sample_rate} Hz")
            raise EvaluationError(
                f"the references differ in sample rate, {rates}: bring them to one rate"
            )
        if _width(part, other) != width:
            channels = names.format(f"has {width}", f"has {_width(part, other)}")
            raise EvaluationError(
                f"the references differ in channels, {channels}: give them equally many"
            )
    lengths = [one.samples for one in infos.values()]
    known = [length for length in lengths if length is not None]
    samples = max(known) if known else None
    if samples is None and info.duration is not None:
        samples = round(info.duration * info.sample_rate)
    return info.sample_rate, width, samples


def _width(part: Part, info: AudioInfo) -> int:
    return info.channels if part.channel is None else 1


def _source(stems: Files, part: Part) -> str:
    return next(name for name, parts in stems.items() if part in parts)


def _same_shape(parts: Sequence[Part], what: str, rate: int, channels: int) -> None:
    for part in parts:
        info = _probe(part)
        if info.sample_rate != rate:
            raise EvaluationError(
                f"the {what} has {info.sample_rate} Hz and the references have {rate} Hz: resample "
                f"{part.path.name}"
            )
        found = _width(part, info)
        if found != channels:
            raise EvaluationError(
                f"the {what} has {found} channel(s) and the references have {channels}: give "
                f"{part.path.name} as many"
            )


def _probe(part: Part) -> AudioInfo:
    return probe(part.path, stream=part.stream)
