"""Random numbers of a run's processes, so that a resumed one draws what it would have drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

State = Mapping[str, torch.Tensor]


def seed_process(seed: int, rank: int, step: int) -> None:
    """Other random numbers (of dropout) in every process but the first, which goes on with its."""
    if rank:
        words = np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))


def random_state(device: torch.device) -> State:
    """Of this process's generators."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: State, device: torch.device) -> None:
    """Restore what `random_state` gave; a run may go on where there is no GPU."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
