"""The pictures of docs/how-it-works.md, from nothing but this repository.

    python docs/figures/make_figures.py

Renders the song of `stemwise demo`, separates it with the default model, draws what happens on the
way, and prints the numbers that the page quotes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

import stemwise
from stemwise import models
from stemwise.band.render import RenderedSong, render_song
from stemwise.cli.demo import SEED
from stemwise.evaluation.metrics import usdr
from stemwise.models.separator import SpectrogramSeparator

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLOURS = {
    "mixture": "#5f6873",
    "vocals": "#c8385a",
    "drums": "#a2660a",
    "bass": "#2f6db5",
    "other": "#1a7a6f",
}
"""Those of the player."""
SECONDS = 20.0
RATE = 44100
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Demo:
    """The song of the demo with what is known of it, and what the model makes of it."""

    song: RenderedSong
    result: stemwise.Separation

    @property
    def mixture(self) -> Samples:
        """float32 (channel, sample)."""
        return self.song.mixture


def main() -> None:
    """Draw every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    folder: Path = parser.parse_args().out
    plt.rcParams |= {
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.dpi": 150,
        "svg.hashsalt": "stemwise",
    }
    song = render_song(SEED, family="dsp", duration=SECONDS, sample_rate=RATE)
    demo = Demo(song, stemwise.load("band", device="cpu").separate(song.mixture, RATE))
    tell(demo)
    save(draw_stems(demo), folder / "how-stems.png")
    save(draw_masks(demo), folder / "how-masks.png")
    save(draw_gate(demo), folder / "how-gate.png")
    save(draw_pieces(), folder / "how-pieces.png")


def tell(demo: Demo) -> None:
    """Print what the page quotes."""
    total = np.sum([stem.samples for stem in demo.result.stems.values()], axis=0)
    print(f"{demo.song.song.style}, {demo.song.song.tempo:.0f} beats per minute")
    print(f"sum of stems - song: {np.abs(total - demo.mixture).max():.1e}")
    for name, stem in demo.result.stems.items():
        truth = demo.song.stems[name]
        print(f"{name}: SDR {float(usdr(truth[None], stem.samples[None])[0]):.1f} dB,", end=" ")
        print(f"the mixture instead {float(usdr(truth[None], demo.mixture[None])[0]):.1f} dB")
    print({k: [(round(a, 2), round(b, 2)) for a, b in v] for k, v in segments(demo).items()})


def segments(demo: Demo) -> dict[str, list[tuple[float, float]]]:
    """When each source plays, by the model."""
    return demo.result.activity.segments()


def save(figure: Figure, path: Path) -> None:
    """Write a figure whose bytes do not depend on when it was made."""
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    print(path.name)


def draw_stems(demo: Demo) -> Figure:
    """The mixture and its stems as waveforms, with the activity of each under it."""
    names = ["mixture", *demo.result.stems]
    figure, axes = plt.subplots(len(names), 1, figsize=(8.6, 5.6), sharex=True)
    for axis, name in zip(axes, names, strict=True):
        samples = demo.mixture if name == "mixture" else demo.result.stems[name].samples
        draw_waveform(axis, samples, COLOURS[name])
        axis.set_ylim(-1.25, 1)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.spines["bottom"].set_visible(axis is axes[-1])
        axis.tick_params(bottom=axis is axes[-1])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", color=COLOURS[name])
        if name in demo.result.activity.sources:
            for start, end in segments(demo)[name]:
                lane = Rectangle((start, -1.22), end - start, 0.14, color=COLOURS[name], lw=0)
                axis.add_patch(lane)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, SECONDS)
    figure.subplots_adjust(hspace=0.12)
    return figure


def draw_waveform(axis: Axes, samples: Samples, colour: str, start: float = 0.0) -> None:
    """Smallest and largest sample of each stretch, scaled to the song's peak."""
    columns = 1200
    width = samples.shape[1] // columns
    cut = samples[:, : width * columns].reshape(samples.shape[0], columns, width)
    times = start + np.arange(columns) * width / RATE
    axis.fill_between(times, cut.min(axis=(0, 2)), cut.max(axis=(0, 2)), color=colour, lw=0)


def draw_masks(demo: Demo) -> Figure:
    """One stretch: the mixture's spectrogram, the mask of each source, what each lets pass."""
    start, seconds = 8.0, 6.0
    separator = models.load("band")
    assert isinstance(separator, SpectrogramSeparator)
    with torch.inference_mode():
        song = torch.from_numpy(demo.mixture)[None]
        silence = separator.grid.input_length(song.shape[-1]) - song.shape[-1]
        prediction = separator(torch.nn.functional.pad(song, (0, silence)))
        spectrum = prediction.mixture[0].abs().mean(dim=0)
        masks = prediction.masks
        assert masks is not None
        masks = masks[0].mean(dim=1)
        passed = prediction.estimates[0].abs().mean(dim=1)
    first, last = (round(time * separator.frame_rate) for time in (start, start + seconds))
    extent = (start, start + seconds, 0, RATE / 2000)
    figure = plt.figure(figsize=(8.6, 6.2))
    grid = figure.add_gridspec(2, 5, width_ratios=[1.25, 1, 1, 1, 1], wspace=0.12, hspace=0.22)
    top = figure.add_subplot(grid[:, 0])
    show_levels(top, spectrum[:, first:last], extent)
    top.set_title("the song", color=COLOURS["mixture"])
    top.set_ylabel("kHz")
    top.set_xlabel("seconds")
    for column, name in enumerate(separator.sources, 1):
        mask, stem = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        image = masks[column - 1, :, first:last].numpy()
        mask.imshow(
            image, origin="lower", aspect="auto", extent=extent, cmap="gray", vmin=0, vmax=1
        )
        show_levels(stem, passed[column - 1, :, first:last], extent)
        mask.set_title(f"mask of {name}", color=COLOURS[name])
        stem.set_title("the song × mask", color=COLOURS[name])
        for axis in (mask, stem):
            axis.set_ylim(0, 8)
            axis.set_yticks([])
            axis.set_xticks([] if axis is mask else [9, 11, 13])
    top.set_ylim(0, 8)
    top.set_xticks([9, 11, 13])
    return figure


def show_levels(
    axis: Axes, magnitudes: torch.Tensor, extent: tuple[float, float, float, float]
) -> None:
    """Magnitudes (bin, frame) in decibels."""
    levels = 20 * np.log10(magnitudes.numpy() + 1e-6)
    axis.imshow(
        levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-30, vmax=45
    )


def draw_gate(demo: Demo) -> Figure:
    """Two stems with and without the gate, and the probabilities that decide."""
    gated = stemwise.load("band", device="cpu", gate="median").separate(demo.mixture, RATE)
    activity = demo.result.activity
    figure, axes = plt.subplots(4, 1, figsize=(8.6, 6.0), sharex=True)
    figure.subplots_adjust(hspace=0.18)
    for above, below, name in ((axes[0], axes[1], "other"), (axes[2], axes[3], "bass")):
        plain, closed = demo.result.stems[name].samples, gated.stems[name].samples
        above.plot(
            *levels_of(demo.song.stems[name]), color="#999", lw=0.9, ls=":", label="true stem"
        )
        above.plot(*levels_of(plain), color="#444", lw=0.8, label="gate off")
        above.plot(*levels_of(closed), color=COLOURS[name], lw=1.4, label="gate median")
        above.set_ylim(-92, 5)
        above.set_ylabel(f"{name}, dBFS")
        probability = activity[name]
        below.fill_between(activity.times, probability, color=COLOURS[name], alpha=0.35, lw=0)
        below.axhline(0.5, color="#555", lw=0.8)
        below.set_ylim(0, 1.02)
        below.set_ylabel("probability")
    axes[0].legend(loc="lower left", frameon=False)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, SECONDS)
    figure.align_ylabels()
    return figure


def levels_of(samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and RMS levels (dB) of 50 ms each; silence is drawn at the lower edge."""
    width = RATE // 20
    count = samples.shape[1] // width
    cut = samples[:, : width * count].reshape(samples.shape[0], count, width)
    power = np.square(cut.astype(np.float64)).mean(axis=(0, 2))
    return (np.arange(count) + 0.5) * width / RATE, 10 * np.log10(power + 1e-9)


def draw_pieces() -> Figure:
    """How a song of a minute is cut for the default model: pieces, and what each sees."""
    separator = models.load("band")
    piece, rate = separator.segment, separator.sample_rate
    before, after = separator.grid.before / rate, separator.grid.after / rate
    print(f"pieces of {piece:g} s, {before:.2f} s before, {after:.2f} s behind")
    figure, axis = plt.subplots(figsize=(8.6, 2.2))
    song = 60.0
    axis.add_patch(Rectangle((0, 3), song, 0.7, color=COLOURS["mixture"], lw=0))
    axis.text(song / 2, 3.35, "the song", color="white", ha="center", va="center")
    for number in range(3):
        start, row = number * piece, 2 - number
        seen = Rectangle((start - before, row), before + piece + after, 0.7, color="#d9dde2", lw=0)
        kept = Rectangle((start, row), piece, 0.7, color=COLOURS["bass"], lw=0)
        axis.add_patch(seen)
        axis.add_patch(kept)
        axis.text(
            start + piece / 2,
            row + 0.35,
            f"piece {number + 1}",
            color="white",
            ha="center",
            va="center",
        )
    axis.text(-before, 2.35, "silence ", ha="right", va="center", color="#555")
    axis.text(2 * piece - before, 0.35, "seen, not kept ", ha="right", va="center", color="#555")
    axis.set_xlim(-12, song + 6)
    axis.set_ylim(-0.2, 3.9)
    axis.set_yticks([])
    axis.set_xticks(np.arange(0, song + 1, 10))
    axis.set_xlabel("seconds")
    axis.spines["left"].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
