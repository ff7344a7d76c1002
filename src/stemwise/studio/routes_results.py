"""Routes of results: what the player needs, and downloads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.responses import (
    FileResponse,
    MalformedRangeHeader,
    RangeNotSatisfiable,
    Response,
)

from stemwise.audio import AudioFormat
from stemwise.errors import AudioError, Cancelled, OutputError
from stemwise.studio import downloads
from stemwise.studio.answers import file_of, problems, refuse
from stemwise.studio.downloads import Make, Remixing
from stemwise.studio.jobs import Job
from stemwise.studio.masters import MIXTURE, master
from stemwise.studio.names import attachment, file_name, title
from stemwise.studio.orders import Bits, Extension, audio_format, parse_gains, parse_names
from stemwise.studio.pictures import DOCUMENT, spectrogram
from stemwise.studio.routes_jobs import Here, Known
from stemwise.studio.studio import Studio

router = APIRouter(prefix="/api/jobs/{id}", tags=["results"])
Route = TypeVar("Route", bound=Callable[..., Any])
KINDS = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "zip": "application/zip",
    "mp4": "video/mp4",
    "png": "image/png",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "lab": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "jams": "application/json",
}
_AUDIO = tuple(dict.fromkeys(KINDS[one] for one in ("wav", "flac", "mp3", "opus", "m4a")))


async def done(job: Known) -> Job:
    """A job with results. Raises 409 for others."""
    if job.state != "done":
        raise refuse(409, f"The song is not separated: its job is {job.state}.")
    return job


Done = Annotated[Job, Depends(done)]
Stem = Annotated[str, InPath(max_length=64, description="One of the job's stems.")]
Kind = Annotated[Extension, InPath(description="The format of the file.")]


def file_route(path: str, *kinds: str, also: tuple[int, ...] = ()) -> Callable[[Route], Route]:
    """A route that answers with a file, to GET and HEAD."""
    responses = {**file_of(*kinds), **problems(404, 409, 416, 422, *also)}

    def register(route: Route) -> Route:
        router.get(path, response_class=Response, responses=responses)(route)
        router.head(path, include_in_schema=False)(route)
        return route

    return register


class _File(FileResponse):
    """A file in larger pieces than the library's: each is a trip to another thread."""

    chunk_size = 1 << 18

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        """Parts of the file; none, and so all of it, for nonsense (RFC 9110). Raises 416."""
        try:
            return super()._parse_range_header(http_range, file_size)
        except RangeNotSatisfiable as error:
            whole = f"bytes */{file_size}"
            raise refuse(416, "The file has no such part.", Content_Range=whole) from error
        except MalformedRangeHeader:
            return []


async def served(path: Path, *, name: str | None = None) -> Response:
    """A file, or a part of it; name: of a download. Raises 404 where it is gone."""
    try:
        status = await run_in_threadpool(os.stat, path)
    except OSError as error:
        raise refuse(404, "This file is not here any more: ask for it again.") from error
    headers = {"Cache-Control": "private, max-age=3600"}
    if name is not None:
        headers["Content-Disposition"] = attachment(name)
    kind = KINDS[path.suffix.lstrip(".")]
    return _File(path, headers=headers, media_type=kind, stat_result=status)


async def made(studio: Studio, job: Job, key: str, make: Make, tracks: int = 1) -> Path:
    """A folder of made files. Raises the HTTP error of what cannot be made.

    tracks: how many tracks the files are as large as, at most.
    """
    try:
        return await studio.make(job, key, make, tracks)
    except (OutputError, AudioError) as error:
        raise refuse(409, str(error).replace(str(studio.folders.data), "")) from error
    except Cancelled as error:
        raise refuse(503, str(error), Retry_After="10") from error
    except FileNotFoundError as error:
        raise refuse(404, "The job was deleted.") from error


def _song(job: Job) -> str:
    return file_name(title(job.name))


async def _stem(studio: Studio, job: Job, stem: str, format: AudioFormat) -> Path:
    """A stem in a format."""
    key = downloads.stem_key(stem, format)
    folder = await made(studio, job, key, downloads.make_stem(stem, format))
    return folder / f"{stem}.{format.extension}"


@router.get(
    "/multitrack",
    responses={
        200: {
            "description": "The document, as the player takes it.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["title", "duration", "sample_rate", "channels", "tracks"],
                    }
                }
            },
        },
        **problems(404, 409, 422),
    },
    response_class=Response,
)
async def show_multitrack(job: Done, studio: Here) -> Response:
    """Show all that a player needs: tracks with outlines, levels, activity, and their addresses."""
    return await served(studio.folders.masters(job.id) / DOCUMENT)


@file_route("/audio/{track}.wav", "audio/wav")
async def send_master(
    job: Done,
    studio: Here,
    track: Annotated[str, InPath(max_length=64, description="`mixture` or one of the stems.")],
) -> Response:
    """Send a track as it is mixed: float32 WAV, as loud as in the song, for the player."""
    if track not in (MIXTURE, *job.stems):
        raise refuse(404, "The job has no such track.")
    return await served(master(studio.folders.masters(job.id), track))


@file_route("/spectrograms/{track}.png", "image/png")
async def send_spectrogram(
    job: Done,
    studio: Here,
    track: Annotated[str, InPath(max_length=64, description="`mixture` or one of the stems.")],
) -> Response:
    """Send a track's spectrogram: time from left to right, log frequency from below."""
    if track not in (MIXTURE, *job.stems):
        raise refuse(404, "The job has no such track.")
    return await served(spectrogram(studio.folders.masters(job.id), track))


@file_route("/stems/{stem}.{extension}", *_AUDIO, also=(503, 507))
async def download_stem(
    job: Done, studio: Here, stem: Stem, extension: Kind, bits: Bits = None
) -> Response:
    """Download a stem: the file that `stemwise separate` writes in that format."""
    if stem not in job.stems:
        raise refuse(404, "The job has no such stem.")
    format = audio_format(extension, bits)
    path = await _stem(studio, job, stem, format)
    return await served(path, name=f"{_song(job)} - {stem}.{extension}")


@file_route("/stems.zip", "application/zip", also=(503, 507))
async def download_zip(
    job: Done,
    studio: Here,
    format: Annotated[Extension, Query(description="The format of the files.")] = "wav",
    bits: Bits = None,
) -> Response:
    """Download all stems with the activity, in one uncompressed archive."""
    kind = audio_format(format, bits)
    files = [await _stem(studio, job, stem, kind) for stem in job.stems]
    activity = await made(studio, job, "activity", downloads.make_activity)
    if (table := activity / "activity.csv").is_file():
        files.append(table)
    archive = downloads.make_zip(files, _song(job), job.finished or job.created)
    folder = await made(studio, job, f"zip-{kind.extension}-{kind.subtype}", archive, len(files))
    return await served(folder / "stems.zip", name=f"{_song(job)} - stems.zip")


@file_route("/song.stem.mp4", "video/mp4", also=(503, 507))
async def download_stem_file(job: Done, studio: Here) -> Response:
    """Download a .stem.mp4: the song and its four stems as tracks of one file, for DJ programs."""
    folder = await made(studio, job, "stem-file", downloads.make_stem_file)
    return await served(folder / "song.stem.mp4", name=f"{_song(job)}.stem.mp4")


@file_route("/activity.{extension}", "text/csv", "text/plain", "application/json", also=(503, 507))
async def download_activity(
    job: Done,
    studio: Here,
    extension: Annotated[
        Literal["csv", "lab", "txt", "jams"],
        InPath(description="csv: probabilities; lab, txt (Audacity), jams: segments."),
    ],
) -> Response:
    """Download when each stem plays: the files that `stemwise detect` writes."""
    folder = await made(studio, job, "activity", downloads.make_activity)
    path = folder / f"activity.{extension}"
    if not path.is_file():
        raise refuse(409, f"The model {job.model!r} does not tell when stems play.")
    return await served(path, name=f"{_song(job)} - activity.{extension}")


@file_route("/remix.{extension}", *_AUDIO, also=(503, 507))
async def download_remix(
    job: Done,
    studio: Here,
    extension: Kind,
    gains: Annotated[
        str,
        Query(
            max_length=2000,
            description="Linear gains by stem, 0 to 4; stems that are not named stay as they are.",
            examples=["vocals:0,drums:0.8"],
        ),
    ] = "",
    only_active: Annotated[
        str,
        Query(
            max_length=1000,
            description="Stems whose gain holds only while they play, and is 1 elsewhere.",
            examples=["vocals"],
        ),
    ] = "",
    bits: Bits = None,
) -> Response:
    """Download the song with other volumes of its stems: the mix that is heard in the player."""
    what = Remixing(
        parse_gains(gains, job.stems),
        parse_names(only_active, job.stems),
        audio_format(extension, bits),
    )
    folder = await made(studio, job, what.key, downloads.make_remix(what))
    return await served(folder / f"remix.{extension}", name=f"{_song(job)} - remix.{extension}")


@file_route("/report.html", "text/html", also=(503, 507))
async def download_report(job: Done, studio: Here) -> Response:
    """Download a page that holds the song, its stems and all that is known of them."""
    folder = await made(studio, job, "report", downloads.make_report(title(job.name)))
    return await served(folder / "report.html", name=f"{_song(job)} - report.html")
