"""Reproduces tables: trains what is missing, measures every row, judges the claims, writes it down.

Everything lies in one folder and nothing that is finished is done again:

    songs/      what was rendered      stores/, tests/   songs as networks take them
    trainings/  a folder per training  scores/           a folder per measurement
    TABLE.md, TABLE.json, TABLE.csv, TABLE-curves.svg    index.md: all tables of the folder
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemwise.audio.part import PartFile
from stemwise.data.places import Place as SetPlace
from stemwise.data.reading import root_folder
from stemwise.data.sets import SETS
from stemwise.data.store_manifest import MANIFEST
from stemwise.errors import DataError, OutputError, hint
from stemwise.evaluation.tables import markdown_rows
from stemwise.reproduction.claims import Claim, Verdict, claims
from stemwise.reproduction.experiments import Experiment, Form, Task, Training, experiment
from stemwise.reproduction.library import Library
from stemwise.reproduction.measures import Measured, Place, measure
from stemwise.reproduction.pool import read_pool, render_pool
from stemwise.reproduction.published import tables
from stemwise.reproduction.report import Report
from stemwise.reproduction.results import Results
from stemwise.reproduction.runs import Run, run_training
from stemwise.reproduction.scales import Scale, scale
from stemwise.stem_output import make_folder

SEED = 42
"""Of splits, and of which song stands in for which set."""
SONGS = 0
"""Of rendered songs; the first eight have all six instruments of Hung & Lerch, twice or more."""
_STATE = "reproduction.json"
_PAPERS_SETS = tuple(name for name in SETS if name != "folder")


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        folder: for everything.
        scale: its name.
        data: data sets by name.
        songs: a set that stands in for all of them; None renders songs where there is no data.
        device: "auto", "cpu", "cuda" ...
        workers: processes that render and decode.
        jobs: songs scored at the same time.
    """

    folder: Path
    scale: str = "full"
    data: Mapping[str, SetPlace] | None = None
    songs: SetPlace | None = None
    device: str = "auto"
    workers: int = 1
    jobs: int = 1


def reproduce(
    names: Sequence[str], wanted: Wanted, tell: Callable[[str], None] = lambda sentence: None
) -> list[Path]:
    """Reproduce tables; returns their Markdown files.

    Raises DataError where songs are missing, OutputError where the folder holds a reproduction of
    another scale or of other songs, `runs.Interrupted` where training was stopped on request.
    """
    size = scale(wanted.scale)
    _check_data(wanted)
    _keep_state(wanted)
    library, about = _library(wanted, size, tell)
    experiments = {name: experiment(name) for name in names}
    for one in experiments.values():
        if one.sets:
            library.check(one.sets)
    session = _Session(wanted, library, tell)
    written = []
    for name, one in experiments.items():
        tell(f"table {name}")
        results = Results(tables()[name], one, session.measured(one))
        report = Report(
            results,
            [(claim, _judge(claim, results, one, size)) for claim in claims(name)],
            size.name,
            f"{about} {library.counts(one.sets, one.form)}" if one.sets else "No songs are needed.",
            comparable=not one.sets or (library.pool is None and size.name == "full"),
            notes=[*library.notes(one.sets), *_reasons(results)],
            times=[(run.folder.name, run.steps, run.seconds) for run in session.of(one)],
            curves=_draw_curves(name, session.of(one), wanted),
        )
        written.append(report.write(wanted.folder))
        _write_index(wanted.folder)
    return written


def _draw_curves(name: str, runs: Sequence[Run], wanted: Wanted) -> str:
    """Draw the curves of a table's trainings; two steps have none. Returns the file's name."""
    if not runs or wanted.scale == "smoke":
        return ""
    from stemwise.training.plots import plot_curves

    file = f"{name}-curves.svg"
    plot_curves({run.folder.name: run.folder for run in runs}, wanted.folder / file)
    return file


def _judge(claim: Claim, results: Results, one: Experiment, size: Scale) -> Verdict:
    if size.name == "smoke" and one.sets:
        return Verdict(None, "at the scale smoke networks are trained for two steps")
    return claim.judge(results)


def _reasons(results: Results) -> list[str]:
    """Why cells are empty that should not be."""
    return [f"{task}: {found.reason}." for task, found in results.measured.items() if found.reason]


def data_places(texts: Sequence[str]) -> dict[str, SetPlace]:
    """Data sets of the papers by name, from NAME=FOLDER, NAME=STORE or NAME=KIND=FOLDER.

    A folder is laid out as the data set is, unless it is a store or KIND says otherwise. Raises
    DataError for names that no table uses, and for places that are not there.
    """
    found: dict[str, SetPlace] = {}
    for text in texts:
        name, equals, where = text.partition("=")
        if name not in _PAPERS_SETS:
            raise DataError(f"no table uses a data set '{name}': {hint(name, _PAPERS_SETS)}")
        if not equals or not where:
            raise DataError(f"'{text}' names no place: give --data {name}=FOLDER")
        if name in found:
            raise DataError(f"the data set '{name}' is given twice: leave one out")
        kind, named, root = where.partition("=")
        if named and kind in SETS:
            found[name] = SetPlace(kind, root)
        elif "://" in where or (Path(where) / MANIFEST).exists():
            found[name] = SetPlace(None, where)
        else:
            root_folder(where)
            found[name] = SetPlace(name, where)
    return found


def _check_data(wanted: Wanted) -> None:
    if wanted.data and wanted.songs is not None:
        raise DataError("give data sets or songs that stand in for them, not both")


def _library(wanted: Wanted, size: Scale, tell: Callable[[str], None]) -> tuple[Library, str]:
    """The songs, and a sentence on them."""
    pool = None
    about = "Trained and measured on the data sets of the paper."
    if wanted.songs is not None:
        pool = read_pool(wanted.songs, wanted.folder)
        rendered = any(_is_rendered(track.name) for track in pool)
        kind = "Songs that the built-in band rendered" if rendered else "Multitrack songs"
        about = f"{kind} ({len(pool)} in all) stand in for the data sets."
    elif not wanted.data and size.rendered:
        folder = render_pool(wanted.folder, size, SONGS, wanted.workers, tell)
        pool = read_pool(SetPlace("folder", str(folder)), wanted.folder)
        about = (
            f"{len(pool)} songs of {size.seconds:.0f} s that the built-in band renders stand in "
            "for the data sets."
        )
    library = Library(
        wanted.folder,
        wanted.data or {},
        pool,
        most=size.most,
        tests_at_most=size.tests,
        seed=SEED,
        workers=wanted.workers,
        tell=tell,
    )
    return library, about


def _is_rendered(name: str) -> bool:
    """Whether a song's name is one that `stemwise render` gives."""
    return name.rpartition("/")[2].startswith("band-")


def _keep_state(wanted: Wanted) -> None:
    """Refuse a folder with a reproduction of another scale or of other songs."""
    make_folder(wanted.folder)
    places = {name: place.where for name, place in sorted((wanted.data or {}).items())}
    if wanted.songs is not None:
        places["songs"] = wanted.songs.where
    places = {name: str(Path(where).absolute()) for name, where in places.items()}
    state = {"scale": wanted.scale, "songs": places}
    path = wanted.folder / _STATE
    if not path.is_file():
        with PartFile(path) as part:
            part.temporary.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    if known["scale"] != wanted.scale:
        raise OutputError(
            f"{wanted.folder} holds a reproduction at the scale {known['scale']}: choose another "
            "folder with -o, or the same scale"
        )
    common = set(known["songs"]) & set(places)
    changed = [name for name in common if known["songs"][name] != places[name]]
    if changed or ("songs" in known["songs"]) != ("songs" in places):
        raise OutputError(
            f"{wanted.folder} holds a reproduction on other songs: choose another folder with -o, "
            "or the same songs"
        )


class _Session:
    """Trainings and measurements of one call; what several tables share is done once."""

    def __init__(self, wanted: Wanted, library: Library, tell: Callable[[str], None]) -> None:
        self.wanted, self.library, self.tell = wanted, library, tell
        self._runs: dict[Training, Run] = {}
        self._measured: dict[Task, Measured] = {}

    def measured(self, one: Experiment) -> dict[str, Measured]:
        """What was measured of every task of a table."""
        place = Place(
            self.library,
            one.sets,
            self.wanted.folder,
            self.wanted.device,
            self.wanted.jobs,
            self.tell,
        )
        found = {}
        for name, task in one.tasks.items():
            if task not in self._measured:
                self._measured[task] = self._measure(task, one.sets, place)
            found[name] = self._measured[task]
        return found

    def of(self, one: Experiment) -> list[Run]:
        """The finished trainings of a table."""
        return [self._runs[training] for training in one.trainings if training in self._runs]

    def _measure(self, task: Task, sets: tuple[str, ...], place: Place) -> Measured:
        if task.measure == "cost":
            return measure(task, (), place)
        missing = self._untrainable(task, sets)
        if missing:
            return Measured(reason=missing)
        runs = [self._run(training, sets, task.form) for training in task.trainings]
        self.tell(f"measuring {', '.join(run.folder.name for run in runs) or task.oracle}")
        return measure(task, runs, place)

    def _untrainable(self, task: Task, sets: tuple[str, ...]) -> str | None:
        """What is missing to train for a target that is an instrument, which not all songs have."""
        for training in task.trainings:
            target = training.target or "vocals"
            for split in ("train", "validation") if task.form.instruments else ():
                songs = [
                    song
                    for name in sets
                    for song in self.library.songs(sets, name, split, task.form)
                ]
                if not any(target in song.stems for song in songs):
                    return f"no song of the split {split} has {target}"
        return None

    def _run(self, training: Training, sets: tuple[str, ...], form: Form) -> Run:
        if training not in self._runs:
            self._runs[training] = run_training(
                training,
                self.wanted.scale,
                self.library,
                sets,
                form,
                self.wanted.folder,
                device=self.wanted.device,
                tell=self.tell,
            )
        return self._runs[training]


def _write_index(folder: Path) -> None:
    """index.md: every table that the folder holds, with its verdicts."""
    lines = []
    for name, table in tables().items():
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        verdicts = [one["verdict"] for one in json.loads(path.read_text("utf-8"))["claims"]]
        counts = [str(verdicts.count(word)) for word in ("held", "not held", "not testable")]
        lines.append([f"[{name}]({name}.md)", table.title, *counts])
    titles = ["table", "", "claims held", "not held", "not testable"]
    with PartFile(folder / "index.md") as part:
        text = f"# Reproduced tables\n\n{markdown_rows(titles, lines, 2)}"
        part.temporary.write_text(text, encoding="utf-8")
