"""Which runtime serves a machine best: measured on request, kept, and taken from then on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from stemwise.devices import prefers_bfloat16
from stemwise.errors import ModelError, StemwiseError
from stemwise.models.separator import Separator
from stemwise.runtimes.kinds import PRECISIONS, difference, missing
from stemwise.runtimes.material import features, song
from stemwise.runtimes.running import SEED, running
from stemwise.runtimes.store import folder, key, write_whole

MARGIN = 1.15
"""How much faster than PyTorch a runtime must be to be taken by itself."""
SECONDS = 10.0
"""Of song that are computed to measure, if the model's own segment is not shorter."""
ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """A network in one runtime and precision, on a rendered song.

    seconds: CPU seconds per second of song, the least of some rounds (0: not run). ratio: how many
    times faster than eager fp32, in the same rounds. rms, largest: see `Difference`. refused: why
    it was not run.
    """

    runtime: str
    precision: str
    seconds: float = 0.0
    ratio: float = 0.0
    rms: float = 0.0
    largest: float = 0.0
    refused: str | None = None


def measure(
    separator: Separator, *, compiled: bool = False, rounds: int = ROUNDS
) -> list[Measured]:
    """Run a separator's network, on the CPU, in all runtimes that are installed, round by round.

    compiled: PyTorch's compiler too, which may take minutes to compile.
    """
    separator = separator.cpu().eval().narrowed()  # as the engine runs it
    seconds = min(SECONDS, separator.segment)
    inputs = features(separator, song(separator, SEED, seconds))
    rows: list[Measured] = []
    runs = {}
    for runtime, precision in _wanted(compiled):
        try:
            runs[runtime, precision] = running(separator, runtime, precision)
        except StemwiseError as error:
            rows.append(Measured(runtime, precision, refused=str(error)))
    times: dict[tuple[str, str], list[float]] = {place: [] for place in runs}
    outputs = {}
    with torch.inference_mode():
        for place, one in runs.items():
            outputs[place] = tuple(each.clone() for each in _run(one, place, inputs))
        for _ in range(rounds):
            for place, one in runs.items():
                started = time.process_time()
                _run(one, place, inputs)
                times[place].append((time.process_time() - started) / seconds)
    eager = "torch", "fp32"
    for place, taken in times.items():
        ratios = sorted(a / b for a, b in zip(times[eager], taken, strict=True))
        found = difference(outputs[eager], outputs[place])
        ratio = ratios[len(ratios) // 2]
        rows.append(Measured(*place, min(taken), ratio, found.rms, found.largest))
    order = _wanted(True)
    return sorted(rows, key=lambda row: order.index((row.runtime, row.precision)))


def _wanted(compiled: bool) -> list[tuple[str, str]]:
    """Everything installed that this CPU has instructions for."""
    half = prefers_bfloat16(torch.device("cpu"))
    return [
        (runtime, precision)
        for runtime, able in PRECISIONS.items()
        if not missing(runtime) and (compiled or runtime != "compile")
        for precision in able
        if half or precision != "bf16"
    ]


def _run(
    separator: Separator, place: tuple[str, str], inputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16, enabled=place == ("torch", "bf16")):
        outputs: tuple[Tensor, ...] = separator.network(*inputs)
    return outputs


def keep(separator: Separator, rows: list[Measured]) -> None:
    """Keep what was measured for this model on this machine; OutputError where that fails."""
    content = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    write_whole(folder() / f"{_name(separator)}.json", content.encode())


def measured(separator: Separator) -> list[Measured]:
    """What was measured for this model on this machine with these libraries; may be nothing."""
    if not any(folder().glob(f"{separator.kind}-measured-*.json")):
        return []  # the weights need not be read to see that
    try:
        rows = json.loads((folder() / f"{_name(separator)}.json").read_bytes())
        return [Measured(**row) for row in rows]
    except (OSError, ValueError, TypeError):  # none, or a damaged one: measured anew on request
        return []


def _name(separator: Separator) -> str:
    return key(separator, "measured")


def choose(
    separator: Separator, device: torch.device, runtime: str, precision: str
) -> tuple[str, str]:
    """The runtime and the precision for what the user asked for, of which each may be "auto".

    An automatic runtime is PyTorch as it is, unless another was measured on this machine to be
    faster by `MARGIN`, and is no less exact than what PyTorch would have computed in. An automatic
    precision is that in which PyTorch is fastest here, or fp32 where the runtime has no other.
    Raises ModelError for a runtime that cannot compute a network piece after piece.
    """
    default = "bf16" if prefers_bfloat16(device) else "fp32"
    if separator.carried is not None:  # its layers are run one by one, from what they remember
        if runtime not in ("auto", "torch"):
            raise ModelError(
                f"{separator.kind!r} in one direction carries on from piece to piece, which the "
                f"runtime {runtime!r} cannot do: choose torch."
            )
        runtime = "torch"
    if runtime != "auto":
        if precision == "auto":
            precision = default if default in PRECISIONS[runtime] else "fp32"
        return runtime, precision
    wanted = default if precision == "auto" else precision
    rows = best(measured(separator), wanted) if device.type == "cpu" else []
    if rows:
        return rows[0].runtime, rows[0].precision
    if wanted in PRECISIONS["torch"]:
        return "torch", wanted
    able = [name for name, known in PRECISIONS.items() if wanted in known and not missing(name)]
    return (able or ["openvino"])[-1], wanted


def best(rows: list[Measured], precision: str) -> list[Measured]:
    """Of what was measured, the runtimes faster than PyTorch by the margin, the fastest first."""
    exact = ("fp32",) if precision == "fp32" else ("fp32", precision)
    ran = [row for row in rows if row.refused is None and row.precision in exact]
    eager = [row.seconds for row in ran if row.runtime == "torch"]
    limit = min(eager) / MARGIN if eager else 0.0
    # a compiled network makes every process wait for the compiler
    others = [row for row in ran if row.runtime not in ("torch", "compile")]
    if precision not in PRECISIONS["torch"]:
        others, limit = [row for row in others if row.precision == precision], float("inf")
    return sorted((r for r in others if r.seconds <= limit), key=lambda row: row.seconds)
