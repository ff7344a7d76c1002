"""What stands behind every cell: which networks are trained, on which songs they are measured, how.

A training is one run of a recipe. A task measures one or several trained networks (a network per
source, where the paper trains them so) on the test songs of some data sets. A cell is one statistic
of one task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

FOUR = ("vocals", "drums", "bass", "other")
TARGETS = ("vocals", "electric guitar", "acoustic guitar", "piano", "bass", "drums")
"""The six targets of Hung & Lerch 2020."""

Statistic = Literal["mean", "median", "std", "pooled", "fact"]
Gate = Literal["off", "raw", "median", "oracle"]
GATES: tuple[Gate, ...] = ("off", "raw", "median", "oracle")


@dataclass(frozen=True)
class Training:
    """A run of a recipe with `key=value` changes; `target`: of a network of a single source."""

    recipe: str
    target: str | None = None

    @property
    def overrides(self) -> tuple[str, ...]:
        """What is changed in the recipe."""
        return () if self.target is None else (f"separator.sources=[{self.target}]",)

    @property
    def name(self) -> str:
        """Of its folder."""
        ending = "" if self.target is None else f"-{self.target.replace(' ', '-')}"
        return f"{self.recipe}{ending}"


@dataclass(frozen=True)
class Form:
    """How songs are brought to a network: rate in hertz, channels, whether stems are instruments'.

    equalised: test songs are mixed anew, from stems of equal RMS.
    """

    sample_rate: int = 44100
    channels: int = 2
    instruments: bool = False
    equalised: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        width = "mono" if self.channels == 1 else "stereo"
        return f"{self.sample_rate}-{width}{'-instruments' if self.instruments else ''}"


STEREO, MM = Form(), Form(channels=1, instruments=True, equalised=True)
STOLLER, KADANDALE = Form(22050, 1), Form(10880, 1)


@dataclass(frozen=True)
class Task:
    """What is measured of some trained networks, or of an oracle.

    Attributes:
        trainings: whose networks together give the stems.
        measure: "separation" (scores of stems), "detection" (AU-ROC of vocals, all frames),
            "activity" (AU-ROC of every target, seconds), "training" (its speed), "cost".
        sets: data sets whose test songs count.
        form: of the songs, and of the scoring.
        sources: scored together in BSS Eval; what is no stem of a song is the sum of the others.
        families: of metrics, see `evaluation.scores.FAMILIES`.
        whole: score BSS Eval v3 on whole tracks instead of windows.
        magnitudes: also measure the MSE of log1p magnitudes, by the network's own estimates.
        gate, phase: see `separation.Options`.
        oracle: "ibm" or "mixture" instead of networks.
    """

    measure: Literal["separation", "detection", "activity", "training", "cost"]
    trainings: tuple[Training, ...] = ()
    sets: tuple[str, ...] = ()
    form: Form = STEREO
    sources: tuple[str, ...] = ()
    families: tuple[str, ...] = ("v4",)
    whole: bool = False
    magnitudes: bool = False
    gate: Gate = "off"
    phase: Literal["mixture", "griffin-lim"] = "mixture"
    oracle: str | None = None


@dataclass(frozen=True)
class Cell:
    """One statistic of one task.

    Attributes:
        task: its name in the experiment.
        metrics: whose mean it is; mostly one.
        target: a source, or None for all of them together.
        statistic: over songs; "pooled" where all songs give one number, "fact" of a training.
        minus: a task whose value is subtracted.
    """

    task: str
    metrics: tuple[str, ...]
    target: str | None = None
    statistic: Statistic = "mean"
    minus: str | None = None


Cells = dict[tuple[str, str], Cell]


@dataclass(frozen=True)
class Experiment:
    """All tasks of a table, and its cells by row and column; rows the paper lacks are beside it."""

    tasks: Mapping[str, Task]
    cells: Mapping[tuple[str, str], Cell]
    sets: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """Of the songs of its first measurement."""
        return next(task.form for task in self.tasks.values() if task.sets)

    @property
    def trainings(self) -> list[Training]:
        """Each once, in the order of the tasks."""
        every = [one for task in self.tasks.values() for one in task.trainings]
        return list(dict.fromkeys(every))


def experiment(table: str) -> Experiment:
    """What stands behind a table; KeyError for one that there is not."""
    return _EXPERIMENTS[table]()


def _stoller() -> Experiment:
    sets = ("dsd100", "jamendo")
    stems = Task(
        "separation",
        sets=sets[:1],
        form=STOLLER,
        sources=("vocals", "accompaniment"),
        families=("v3", "mse", "non-vocal"),
        magnitudes=True,
        phase="griffin-lim",
    )
    sung = Task("detection", sets=sets[1:], form=STOLLER)
    svd, svs, mtl = ((Training(f"stoller2018-{one}"),) for one in ("svd", "svs", "mtl"))
    tasks = {
        "svd": replace(sung, trainings=svd),
        "svs": replace(stems, trainings=svs),
        "mtl-detection": replace(sung, trainings=mtl),
        "mtl": replace(stems, trainings=mtl),
    }
    cells: Cells = {
        ("svd", "au_roc"): Cell("svd", ("AU-ROC",), "vocals", "pooled"),
        ("mtl", "au_roc"): Cell("mtl-detection", ("AU-ROC",), "vocals", "pooled"),
    }
    columns = {
        "mse": ("magnitude MSE", None),
        "vocals_rms_nonvocal": ("RMS in silence v3", "vocals"),
        "vocals_rms_silent_seconds": ("RMS in silence", "vocals"),
        "vocals_rms": ("RMS", "vocals"),
        **{f"vocals_{one}": (f"{one.upper()} v3", "vocals") for one in ("sdr", "sir", "sar")},
        **{f"acc_{one}": (f"{one.upper()} v3", "accompaniment") for one in ("sdr", "sir", "sar")},
    }
    for row in ("svs", "mtl"):
        for column, (metric, target) in columns.items():
            cells[row, column] = Cell(row, (metric,), target)
    return Experiment(tasks, cells, sets)


def _replacement() -> Experiment:
    multitrack = ("dsd100", "medleydb", "ccmixter", "ikala")
    setups = {
        "dsd100-only": multitrack[:1],
        "more-sets-in-validation-and-test": multitrack,
        "all-sets-everywhere": multitrack,
    }
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for number, (row, sets) in enumerate(setups.items(), 1):
        for column, ending in (("without", "-without"), ("with", "")):
            recipe = f"stoller2018-replacement-{number}{ending}"
            tasks[f"{number}-{column}"] = Task(
                "separation",
                (Training(recipe),),
                sets,
                STOLLER,
                ("vocals", "accompaniment"),
                families=(),
                magnitudes=True,
            )
            cells[row, column] = Cell(f"{number}-{column}", ("magnitude MSE",))
    return Experiment(tasks, cells, (*multitrack, "rwc", "jamendo"))


def _per_target(recipe: str, targets: Sequence[str]) -> tuple[Training, ...]:
    """A training per target; that of vocals is the recipe as it is."""
    return tuple(Training(recipe, None if one == "vocals" else one) for one in targets)


def _hung_musdb(rows: Mapping[str, str], metrics: Sequence[str]) -> Experiment:
    """Networks per target on MUSDB18-HQ, their stems scored together."""
    tasks = {
        row: Task("separation", _per_target(recipe, FOUR), ("musdb18hq",), STEREO, FOUR)
        for row, recipe in rows.items()
    }
    cells: Cells = {
        (row, one if len(metrics) == 1 else f"{one} {metric}"): Cell(row, (metric,), one, "median")
        for row in rows
        for one in FOUR
        for metric in metrics
    }
    return Experiment(tasks, cells, ("musdb18hq",))


def _hung_1() -> Experiment:
    rows = {f"iass-{n}-blocks": f"hung2020-iass-{n}-blocks" for n in (3, 4)}
    return _hung_musdb(rows, ("SDR",))


def _hung_2() -> Experiment:
    rows = {"open-unmix": "hung2020-open-unmix", "iass": "hung2020-iass-3-blocks"}
    return _hung_musdb(rows, ("SDR", "SIR", "SAR", "ISR"))


_MM = ("medleydb", "mixing_secrets")
_MEAN = ("SDR", "SIR", "SAR")


def _mm(target: str, recipe: str, gate: Gate = "off") -> Task:
    """A network for one target of the MM songs, scored against all else."""
    task = Task("separation", (), _MM, MM, (target, "accompaniment"), gate=gate)
    return replace(task, trainings=_per_target(recipe, (target,)))


def _bound(target: str, oracle: str) -> Task:
    """What an oracle makes of the same."""
    return Task("separation", (), _MM, MM, (target, "accompaniment"), oracle=oracle)


def _hyphened(target: str) -> str:
    return target.replace(" ", "-")


def _hung_3() -> Experiment:
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for target in TARGETS:
        row = _hyphened(target)
        tasks[f"open-unmix-{row}"] = _mm(target, "hung2020-mm-open-unmix")
        tasks[f"iass-{row}"] = _mm(target, "hung2020-mm-iass", "median")
        tasks[f"ibm-{row}"] = _bound(target, "ibm")
        tasks[f"input-sdr-{row}"] = _bound(target, "mixture")
        for column in ("open-unmix", "iass", "ibm", "input-sdr"):
            cells[row, column] = Cell(f"{column}-{row}", ("SDR",), target, "median")
    return Experiment(tasks, cells, _MM)


def _hung_4() -> Experiment:
    variants: dict[str, tuple[str, Gate]] = {
        "no-no": ("hung2020-mm-iass-no-activity", "off"),
        "yes-no": ("hung2020-mm-iass", "off"),
        "yes-yes": ("hung2020-mm-iass", "median"),
    }
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for target in TARGETS:
        row = _hyphened(target)
        for variant, (recipe, gate) in variants.items():
            task = f"{variant}-{row}"
            tasks[task] = _mm(target, recipe, gate)
            for metric in _MEAN:
                cells[row, f"{variant} {metric}"] = Cell(task, (metric,), target, "median")
            cells[row, f"{variant} mean"] = Cell(task, _MEAN, target, "median")
    return Experiment(tasks, cells, _MM)


def _hung_fig4() -> Experiment:
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for target in TARGETS:
        row = _hyphened(target)
        trainings = _per_target("hung2020-mm-iass", (target,))
        tasks[row] = Task("activity", trainings, _MM, MM, (target,))
        cells[row, "auc"] = Cell(row, ("AU-ROC",), target, "pooled")
        cells[row, "activation-rate"] = Cell(row, ("activation rate",), target, "pooled")
    return Experiment(tasks, cells, _MM)


def _hung_fig5() -> Experiment:
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for target in TARGETS:
        row = _hyphened(target)
        for gate in GATES:
            tasks[f"{gate}-{row}"] = _mm(target, "hung2020-mm-iass", gate)
            if gate != "off":
                cells[row, gate] = Cell(f"{gate}-{row}", _MEAN, target, "median", f"off-{row}")
    return Experiment(tasks, cells, _MM)


def _george() -> Experiment:
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for row in ("open-unmix", "time-domain", "transformer", "l1", "dual"):
        trainings = (Training(f"george2022-{row}"),)
        tasks[row] = Task(
            "separation", trainings, ("musdb18",), STEREO, ("vocals", "accompaniment")
        )
        tasks[f"{row}-speed"] = Task("training", trainings)
        for column in ("sdr", "sir", "sar"):
            cells[row, column] = Cell(row, (column.upper(),), "vocals", "median")
        for column in ("excerpts-per-second", "seconds-per-epoch"):
            cells[row, column] = Cell(f"{row}-speed", (column,), None, "fact")
    return Experiment(tasks, cells, ("musdb18",))


def _doire(rows: Mapping[str, str]) -> Experiment:
    tasks: dict[str, Task] = {}
    cells: Cells = {}
    for row, recipe in rows.items():
        tasks[row] = Task("separation", (Training(recipe),), ("musdb18",), STEREO, FOUR)
        for metric in ("sdr", "sir"):
            for source in FOUR:
                cells[row, f"{metric}_{source}"] = Cell(row, (metric.upper(),), source)
    return Experiment(tasks, cells, ("musdb18",))


def _doire_2() -> Experiment:
    rows = ("independent", "simultaneous", "interleaved", "interleaved-accumulated")
    return _doire({row: f"doire2019-{row}" for row in rows})


def _doire_3() -> Experiment:
    """`encoder` is the training `interleaved`; `independent` is what a claim compares with."""
    return _doire(
        {
            "encoder": "doire2019-interleaved",
            "encoder+": "doire2019-encoder-plus",
            "independent": "doire2019-independent",
        }
    )


WEIGHTINGS = ("dedicated", "c-u-net", "unit", "dwa", "ebw-p1", "ebw-inst-p1", "oh", "ebw-p2")
VOICE = ("vocals", "accompaniment")
REST = ("vocals", "drums", "bass", "rest")


def _kadandale_trainings(kind: str, row: str, sources: Sequence[str]) -> tuple[Training, ...]:
    recipe = f"kadandale2020-{kind}-{row}"
    if row == "dedicated":
        return tuple(Training(recipe, source) for source in sources)
    return (Training(recipe),)


def _kadandale_task(kind: str, row: str, sources: tuple[str, ...]) -> Task:
    trainings = _kadandale_trainings(kind, row, sources)
    return Task(
        "separation", trainings, ("musdb18",), KADANDALE, sources, families=("v3",), whole=True
    )


def _kadandale_1() -> Experiment:
    """Four sources, as the paper counts them."""
    recipes = {"dedicated": "dedicated", "c-u-net": "c-u-net", "m-u-net": "unit"}
    tasks = {
        row: Task("cost", _kadandale_trainings("four", recipe, REST), sources=REST)
        for row, recipe in recipes.items()
    }
    cells: Cells = {
        (row, column): Cell(row, (column,), None, "fact")
        for row in recipes
        for column in ("params", "iterations")
    }
    return Experiment(tasks, cells)


def _kadandale_2() -> Experiment:
    tasks = {row: _kadandale_task("voice", row, VOICE) for row in WEIGHTINGS}
    statistics: tuple[Statistic, ...] = ("mean", "std", "median")
    cells: Cells = {}
    for row in WEIGHTINGS:
        for source in (*VOICE, "overall"):
            target = None if source == "overall" else source
            for statistic in statistics:
                cells[row, f"{source} {statistic}"] = Cell(row, ("SDR v3",), target, statistic)
    return Experiment(tasks, cells, ("musdb18",))


def _kadandale_3() -> Experiment:
    tasks = {row: _kadandale_task("four", row, REST) for row in WEIGHTINGS}
    cells: Cells = {}
    for row in WEIGHTINGS:
        for source in (*REST, "overall"):
            target = None if source == "overall" else source
            cells[row, source] = Cell(row, ("SDR v3",), target, "median")
    return Experiment(tasks, cells, ("musdb18",))


def _kadandale_4() -> Experiment:
    """The rows `dedicated` and `c-u-net` are what a claim compares with."""
    rows = ("ebw-p1", "ebw-p1-direct", "ebw-p1-unfiltered", "dedicated", "c-u-net")
    tasks = {row: _kadandale_task("four", row, REST) for row in rows}
    statistics: tuple[Statistic, ...] = ("mean", "std", "median")
    cells: Cells = {}
    for row in rows:
        for metric in _MEAN:
            for one in statistics:
                cells[row, f"{metric} {one}"] = Cell(row, (f"{metric} v3",), None, one)
    return Experiment(tasks, cells, ("musdb18",))


_EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    "stoller2018-1": _stoller,
    "stoller2018-replacement": _replacement,
    "hung2020-1": _hung_1,
    "hung2020-2": _hung_2,
    "hung2020-3": _hung_3,
    "hung2020-4": _hung_4,
    "hung2020-fig4": _hung_fig4,
    "hung2020-fig5": _hung_fig5,
    "george2022-1": _george,
    "doire2019-2": _doire_2,
    "doire2019-3": _doire_3,
    "kadandale2020-1": _kadandale_1,
    "kadandale2020-2": _kadandale_2,
    "kadandale2020-3": _kadandale_3,
    "kadandale2020-4": _kadandale_4,
}
