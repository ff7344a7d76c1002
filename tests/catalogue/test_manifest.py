"""Manifests in their three formats, and what is wrong with a row."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
from loopback import Loopback

from stemwise.catalogue.manifest import Row, read_manifest
from stemwise.errors import CatalogueError

ROWS = [
    {"path": "a.mp3", "id": "1", "artist": "x", "options": "gate=raw stems='vocals,drums'"},
    {"path": "sub/b, c.wav", "id": None, "artist": "y", "options": None},
    {"path": "s3://bucket/d.flac", "id": "three", "artist": "z", "options": None},
]


def write(folder: Path, suffix: str) -> Path:
    path = folder / f"songs{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif suffix == ".csv":
        lines = [",".join(ROWS[0])]
        lines += [",".join(f'"{cell or ""}"' for cell in row.values()) for row in ROWS]
        path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".ndjson", ".parquet"])
def test_all_formats_say_the_same(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix)
    rows = list(read_manifest(str(path)))
    assert [(row.source, row.id, dict(row.options)) for row in rows] == [
        (str(tmp_path / "a.mp3"), "1", {"gate": "raw", "stems": "vocals,drums"}),
        (str(tmp_path / "sub" / "b, c.wav"), None, {}),
        ("s3://bucket/d.flac", "three", {}),
    ]
    assert rows[0].place.startswith(str(path))


def test_a_manifest_behind_a_url_has_its_songs_beside_it() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/lists/songs.csv", b"path\nx/a.mp3\n/abs/b.mp3\n../c.mp3\n")
    rows = [row.source for row in read_manifest("memory://lists/songs.csv")]
    assert rows == ["memory://lists/x/a.mp3", "/abs/b.mp3", "memory://lists/c.mp3"]


def test_a_signature_of_the_manifest_is_not_for_its_songs(tmp_path: Path) -> None:
    server = Loopback()
    server.files["/2026/lists/songs.csv"] = b"path\n../songs/a.mp3\n"
    [row] = read_manifest(f"{server.url}/2026/lists/songs.csv?signature=secret")
    server.close()
    assert row.source == f"{server.url}/2026/songs/a.mp3"
    assert "secret" not in row.place


def test_options_may_be_an_object(tmp_path: Path) -> None:
    path = tmp_path / "songs.jsonl"
    path.write_text('{"url": "http://host/a.mp3", "options": {"overlap": 0.25, "gate": null}}')
    [row] = read_manifest(str(path))
    assert row == Row(f"{path}, row 1", "http://host/a.mp3", None, {"overlap": 0.25})


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "title\nx\n", "has no column path or url: its columns are title"),
        ("a.csv", "path,id\nx.mp3,1,2\n", "row 2 has more cells than columns"),
        ("a.csv", "path,url\nx.mp3,http://h/x\n", "row 2 has both a path and a url"),
        ("a.csv", "path,id\n,1\n", "row 2 has neither a path nor a url"),
        ("a.csv", "path,options\nx.mp3,raw\n", "must be key=value"),
        ("a.csv", b"path\n\xff\xfe\n", "cannot be read as CSV in UTF-8"),
        ("a.jsonl", "{'path'}", "row 1 is no JSON"),
        ("a.jsonl", "[1]", "row 1 is no JSON object"),
        ("a.parquet", "PAR0", "cannot be read as Parquet"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, name: str, content: str | bytes, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CatalogueError, match=sentence):
        list(read_manifest(str(path)))


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="There is no file"):
        list(read_manifest(str(tmp_path / "songs.csv")))
