"""Where a run computes: its device, its arithmetic and the processes that train together.

lightning-fabric brings all three. Networks are not wrapped in DistributedDataParallel: it finds
what a pass used in the tensors that `forward` returns, and a separator returns a `Prediction`; and
it averages gradients once per backward pass, which the interleaved procedures must not do, since
they keep the gradients of shared parameters over several. Instead `Learner.update` averages the
gradients of just the parameters that it is about to change, losses are means over what all
processes supervise, and so every procedure and weighting does what one process with the whole batch
would do.

Sharded parameters (FSDP) are not offered: the largest network has 162 million parameters, which
with gradients, moments and averages are 3 GB, and updates of single sources need whole parameters.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from stemwise.devices import choose_device
from stemwise.errors import ModelError, RecipeError, StemwiseError

Value = TypeVar("Value")

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others; one of them may be validating or measuring."""


class LostProcessError(StemwiseError):
    """Another process of the run has ended or no longer answers."""


class Hardware:
    """Device, arithmetic and processes of a run.

    Processes are started by `torchrun` or by SLURM's `srun`, whose variables are read from the
    environment; without them the run is one process.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1" ...; every process of a machine takes its own GPU.
        precision: "fp32", "bf16" or "fp16" (on CUDA GPUs alone).
        plugins: of Fabric, in place of what `precision` asks for.

    Attributes:
        device: of this process.
        rank, world: number of this process among all.

    Raises ModelError for a device that is not there, RecipeError for fp16 on another device.
    """

    def __init__(
        self, device: str = "auto", precision: str = "fp32", *, plugins: Sequence[Any] = ()
    ) -> None:
        chosen = choose_device(device)
        if precision == "fp16" and chosen.type != "cuda" and not plugins:
            raise RecipeError(
                f"precision fp16 needs a CUDA GPU, and the device is {chosen.type}: "
                "use bf16 or fp32"
            )
        wanted: dict[str, Any] = {"accelerator": chosen.type, "plugins": list(plugins)}
        if not plugins:
            wanted["precision"] = _PRECISION[precision]
        # what it computes with is no news to whoever asked for it
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        started = _started()
        if started is None:
            # a batch script's variables must not make a single process wait for others
            wanted["plugins"].append(LightningEnvironment())
            devices = [chosen.index or 0] if chosen.type == "cuda" else 1
            self.fabric = Fabric(devices=devices, **wanted)
        else:
            local, nodes, environment = started
            wanted["plugins"].append(environment)
            _check_devices(chosen, local)
            strategy = DDPStrategy(timeout=_PATIENCE)
            self.fabric = Fabric(devices=local, num_nodes=nodes, strategy=strategy, **wanted)
            self.fabric.launch()
            atexit.register(_part)
        self.device: torch.device = self.fabric.device
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells what happens."""
        return self.rank == 0

    @property
    def scales_losses(self) -> bool:
        """Whether gradients are those of losses times a number (fp16)."""
        return getattr(self.fabric.strategy.precision, "scaler", None) is not None

    def distribute(self, module: nn.Module) -> nn.Module:
        """The module on the device, the same in all processes.

        On GPUs, batch normalisation then looks at the batch of all processes. On CPUs, for which
        PyTorch has no such layer, it looks at each process's own.
        """
        module = module.to(self.device)
        if self.world == 1:
            return module
        if self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        with _together():
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)
        return module

    def autocast(self) -> AbstractContextManager[Any]:
        """Where a network computes in the precision of the run."""
        context: AbstractContextManager[Any] = self.fabric.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to those of the parameters."""
        self.fabric.backward(loss)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, without gradient; the tensor itself in a single one."""
        if self.world == 1:
            return tensor
        mean = tensor.detach().clone()
        with _together():
            dist.all_reduce(mean)
        return mean / self.world

    def average_gradients(self, parameters: Sequence[nn.Parameter], figures: Tensor) -> Tensor:
        """Give parameters the mean of their gradients over all processes; returns mean figures.

        A parameter that has a gradient in one process gets one in all.
        """
        if self.world == 1:
            return figures
        found = [float(p.grad is not None) for p in parameters]
        parts = [figures.detach().float(), torch.tensor(found, device=figures.device)]
        for p in parameters:
            parts.append((torch.zeros_like(p) if p.grad is None else p.grad).detach().flatten())
        head = len(figures) + len(parameters)
        mean = self.mean(torch.cat(parts))
        pieces = torch.split(mean[head:], [p.numel() for p in parameters])
        anywhere = (mean[len(figures) : head] > 0).tolist()
        for p, piece, there in zip(parameters, pieces, anywhere, strict=True):
            # laid out in memory as the parameter is (channels_last), which fused optimisers want
            p.grad = torch.empty_like(p).copy_(piece.view(p.shape)) if there else None
        return mean[: len(figures)]

    def average_statistics(self, module: nn.Module) -> None:
        """Give all processes the mean of what batch normalisation has seen in each."""
        if self.world == 1:
            return
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        seen = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        if not seen:
            return
        mean = self.mean(torch.cat([b.flatten() for b in seen]))
        for buffer, piece in zip(seen, torch.split(mean, [b.numel() for b in seen]), strict=True):
            buffer.copy_(piece.view_as(buffer))

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Divide gradients by what the losses were multiplied by."""
        self.fabric.strategy.precision.unscale_gradients(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Take an optimiser step; in fp16 none where a gradient is too large for it."""
        self.fabric.strategy.precision.optimizer_step(optimiser)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process."""
        if self.world == 1:
            return flags
        counts = torch.tensor([float(flag) for flag in flags], device=self.device)
        return tuple(count > 0 for count in self.mean(counts).tolist())

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, in their order; for small ones, and rarely."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        with _together():
            dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until all processes are here."""
        with _together():
            self.fabric.barrier()

    def state_dict(self) -> dict[str, Any]:
        """Of fp16's scale of the losses."""
        return dict(self.fabric.strategy.precision.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; nothing where it was of another precision."""
        if state:
            self.fabric.strategy.precision.load_state_dict(state)


@contextmanager
def _together() -> Iterator[None]:
    """Where processes talk to each other: they fail together, and say why."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:120]
        raise LostProcessError(
            "another process of this run has ended or no longer answers: see what it said; the "
            f"newest checkpoint resumes on any number of processes ({reason})"
        ) from error


def _part() -> None:
    """End the threads of the process group, which otherwise may abort a process that is done."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _started() -> tuple[int, int, ClusterEnvironment] | None:
    """Processes per machine, machines and who started them, where there are several processes."""
    read = os.environ.get
    if "TORCHELASTIC_RUN_ID" in os.environ:  # first: torchrun may run inside a SLURM job
        world, local = int(read("WORLD_SIZE", "1")), int(read("LOCAL_WORLD_SIZE", "1"))
        return (local, world // local, TorchElasticEnvironment()) if world > 1 else None
    # set by srun alone: a batch script that starts one process has only the job's SLURM_NTASKS
    tasks = int(read("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1:
        return None
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise RecipeError(
            f"srun started {tasks} processes without saying how many a machine has: give "
            "--ntasks-per-node, and not --ntasks"
        )
    nodes = int(read("SLURM_STEP_NUM_NODES", read("SLURM_NNODES", "1")))
    return tasks // nodes, nodes, SLURMEnvironment(auto_requeue=False)


def _check_devices(device: torch.device, local: int) -> None:
    if device.index is not None:
        raise ModelError(
            f"several processes share a machine's devices among them: give {device.type}, not "
            f"{device}"
        )
    if device.type == "mps":
        raise ModelError("several processes need CUDA GPUs or the CPU, not mps")
    if device.type == "cuda" and torch.cuda.device_count() < local:
        raise ModelError(
            f"{local} processes were started on a machine with {torch.cuda.device_count()} GPUs: "
            "start one for each"
        )
