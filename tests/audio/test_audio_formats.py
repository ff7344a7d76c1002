"""What is written comes back: rate, channels, exact sample count, tags, cover, sample values."""

from __future__ import annotations

import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from stemwise.audio import (
    Audio,
    AudioError,
    AudioFormat,
    AudioWarning,
    create_audio,
    open_audio,
    probe,
    read,
    write,
)
from stemwise.audio.wav import WavEncoder

TAGS = {"title": "Übung №1", "artist": "名前", "album": "A", "date": "2024", "track": "3"}


def noise(rng: np.random.Generator, channels: int, samples: int) -> np.ndarray:
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def tone(rate: int, channels: int, samples: int) -> np.ndarray:
    time = np.arange(samples) / rate
    rows = [0.3 * np.sin(2 * np.pi * 220 * (1 + index) * time) for index in range(channels)]
    return np.array(rows, np.float32)


def png(side: int = 3) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + check

    size = side.to_bytes(4, "big")
    rows = zlib.compress((b"\0" + b"\x80\x20\x20" * side) * side)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0])),
            chunk(b"IDAT", rows),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize("samples", [1, 46, 47, 1151, 1152, 5761, 44100, 70001])
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "opus", "ogg", "m4a"])
def test_sample_count_and_tags_survive(
    tmp_path: Path, rng: np.random.Generator, extension: str, samples: int
) -> None:
    rate = 48000 if extension == "opus" else 44100
    path = tmp_path / f"Lied – 歌.{extension}"
    write(path, Audio(noise(rng, 2, samples), rate, TAGS))
    audio, info = read(path), probe(path)
    assert audio.samples.shape == (2, samples)
    assert audio.samples.dtype == np.float32
    assert (audio.sample_rate, audio.channels) == (rate, 2)
    assert info.samples == samples
    assert info.duration == pytest.approx(samples / rate)
    assert audio.tags == TAGS
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("extra", [1, 20, 60, 500])
def test_mp3_length_is_exact_at_every_rate(
    tmp_path: Path, rng: np.random.Generator, rate: int, channels: int, extra: int
) -> None:
    path = tmp_path / "song.mp3"
    samples = 3 * 1152 + extra
    write(path, Audio(noise(rng, channels, samples), rate))
    assert read(path).samples.shape == (channels, samples)
    # an independent decoder (mpg123 in libsndfile) honours the same header
    assert soundfile.read(path, always_2d=True)[0].shape == (samples, channels)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_lossy_audio_is_in_place(tmp_path: Path, extension: str) -> None:
    samples = tone(44100, 2, 60000)
    path = tmp_path / f"song.{extension}"
    write(path, Audio(samples, 44100))
    error = read(path).samples - samples
    assert float(np.sqrt((error[:, 2000:-2000] ** 2).mean())) < 0.01


@pytest.mark.parametrize(
    ("extension", "channels"),
    [
        (extension, channels)
        for extension in ("wav", "flac", "ogg", "opus", "m4a")
        for channels in range(3, 8 if extension == "m4a" else 9)
    ],
)
def test_many_channels_keep_their_order(tmp_path: Path, extension: str, channels: int) -> None:
    samples = tone(48000, channels, 20000)
    if extension == "opus" and channels in (5, 7):
        with pytest.raises(AudioError, match=f"not {channels}"):
            create_audio(tmp_path / "song.opus", 48000, channels)
        return
    if extension in ("m4a", "ogg", "opus") and channels >= 6:
        samples[3] = tone(48000, 1, 20000)[0] * 0.5  # the fourth channel carries only low sounds
    path = tmp_path / f"song.{extension}"
    write(path, Audio(samples, 48000), format=AudioFormat(extension, bitrate=800))
    found = read(path).samples
    assert found.shape == samples.shape
    for index in range(channels):
        assert np.corrcoef(found[index, 1000:-1000], samples[index, 1000:-1000])[0, 1] > 0.95


@pytest.mark.parametrize("rate", [8000, 12345, 44100, 88200, 96000, 192000])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_any_sample_rate(tmp_path: Path, extension: str, rate: int) -> None:
    path = tmp_path / f"song.{extension}"
    samples = np.array([[0, 0.5, -0.5, 0.25]], np.float32)
    write(path, Audio(samples, rate))
    audio = read(path)
    assert audio.sample_rate == rate
    np.testing.assert_array_equal(audio.samples, samples)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_opus_is_written_at_48_khz(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "song.opus"
    write(path, Audio(tone(rate, 2, 10001), rate))
    audio = read(path)
    assert audio.sample_rate == 48000
    assert audio.samples.shape == (2, round(10001 * 48000 / rate))


RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000, 192000)


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("extension", "rate"),
    [("opus", rate) for rate in RATES]
    + [("ogg", rate) for rate in RATES]
    + [("mp3", rate) for rate in RATES if rate <= 48000]
    + [("m4a", rate) for rate in RATES if rate <= 96000],
)
def test_a_handful_of_samples_in_lossy_formats(
    tmp_path: Path, extension: str, rate: int, samples: int
) -> None:
    path = tmp_path / f"song.{extension}"
    write(path, Audio(np.full((2, samples), 0.1, np.float32), rate))
    # a few samples at 192 kHz are less than one at Opus' 48 kHz
    expected = max(1, round(samples * 48000 / rate)) if extension == "opus" else samples
    assert read(path).samples.shape == (2, expected)
    assert probe(path).samples == expected
    if extension in ("mp3", "opus"):
        assert len(soundfile.read(path)[0]) == expected


def test_short_mp3_that_libav_does_not_recognise(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    write(path, Audio(np.full((1, 371), 0.1, np.float32), 22050))
    assert read(path).samples.shape == (1, 371)


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_integers_are_bit_exact(
    tmp_path: Path, rng: np.random.Generator, extension: str, bits: int
) -> None:
    full = 1 << (bits - 1)
    values = rng.integers(-full, full, (4001, 2))
    values[:2] = [[-full, full - 1], [0, -1]]
    source, target = tmp_path / "in.wav", tmp_path / f"out.{extension}"
    soundfile.write(source, values.astype(np.int32) << (32 - bits), 44100, subtype=f"PCM_{bits}")
    subtype = "int16" if bits == 16 else "int24"
    write(target, read(source), format=AudioFormat(extension, subtype))
    found, _ = soundfile.read(target, dtype="int32")
    np.testing.assert_array_equal(found >> (32 - bits), values)
    assert soundfile.info(target).subtype == f"PCM_{bits}"


def test_rounding_is_half_to_even_and_clips(tmp_path: Path) -> None:
    wanted = np.array([0, 0, 2, 2, 4, -2, 32767, -32768, 32767, -32768])
    given = np.array([0, 0.5, 1.5, 2.5, 3.5, -1.5, 32768, -32768, 70000, -70000]) / 32768
    path = tmp_path / "song.wav"
    write(path, Audio(given[np.newaxis].astype(np.float32), 44100))
    np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], wanted)


def test_float_keeps_values_beyond_full_scale(tmp_path: Path) -> None:
    samples = np.array([[1.5, -3.25, 1e-30, 0.1]], np.float32)
    path = tmp_path / "song.wav"
    write(path, Audio(samples, 44100), format=AudioFormat("wav", "float32"))
    np.testing.assert_array_equal(read(path).samples, samples)
    assert probe(path).codec == "float"


def test_flac_goes_without_a_cover_that_it_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    cover = png() + bytes(1 << 24)
    audio = Audio(np.full((1, 100), 0.25, np.float32), 44100, {"title": "A"}, cover)
    with pytest.warns(AudioWarning, match=r"the cover of 16\.0 MiB is left out"):
        write(path, audio)
    found = read(path)
    np.testing.assert_array_equal(found.samples, audio.samples)
    assert (found.tags["title"], found.cover) == ("A", None)


@pytest.mark.parametrize("cover", ["png", "jpeg"])
@pytest.mark.parametrize("extension", ["flac", "mp3", "opus", "m4a"])
def test_cover_survives(tmp_path: Path, extension: str, cover: str) -> None:
    picture = png() if cover == "png" else _jpeg()
    path = tmp_path / f"song.{extension}"
    write(path, Audio(tone(48000, 2, 5000), 48000, TAGS, picture))
    audio = read(path)
    assert audio.cover == picture
    assert audio.samples.shape == (2, 5000)
    assert audio.tags["title"] == TAGS["title"]


def _jpeg() -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    context.width = context.height = 16
    context.pix_fmt = "yuvj420p"
    context.time_base = 1
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 90, np.uint8), format="rgb24")
    packets = context.encode(frame.reformat(format="yuvj420p")) + context.encode(None)
    return bytes(packets[0])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "PCM_24"])
def test_other_wav_encodings_are_read(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "song.wav"
    samples = tone(44100, 2, 3000)
    soundfile.write(path, samples.T, 44100, subtype=subtype)
    tolerance = 0.02 if subtype in ("PCM_U8", "ULAW") else 1e-6
    np.testing.assert_allclose(read(path).samples, samples, atol=tolerance)


@pytest.mark.parametrize("container", ["WAVEX", "RF64", "AIFF", "W64", "CAF", "AU"])
def test_other_containers_are_read(tmp_path: Path, container: str) -> None:
    path = tmp_path / "song.wav"
    samples = tone(44100, 6, 3000)
    soundfile.write(path, samples.T, 44100, subtype="PCM_16", format=container)
    np.testing.assert_allclose(read(path).samples, samples, atol=1e-4)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    write(path, Audio(tone(44100, 1, 500), 44100), format=AudioFormat("flac"))
    assert probe(path).container == "flac"
    assert read(path).samples.shape == (1, 500)


@pytest.mark.parametrize("subtype", ["int16", "int24", "float32"])
def test_big_wav_becomes_rf64(tmp_path: Path, rng: np.random.Generator, subtype: str) -> None:
    path = tmp_path / "song.wav"
    samples = noise(rng, 3, 1001)
    encoder = WavEncoder(path, 44100, 3, subtype, TAGS, riff_limit=2000)  # type: ignore[arg-type]
    encoder.write(samples[:, :500])
    encoder.write(samples[:, 500:])
    encoder.finish()
    assert path.read_bytes()[:4] == b"RF64"
    assert soundfile.info(path).format == "RF64"
    audio = read(path)
    np.testing.assert_allclose(audio.samples, samples, atol=2e-5)
    assert audio.tags["title"] == TAGS["title"]


def test_surround_wav_states_its_loudspeakers(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    write(path, Audio(tone(48000, 8, 10), 48000))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].layout.name == "7.1"
    assert soundfile.info(path).format == "WAVEX"


@pytest.mark.parametrize(
    ("extension", "rate", "channels", "words"),
    [
        ("mp3", 44100, 6, "not 6"),
        ("mp3", 96000, 2, "96000 Hz"),
        ("m4a", 44100, 8, "channels"),
        ("m4a", 192000, 2, "192000 Hz"),
        ("wav", 44100, 9, "9 channels"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, extension: str, rate: int, channels: int, words: str
) -> None:
    with pytest.raises(AudioError, match=words):
        create_audio(tmp_path / f"song.{extension}", rate, channels)
    assert list(tmp_path.iterdir()) == []


def test_formats_are_validated() -> None:
    with pytest.raises(AudioError, match="'xyz'"):
        AudioFormat.of(Path("song.xyz"))
    with pytest.raises(AudioError, match="suffix"):
        AudioFormat.of(Path("song"))
    with pytest.raises(AudioError, match="float"):
        AudioFormat("flac", "float32")
    with pytest.raises(AudioError, match="bitrate"):
        AudioFormat("mp3", bitrate=0)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "opus", "m4a"])
def test_silence_and_constant_level(tmp_path: Path, extension: str, level: float) -> None:
    path = tmp_path / f"song.{extension}"
    write(path, Audio(np.full((2, 9000), level, np.float32), 48000))
    assert read(path).samples.shape == (2, 9000)


def test_real_mp3_agrees_with_another_decoder(real_audio: Path) -> None:
    path = real_audio / "real_mix_10s.mp3"
    reference, rate = soundfile.read(path, dtype="float32")
    with open_audio(path) as reader:
        assert (reader.sample_rate, reader.info.samples) == (rate, len(reference))
        found = np.concatenate(list(reader), axis=1)
        assert reader.warnings == []
    np.testing.assert_allclose(found, reference.T, atol=1e-4)


def test_tags_are_read_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "song.flac"
    with create_audio(path, 8000, 1, tags=TAGS) as writer:
        writer.write(np.zeros((1, 100), np.float32))
    looks: list[Path] = []

    def look(path: Path) -> tuple[dict[str, str], bytes | None]:
        looks.append(path)
        return {"title": "A"}, None

    monkeypatch.setattr("stemwise.audio.tags.read_tags", look)
    with open_audio(path) as reader:
        assert sum(block.shape[1] for block in reader) == 100
        assert not looks
        assert (reader.info.tags, reader.info.cover) == ({"title": "A"}, None)
    assert looks == [path]
