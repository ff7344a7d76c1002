"""How good are stems? The metrics of the field on arrays, files and sets of tracks (NumPy, SciPy).

`bss_eval.bss_eval` gives museval's BSS Eval v4 numbers, `bss_eval_stream` and `bss_eval_files` of
the same module from audio that need not fit into memory; every other module holds one family of
metrics and says, for each, its definition, its rule for silence and its aggregation.
`evaluate.evaluate` puts scores into a table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stemwise.errors import EvaluationError as EvaluationError
    from stemwise.evaluation.blocks import BlockSource as BlockSource
    from stemwise.evaluation.bss_eval import BssEval as BssEval
    from stemwise.evaluation.bss_eval import bss_eval_files as bss_eval_files
    from stemwise.evaluation.bss_eval import bss_eval_stream as bss_eval_stream

_EXPORTS = {
    "BlockSource": "stemwise.evaluation.blocks",
    "BssEval": "stemwise.evaluation.bss_eval",
    "EvaluationError": "stemwise.errors",
    "bss_eval_files": "stemwise.evaluation.bss_eval",
    "bss_eval_stream": "stemwise.evaluation.bss_eval",
}

__all__ = ["BlockSource", "BssEval", "EvaluationError", "bss_eval_files", "bss_eval_stream"]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that commands start without waiting for SciPy."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'stemwise.evaluation' has no attribute {name!r}")
