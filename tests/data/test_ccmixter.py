"""CCMixter: which file is the voice."""

from __future__ import annotations

from pathlib import Path

from stemwise.data.ccmixter import read_ccmixter
from stemwise.data.miniature import write_miniature


def test_the_second_source_is_the_voice(tmp_path: Path) -> None:
    write_miniature("ccmixter", tmp_path, seconds=0.5)
    (tmp_path / "readme").write_text("not a song")
    tracks = read_ccmixter(tmp_path)
    assert [track.name for track in tracks] == [
        "ana_-_breve_chanson",
        "nonames_-_étude",
        "zwerge_-_wuerze",
    ]
    for track in tracks:
        assert track.stems["vocals"][0].path.name == "source-02.wav"
        assert track.stems["accompaniment"][0].path.name == "source-01.wav"
        assert [part.path.name for part in track.mixture] == ["mix.wav"]
        assert not track.read_stem("vocals", 0, track.samples // 4).any()
