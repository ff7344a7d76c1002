"""The peers' own commands, for `catalogue.py`: `umx` of Open-Unmix and `demucs`.

    python benchmarks/peer_commands.py weights FOLDER
    python benchmarks/peer_commands.py umx|demucs FOLDER SONG OUT

The commands' own code runs, with its own options and defaults, on networks of the published shapes
whose weights are random: speed is the same. `weights` makes them once. Where torchaudio is not
installed, soundfile stands in for its reading and writing.
"""

from __future__ import annotations

import json
import sys
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

SOURCES = ("vocals", "drums", "bass", "other")
DEMUCS = "955717e8"
"""The signature of the network that `demucs -n htdemucs` loads."""


def make_weights(folder: Path) -> None:
    """Networks of the published shapes, as the commands find them in folders."""
    import torch
    from demucs.htdemucs import HTDemucs

    _audio_library()
    from openunmix.model import OpenUnmix
    from openunmix.utils import bandwidth_to_max_bin

    torch.manual_seed(0)
    umx = folder / "umx"
    umx.mkdir(parents=True, exist_ok=True)
    most = bandwidth_to_max_bin(44100, 4096, 16000)
    shape = {"nfft": 4096, "nhop": 1024, "nb_channels": 2, "hidden_size": 512}
    for source in SOURCES:
        network = OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=most)
        torch.save(network.state_dict(), umx / f"{source}.pth")
        (umx / f"{source}.json").write_text(json.dumps({"args": shape}))
    (umx / "separator.json").write_text(json.dumps({**shape, "sample_rate": 44100}))

    options: dict[str, Any] = {
        "sources": list(SOURCES),
        "dconv_mode": 3,
        "bottom_channels": 512,
        "t_sparse_self_attn": False,
        "segment": Fraction(39, 5),
    }
    network = HTDemucs(**options)
    package = {"klass": HTDemucs, "args": (), "kwargs": options, "state": network.state_dict()}
    demucs = folder / "demucs"
    demucs.mkdir(parents=True, exist_ok=True)
    torch.save(package, demucs / f"{DEMUCS}.th")
    (demucs / "htdemucs.yaml").write_text(f"models: ['{DEMUCS}']\n")


def run_umx(folder: Path, song: str, out: str) -> None:
    """`umx SONG --outdir OUT`: four targets, one step of the Wiener filter."""
    _audio_library()
    from openunmix.cli import separate

    model = ["--model", str(folder / "umx"), "--targets", *SOURCES]
    sys.argv = ["umx", song, *model, "--outdir", out, "--no-cuda"]
    separate()


def run_demucs(folder: Path, song: str, out: str) -> None:
    """`demucs SONG -o OUT`: htdemucs, one random shift, an overlap of a quarter."""
    from demucs.separate import main

    main(["-n", "htdemucs", "--repo", str(folder / "demucs"), "-d", "cpu", "-o", out, song])


def _audio_library() -> None:
    """Make `import torchaudio` give what the command `umx` uses of it."""
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        import soundfile
        import torch

        def load(path: str) -> tuple[torch.Tensor, int]:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            return torch.from_numpy(samples.T.copy()), rate

        def save(path: str, samples: torch.Tensor, sample_rate: int) -> None:
            soundfile.write(path, samples.numpy().T, sample_rate, subtype="PCM_16")

        stand_in: Any = types.ModuleType("torchaudio")
        stand_in.load, stand_in.save = load, save
        sys.modules["torchaudio"] = stand_in


def main() -> None:
    """Run one of them."""
    if sys.argv[1] == "weights":
        make_weights(Path(sys.argv[2]))
    elif sys.argv[1] == "umx":
        run_umx(Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        run_demucs(Path(sys.argv[2]), sys.argv[3], sys.argv[4])


if __name__ == "__main__":
    main()
