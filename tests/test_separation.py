"""The engine: exact pieces, exact lengths, any rate and channel count, stems that sum up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from stemwise.activity import Activity
from stemwise.api import Model
from stemwise.errors import AudioError, Cancelled, ModelError
from stemwise.gate import Gate
from stemwise.models import Separator, build
from stemwise.models.band_unet import BandUNet
from stemwise.separation import Engine, Options

SMALL = {"widths": (8, 8, 8, 8, 8), "squeezed": 2, "hidden": 16}


@pytest.fixture(scope="module", params=["band-unet", "joint-unet"])
def separator(request: pytest.FixtureRequest) -> Separator:
    return _small(request.param)


def _small(name: str, **config: object) -> Separator:
    torch.manual_seed(0)
    network = build(name, **{**(SMALL if name == "band-unet" else {"features": 4}), **config})
    _randomise_statistics(network)
    if isinstance(network, BandUNet):
        network.network.mask.weight.data *= 20  # masks that differ from one another
    return network.eval()


def _randomise_statistics(network: torch.nn.Module) -> None:
    """Batch statistics as after training: an untrained network would hide errors at the edges."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)


def _noise(seconds: float, rate: int, channels: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((channels, round(seconds * rate))) * 0.1).astype(np.float32)


def _blocks(song: np.ndarray, size: int = 30011) -> Iterator[np.ndarray]:
    for start in range(0, song.shape[-1], size):
        yield song[:, start : start + size]


def _run(
    separator: Separator,
    song: np.ndarray,
    rate: int,
    labels: Activity | None = None,
    **options: object,
) -> tuple[np.ndarray, np.ndarray]:
    engine = Engine(separator, Options(precision="fp32", device="cpu", **options))  # type: ignore[arg-type]
    blocks = list(engine.stream(_blocks(song), rate, len(song), labels=labels))
    starts = [block.start for block in blocks]
    assert starts == list(np.cumsum([0] + [b.stems.shape[-1] for b in blocks])[:-1])
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    return stems, np.concatenate([block.activity for block in blocks], axis=-1)


@pytest.mark.parametrize("gate", ["off", "median"])
def test_pieces_equal_one_pass(separator: Separator, gate: str) -> None:
    rate = separator.sample_rate
    song = _noise(9.3, rate, separator.channels)
    whole, whole_activity = _run(separator, song, rate, segment=60.0, gate=gate)
    pieces, activity = _run(separator, song, rate, segment=1.5, gate=gate)
    assert whole.shape == pieces.shape == (len(separator.sources), *song.shape)
    assert np.abs(whole - pieces).max() <= 1e-5
    assert np.abs(whole_activity - activity).max() <= 1e-4


def test_context_is_needed() -> None:
    """The exactness test can fail: without the context the same pieces differ."""
    separator = _small("band-unet")
    rate, grid = separator.sample_rate, separator.grid
    song = _noise(6.0, rate, separator.channels)
    whole, _ = _run(separator, song, rate, segment=60.0, residual=False)
    separator.grid = replace(grid, before=grid.alignment, after=grid.alignment)
    pieces, _ = _run(separator, song, rate, segment=1.5, residual=False)
    assert np.abs(whole - pieces).max() > 1e-4


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_rate_channels_and_length_survive(separator: Separator, rate: int, channels: int) -> None:
    song = _noise(1.37, rate, channels)
    stems, activity = _run(separator, song, rate)
    assert stems.shape == (len(separator.sources), *song.shape)
    assert np.abs(stems.sum(axis=0) - song).max() <= 1e-5
    assert activity.shape[0] == len(separator.activity_sources)
    assert abs(activity.shape[1] / separator.frame_rate - 1.37) < 2 / separator.frame_rate


@pytest.mark.parametrize("samples", [1, 2, 255, 4096])
def test_shortest_songs(separator: Separator, samples: int) -> None:
    song = _noise(1.0, 44100, 2)[:, :samples]
    stems, _ = _run(separator, song, 44100)
    assert stems.shape[-1] == samples
    assert np.abs(stems.sum(axis=0) - song).max() <= 1e-5


def test_silence_in_silence_out(separator: Separator) -> None:
    stems, _ = _run(separator, np.zeros((2, 30000), np.float32), 44100, residual=False)
    assert np.abs(stems).max() == 0.0


@pytest.mark.parametrize("phase", ["griffin-lim", "wiener"])
def test_phase_refinement_runs_and_changes_the_stems(separator: Separator, phase: str) -> None:
    song = _noise(1.2, separator.sample_rate, separator.channels)
    plain, _ = _run(separator, song, separator.sample_rate, residual=False)
    refined, _ = _run(separator, song, separator.sample_rate, residual=False, phase=phase)
    assert np.isfinite(refined).all()
    assert refined.shape == plain.shape
    assert np.abs(refined - plain).max() > 1e-4
    shared, _ = _run(separator, song, separator.sample_rate, phase=phase)
    assert np.abs(shared.sum(axis=0) - song).max() <= 1e-5


def test_batches_do_not_change_the_result(separator: Separator) -> None:
    rate = separator.sample_rate
    song = _noise(7.0, rate, separator.channels)
    one, _ = _run(separator, song, rate, segment=1.0, batch=1)
    three, _ = _run(separator, song, rate, segment=1.0, batch=3)
    assert np.abs(one - three).max() <= 1e-5


@pytest.mark.parametrize("rate", [22050, 48000])
def test_detection_alone_equals_that_of_separation(separator: Separator, rate: int) -> None:
    song = _noise(5.3, rate, 2)
    _, expected = _run(separator, song, rate, segment=1.0)
    engine = Engine(separator, Options(precision="fp32", device="cpu", segment=1.0))
    seen: list[float] = []
    frames = list(
        engine.detect(
            _blocks(song), rate, 2, total=song.shape[-1], progress=lambda done, _: seen.append(done)
        )
    )
    assert np.array_equal(np.concatenate(frames, axis=-1), expected)
    assert seen[-1] == pytest.approx(5.3, abs=1e-3)


def test_detection_needs_an_activity_head() -> None:
    engine = Engine(build("joint-unet", features=4, detection=False), Options(device="cpu"))
    with pytest.raises(ModelError, match="no activity head"):
        next(engine.detect([], 22050, 1))


def test_overlap_cross_fades(separator: Separator) -> None:
    rate = separator.sample_rate
    song = _noise(7.0, rate, separator.channels)
    plain, activity = _run(separator, song, rate, segment=1.5)
    faded, faded_activity = _run(separator, song, rate, segment=1.5, overlap=0.25)
    assert activity.shape == faded_activity.shape
    # pieces are exact, so cross-fading equal signals changes nothing
    assert np.abs(plain - faded).max() <= 1e-5


def test_out_of_memory_steps_down(separator: Separator) -> None:
    rate = separator.sample_rate
    song = _noise(8.0, rate, separator.channels)
    expected, _ = _run(separator, song, rate, segment=2.0)
    engine = Engine(separator, Options(precision="fp32", device="cpu", segment=2.0, batch=4))
    compute, limit = engine._compute, round(1.2 * rate)
    sizes = []

    def scarce(
        pieces: list[torch.Tensor], waveforms: bool
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        core = pieces[0].shape[-1] - separator.grid.before - separator.grid.after
        sizes.append((len(pieces), core))
        if len(pieces) * core > limit:
            raise MemoryError
        return compute(pieces, waveforms)

    engine._compute = scarce  # type: ignore[method-assign]
    blocks = list(engine.stream(_blocks(song), rate, len(song)))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    assert np.abs(stems - expected).max() <= 1e-5
    assert max(count * core for count, core in sizes[-2:]) <= limit


@pytest.mark.parametrize(
    ("known", "batch"), [((1000, 9000), 4), ((1000, 10**9), 16), ((1000, 900), 1), (None, 4)]
)
def test_batch_follows_the_memory_of_the_first_piece(
    monkeypatch: pytest.MonkeyPatch, known: tuple[int, int] | None, batch: int
) -> None:
    engine = Engine(_small("joint-unet"), Options(device="cpu", segment=1.0))
    engine._sized = False  # as on a GPU
    monkeypatch.setattr("stemwise.separation.memory_in_use", lambda device: known)
    song = _noise(8, 22050, 1)
    stems = [block.stems for block in engine.stream(_blocks(song), 22050, 1)]
    assert engine.batch == batch
    alone, _ = _run(_small("joint-unet"), song, 22050, segment=1.0, batch=1)
    np.testing.assert_allclose(np.concatenate(stems, axis=-1), alone, atol=2e-3)  # bf16 or not


def test_cancel_stops_soon(separator: Separator) -> None:
    rate = separator.sample_rate
    cancel = threading.Event()
    engine = Engine(separator, Options(precision="fp32", device="cpu", segment=1.0))
    stream = engine.stream(_blocks(_noise(8.0, rate, 1)), rate, 1, cancel=cancel)
    next(stream)
    cancel.set()
    with pytest.raises(Cancelled):
        list(stream)


def test_memory_does_not_depend_on_length(separator: Separator) -> None:
    """The engine asks for the song only as far as it needs it."""
    rate = separator.sample_rate
    asked = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal asked
        block = _noise(0.5, rate, 1)
        while True:
            asked += block.shape[-1]
            yield block

    engine = Engine(separator, Options(precision="fp32", device="cpu", segment=1.0))
    stream = engine.stream(endless(), rate, 1)
    done = 0
    for _ in range(6):
        done += next(stream).stems.shape[-1]
    grid = separator.grid
    assert asked - done <= grid.after + engine.piece + rate


def test_progress_reaches_the_end(separator: Separator) -> None:
    song = _noise(3.0, 44100, 2)
    seen: list[tuple[float, float | None]] = []
    engine = Engine(separator, Options(precision="fp32", device="cpu", segment=1.0))
    stream = engine.stream(
        _blocks(song), 44100, 2, total=song.shape[-1], progress=lambda *x: seen.append(x)
    )
    list(stream)
    assert seen[-1] == (3.0, 3.0)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_closed_stems_stay_silent_at_any_rate(rate: int) -> None:
    network = _small("band-unet")
    assert isinstance(network, BandUNet)
    network.network.activity.mix[-1].bias.data[:] = torch.tensor([-50.0, 50.0, 50.0, 50.0])
    song = _noise(3.0, rate, 2)
    stems, _ = _run(network, song, rate, gate="median")
    inside = slice(rate // 4, -rate // 4)
    assert np.sqrt(np.mean(stems[0][:, inside] ** 2)) < 1e-4 * np.sqrt(np.mean(song**2))
    assert np.abs(stems.sum(axis=0) - song).max() <= 1e-5


def test_gate_closes_inactive_stems_and_keeps_the_sum() -> None:
    network = build("band-unet", **SMALL)
    hop, frames = network.grid.hop, 60
    rng = np.random.default_rng(0)
    stems = rng.standard_normal((1, 4, 2, frames * hop)).astype(np.float32)
    mixture = stems.sum(axis=1)
    activity = np.ones((4, frames), np.float32)
    activity[0, :40] = 0.0
    activity[0, 20] = 1.0  # one stray frame, which the median removes
    out = {}
    for mode in ("raw", "median"):
        gate = Gate(network, mode, residual=True)
        parts = [
            gate.push(
                stems[..., a * hop : b * hop],
                activity[:, a:b],
                mixture[..., a * hop : b * hop],
                b == 60,
            )[0]
            for a, b in ((0, 13), (13, 30), (30, 60))
        ]
        out[mode] = np.concatenate(parts, axis=-1)
        assert out[mode].shape == stems.shape
        assert np.abs(out[mode].sum(axis=1) - mixture).max() < 1e-5
        assert np.abs(out[mode][0, 0, :, : 18 * hop]).max() == 0.0
        assert np.allclose(out[mode][0, 0, :, 42 * hop :], stems[0, 0, :, 42 * hop :], atol=1e-5)
    assert np.abs(out["raw"][0, 0, :, 20 * hop]).max() > 0.1
    assert np.abs(out["median"][0, 0, :, 20 * hop]).max() == 0.0


@pytest.mark.parametrize("rate", [22050, 48000])
def test_oracle_gate_follows_labels_of_another_frame_rate(rate: int) -> None:
    """The joint U-Net without its head knows no activity; the labels have 100 frames per second."""
    separator = _small("joint-unet", detection=False)
    song = _noise(4.0, rate, 2)
    plain, _ = _run(separator, song, rate, residual=False)
    labels = Activity.from_segments({"vocals": [(1.0, 2.0)], "accompaniment": [(0.0, 4.0)]}, 4.0)
    whole, frames = _run(separator, song, rate, gate="oracle", labels=labels, residual=False)
    pieces, _ = _run(separator, song, rate, gate="oracle", labels=labels, segment=1.0)
    summed, _ = _run(separator, song, rate, gate="oracle", labels=labels)
    assert frames.shape[0] == 0
    np.testing.assert_allclose(whole[1], plain[1], atol=1e-5)
    inside = slice(round(1.1 * rate), round(1.9 * rate))
    np.testing.assert_allclose(whole[0][:, inside], plain[0][:, inside], atol=1e-4)
    for closed in (slice(0, round(0.9 * rate)), slice(round(2.1 * rate), None)):
        assert np.abs(whole[0][:, closed]).max() < 1e-4 < np.abs(plain[0][:, closed]).max()
    assert np.abs(summed - pieces).max() <= 1e-5
    assert np.abs(summed.sum(axis=0) - song).max() <= 1e-5


def test_oracle_gate_switches_at_the_nearest_label() -> None:
    """Four labels per frame of the network: the fifth, at the centre of the second, decides."""
    network = build("band-unet", **SMALL)
    hop, values = network.grid.hop, np.zeros((1, 12), np.float32)
    values[0, 4] = 1.0
    labels = Activity(("drums",), values, 4 * network.frame_rate, 3 / network.frame_rate)
    stems = np.ones((1, 4, 2, 4 * hop), np.float32)
    mixture, silent = stems.sum(axis=1), np.zeros((4, 4), np.float32)
    gate = Gate(network, "oracle", residual=False, labels=labels)
    _, first = gate.push(*_part(stems, silent, mixture, 0, 2, hop), last=False)
    _, second = gate.push(*_part(stems, silent, mixture, 2, 4, hop), last=True)
    assert first is not None
    assert second is not None
    gains = np.concatenate([first, second], axis=-1)
    assert gains[1, ::hop].tolist() == [0, 1, 0, 0]  # the labels end before the fourth frame
    assert gains[[0, 2, 3]].min() == 1  # of stems without labels nothing is known


@pytest.mark.parametrize(
    ("gate", "labels", "words"),
    [
        ("oracle", None, "give the song's labels"),
        ("off", {"vocals": [(0.0, 1.0)]}, "Labels are for the gate 'oracle', not for 'off'"),
        ("oracle", {"voice": [(0.0, 1.0)]}, "labels name voice, but none of the stems vocals, dru"),
    ],
)
def test_labels_and_gate_need_each_other(
    gate: str, labels: dict[str, list[tuple[float, float]]] | None, words: str
) -> None:
    given = None if labels is None else Activity.from_segments(labels, 1.0)
    with pytest.raises(ModelError, match=words):
        _run(build("band-unet", **SMALL), _noise(0.1, 44100, 2), 44100, gate=gate, labels=given)


def test_labels_from_python() -> None:
    engine = Engine(_small("joint-unet"), Options(device="cpu", gate="oracle", residual=False))
    labels = Activity.from_segments({"vocals": [], "accompaniment": [(0.0, 1.0)]}, 1.0)
    result = Model(engine).separate(_noise(0.5, 22050, 1), 22050, labels=labels)
    assert np.abs(result.stems["vocals"].samples).max() == 0.0
    assert np.abs(result.stems["accompaniment"].samples).max() > 0
    assert result.activity.sources == ("vocals",)  # what the network says, not the labels


def test_engine_refuses_what_is_not_a_number() -> None:
    engine = Engine(_small("band-unet"), Options(device="cpu"))
    song = np.zeros((2, 4096), np.float32)
    late = song.copy()
    late[1, 100] = np.nan
    with pytest.raises(AudioError, match=r"not a number after 0\.\d+ s"):
        list(engine.stream([song, late], 8000, 2))


@pytest.mark.parametrize("gate", ["raw", "median"])
def test_gate_without_activity_is_refused(gate: str) -> None:
    with pytest.raises(ModelError, match=f"gate '{gate}' needs activity.*choose the gate 'oracle'"):
        Engine(_small("joint-unet", detection=False), Options(device="cpu", gate=gate))  # type: ignore[arg-type]


def _part(
    stems: np.ndarray, activity: np.ndarray, mixture: np.ndarray, first: int, last: int, hop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    span = slice(first * hop, last * hop)
    return stems[..., span], activity[:, first:last], mixture[..., span]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "shut"}, "gate must be one of"),
        ({"overlap": 0.9}, "overlap must be between"),
        ({"segment": 0.0}, "segment must be longer"),
        ({"batch": 0}, "at least one piece"),
    ],
)
def test_bad_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Options(**options)  # type: ignore[arg-type]


def test_unknown_device_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="cannot be used here"):
        Engine(build("band-unet", **SMALL), Options(device="cuda:17"))
