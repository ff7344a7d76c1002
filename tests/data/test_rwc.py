"""RWC-Pop: which label file belongs to which disc and track, and what its states mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemwise.data.miniature import write_miniature
from stemwise.data.rwc import LABELS, read_rwc, read_vocal_states
from stemwise.errors import DataError


def test_discs_and_tracks_count_as_pieces(tmp_path: Path) -> None:
    write_miniature("rwc", tmp_path, seconds=1.0)
    found = {track.name: "/".join(track.mixture[0].path.parts[-2:]) for track in read_rwc(tmp_path)}
    assert found == {
        "RM-P001": "rwc-p-m01/1.wav",
        "RM-P002": "rwc-p-m01/2.wav",
        "RM-P017": "rwc-p-m02/1.wav",
        "RM-P100": "rwc-p-m07/10.wav",
    }
    for track in read_rwc(tmp_path):
        assert track.labels is not None
        assert track.labels.active()[0].reshape(4, -1).mean(axis=1).tolist() == [0, 1, 0, 1]


def test_labels_may_lie_among_other_annotations(tmp_path: Path) -> None:
    write_miniature("rwc", tmp_path, seconds=1.0)
    (tmp_path / "annotations").mkdir()
    (tmp_path / LABELS).rename(tmp_path / "annotations" / LABELS)
    assert len(read_rwc(tmp_path)) == 4


def test_states(tmp_path: Path) -> None:
    path = tmp_path / "RM-P001.VOCA_INST.TXT"
    rows = ["0.0\tb", "1.0\tm:withm", "2.0\tf:", "3.0\ts:piano", "4.0\tg:", "5.0\tb", "6.0\te"]
    path.write_bytes(("\r\n".join(rows) + "\r\n").encode())
    found = read_vocal_states(path, 10.0)
    assert (found.sources, found.duration) == (("vocals",), 6.0)
    wanted = [0, 1, 1, 0, 1, 0]
    assert found["vocals"].reshape(6, 10).mean(axis=1).tolist() == wanted
    assert found["vocals"].shape == (60,)


def test_the_real_label_file(real_metadata: Path) -> None:
    path = real_metadata / "rwc_popular" / "RM-P001.VOCA_INST.TXT"
    found = read_vocal_states(path, 100.0)
    assert found.duration == pytest.approx(26.465, abs=1e-3)
    spans = found.segments(minimum=0)["vocals"]
    wanted = [(10.293, 11.883), (12.088, 13.587), (13.819, 20.669)]
    np.testing.assert_allclose(spans, wanted, atol=0.011)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0\tb\n1.0\tx\n", r"line 2: unknown state 'x'; expected b, e, or m:"),
        ("0.0\tb\n1.0\tvocal\n", "line 2: unknown state 'vocal'"),
        ("0.0 b\n", "line 1: expected seconds, a tab and a state"),
        ("0.0\tb\none\tm:\n", "line 2: expected seconds"),
        ("0.0\tb\n-1\tm:\n", "line 2: expected seconds"),
        ("0.0\tb\n2.0\tm:\n1.0\te\n", "line 3: the times decrease"),
        ("\n", "holds no states"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "RM-P001.VOCA_INST.TXT"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_vocal_states(path)
    assert str(path) in str(caught.value)


def test_pieces_without_label_or_number_are_named(tmp_path: Path) -> None:
    write_miniature("rwc", tmp_path, seconds=1.0)
    (tmp_path / LABELS / "RM-P017.VOCA_INST.TXT").unlink()
    with pytest.raises(DataError, match=r"m02/1\.wav has no .*RM-P017\.VOCA_INST\.TXT"):
        read_rwc(tmp_path)
    (tmp_path / "audio" / "rwc-p-m01" / "1.wav").rename(
        tmp_path / "audio" / "rwc-p-m01" / "eternity.wav"
    )
    broken: list[str] = []
    assert [track.name for track in read_rwc(tmp_path, broken=broken)] == ["RM-P002", "RM-P100"]
    assert "eternity.wav is not named by its track number" in broken[0]
