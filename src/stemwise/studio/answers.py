"""What the API answers: shapes, examples, and the errors of every route."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from fastapi import HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from stemwise.studio.jobs import Job, Jobs

_EXAMPLE: dict[str, Any] = {
    "id": "q0mXv3cB1vJ8Zr5yTn2KdA",
    "name": "song.mp3",
    "model": "band",
    "stems": ["vocals", "drums", "bass", "other"],
    "gate": "off",
    "state": "running",
    "position": None,
    "progress": 0.42,
    "seconds_done": 88.2,
    "seconds_total": 210.0,
    "speed": 6.3,
    "eta": 19.3,
    "error": None,
    "warnings": [],
    "created": "2026-01-31T12:00:00.000Z",
    "started": "2026-01-31T12:00:01.500Z",
    "finished": None,
    "expires": None,
    "size": 8400000,
}


class Problem(BaseModel):
    """Why a request was not fulfilled."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"detail": "There is no such job: it may have expired."}}
    )
    detail: str = Field(description="One sentence: what is wrong and what to do.")


class ModelAnswer(BaseModel):
    """A model that can be used without a download."""

    name: str = Field(description="What to give as `model`.", examples=["band"])
    description: str = Field(description="What it separates and what it learnt from.")
    sources: list[str] = Field(description="Its stems.", examples=[["vocals", "drums"]])
    activity_sources: list[str] = Field(description="The stems whose activity it tells.")
    default: bool = Field(description="Whether it is used when none is named.")


class JobAnswer(BaseModel):
    """A song on its way to stems."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})
    id: str = Field(description="Its place in the API: 128 random bits.")
    name: str = Field(description="The song's name, for display.")
    model: str = Field(description="The model that separates it.")
    stems: list[str] = Field(description="The stems that are made.")
    gate: Literal["off", "raw", "median"] = Field(description="What silences idle stems.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    position: int | None = Field(description="Place in the queue, 1 for the next.")
    progress: float | None = Field(description="Share of the work that is done, 0 to 1.")
    seconds_done: float = Field(description="Seconds of the song that are separated.")
    seconds_total: float | None = Field(description="Seconds of the song.")
    speed: float | None = Field(description="Seconds of song per second of work.")
    eta: float | None = Field(description="Seconds until it is done, as far as one can tell.")
    error: str | None = Field(description="Why it failed, in one sentence.")
    warnings: list[str] = Field(description="What was wrong with the file, without stopping it.")
    created: str = Field(description="When it was uploaded (ISO 8601, UTC).")
    started: str | None = Field(description="When its separation began.")
    finished: str | None = Field(description="When it came to its end.")
    expires: str | None = Field(description="When it will be removed.")
    size: int = Field(description="Bytes on the disk, downloads that were made included.")


class JobList(BaseModel):
    """All jobs, oldest first."""

    jobs: list[JobAnswer]


class Limits(BaseModel):
    """What the studio takes."""

    max_upload: int = Field(description="Bytes of a song.")
    queue: int = Field(description="Songs that may wait.")
    keep_days: float = Field(description="Days after which a finished job is removed.")
    version: str = Field(description="Version of stemwise.")


def job_answer(job: Job, jobs: Jobs) -> dict[str, Any]:
    """A job as plain data in the shape of `JobAnswer`."""
    eta = None
    running = job.state == "running"
    if running and job.speed and job.seconds_total is not None:
        eta = round(max(0.0, job.seconds_total - job.seconds_done) / job.speed, 1)
    return {
        "id": job.id,
        "name": job.name,
        "model": job.model,
        "stems": list(job.stems),
        "gate": job.gate,
        "state": job.state,
        "position": jobs.position(job),
        "progress": None if job.progress is None else round(job.progress, 4),
        "seconds_done": round(job.seconds_done, 3),
        "seconds_total": None if job.seconds_total is None else round(job.seconds_total, 3),
        "speed": None if job.speed is None else round(job.speed, 2),
        "eta": eta,
        "error": job.error,
        "warnings": list(job.warnings),
        "created": _time(job.created),
        "started": _time(job.started),
        "finished": _time(job.finished),
        "expires": _time(job.expires),
        "size": job.size,
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_MEANINGS = {
    400: "The request does not make sense.",
    401: "The token is missing or wrong.",
    403: "The request came from another site's page.",
    404: "There is no such job, or nothing of that name in it.",
    408: "The upload was too slow.",
    409: "The job is in a state, or of a kind, that does not allow it.",
    411: "The body ended early.",
    413: "The song is larger than the studio takes.",
    415: "The body is not audio, or not sent as such.",
    416: "The file has no such range.",
    421: "The studio is not known under the host name of the request.",
    422: "A parameter has a value that is not possible.",
    429: "The queue is full; Retry-After says when to try again.",
    503: "Too many clients listen; Retry-After says when to try again.",
    507: "There is not enough room on the disk.",
}
EVERYWHERE = (401, 403, 421)
"""What `security` answers in front of every route."""


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of a route's errors, with those of every route."""
    return {
        code: {"model": Problem, "description": _MEANINGS[code]}
        for code in sorted({*codes, *EVERYWHERE})
    }


def file_of(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of an answer that is a file, whole or in part."""
    content = {
        kind: {
            "schema": {"type": "object"}
            if kind == "application/json"
            else {"type": "string", "format": "binary"}
        }
        for kind in kinds
    }
    return {
        200: {"description": "The file.", "content": content},
        206: {"description": "The part of it that the header Range asked for.", "content": content},
    }


def refuse(code: int, sentence: str, **headers: str) -> HTTPException:
    """The exception that answers with one sentence."""
    return HTTPException(code, sentence, {k.replace("_", "-"): v for k, v in headers.items()})


def no_job() -> HTTPException:
    """The answer to an id that is unknown or was never one."""
    return refuse(404, "There is no such job: it may have expired or been deleted.")


JOB_ID = Path(description="A job's id.", pattern=r"^[A-Za-z0-9_-]{22}$")
"""Ids are checked by their pattern before anything is looked up."""
