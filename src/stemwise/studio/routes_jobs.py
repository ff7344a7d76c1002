"""Routes of jobs: models, upload, listing, events, cancelling, deleting."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from stemwise import __version__
from stemwise.studio import answers
from stemwise.studio.answers import JobAnswer, JobList, Limits, ModelAnswer, job_answer, problems
from stemwise.studio.events import EventStream, TooManyListeners
from stemwise.studio.jobs import Job
from stemwise.studio.offers import default
from stemwise.studio.settings import DAY
from stemwise.studio.studio import Studio
from stemwise.studio.uploads import check_kind, draining

router = APIRouter(prefix="/api")


async def studio_of(request: Request) -> Studio:
    """The studio behind a request; in the event loop, as a trip to a thread costs more."""
    found: Studio = request.app.state.studio
    return found


Here = Annotated[Studio, Depends(studio_of)]


async def job_of(
    studio: Here,
    id: Annotated[str, answers.JOB_ID],
) -> Job:
    """The job that a request names. Raises 404."""
    job = studio.find(id)
    if job is None:
        raise answers.no_job()
    return job


Known = Annotated[Job, Depends(job_of)]
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The song: any audio or video file that has sound.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `job` with a job, `deleted` with an id.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "event": {"type": "string", "enum": ["job", "deleted"]},
                        "data": {"type": "string", "description": "JSON: a job, or its id."},
                    },
                },
                "example": 'event: deleted\ndata: {"id": "q0mXv3cB1vJ8Zr5yTn2KdA"}\n\n',
            }
        },
    }
}


@router.get("/models", tags=["studio"], responses=problems(503))
async def list_models(studio: Here) -> list[ModelAnswer]:
    """List the models that can be used without a download, the default one marked."""
    offered = await studio.offers()
    return [
        ModelAnswer(
            name=one.name,
            description=one.description,
            sources=list(one.sources),
            activity_sources=list(one.activity_sources),
            default=one.name == default(offered),
        )
        for one in offered.values()
    ]


@router.get("/limits", tags=["studio"], responses=problems())
async def show_limits(studio: Here) -> Limits:
    """Show how large a song may be, how many may wait, and how long they are kept."""
    settings = studio.settings
    return Limits(
        max_upload=settings.max_upload,
        queue=settings.queue,
        keep_days=settings.keep / DAY,
        version=__version__,
    )


@router.post(
    "/jobs",
    tags=["jobs"],
    status_code=201,
    response_model=JobAnswer,
    responses=problems(400, 408, 413, 415, 422, 429, 503, 507),
    openapi_extra=_BODY,
)
async def upload_song(
    request: Request,
    response: Response,
    studio: Here,
    name: Annotated[
        str, Query(max_length=4096, description="The song's file name, for display alone.")
    ] = "song",
    model: Annotated[
        str | None, Query(max_length=200, description="A name of /api/models; else the default.")
    ] = None,
    stems: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="The stems that are wanted, separated by commas; else all.",
            examples=["vocals,drums"],
        ),
    ] = None,
    gate: Annotated[
        Literal["off", "raw", "median"],
        Query(description="Silence stems where they do not play: by frame, or smoothed."),
    ] = "off",
) -> dict[str, Any]:
    """Upload a song as the request's body; it is queued and separated in its turn."""
    async with draining(request) as song:
        check_kind(request.headers.get("content-type"))
        studio.check_length(request)
        job = await studio.accept(song, name, model, stems, gate)
    response.headers["Location"] = f"/api/jobs/{job.id}"
    return job_answer(job, studio.jobs)


@router.get("/jobs", tags=["jobs"], response_model=JobList, responses=problems())
async def list_jobs(studio: Here) -> Response:
    """List all jobs, oldest first."""
    # what is asked most often is not checked against its shape each time: the tests do that
    return JSONResponse({"jobs": [job_answer(job, studio.jobs) for job in studio.jobs.all()]})


@router.get(
    "/events",
    tags=["jobs"],
    response_class=Response,
    responses={**_EVENTS, **problems(503)},
)
async def stream_events(studio: Here) -> EventStream:
    """Follow all jobs: first each one as it is, then every change, until the client leaves."""
    return _stream(studio, None)


@router.get("/jobs/{id}", tags=["jobs"], response_model=JobAnswer, responses=problems(404, 422))
async def show_job(job: Known, studio: Here) -> Response:
    """Show a job: its state, its progress, what went wrong."""
    return JSONResponse(job_answer(job, studio.jobs))


@router.get(
    "/jobs/{id}/events",
    tags=["jobs"],
    response_class=Response,
    responses={**_EVENTS, **problems(404, 422, 503)},
)
async def stream_job_events(job: Known, studio: Here) -> EventStream:
    """Follow one job, until it comes to its end."""
    return _stream(studio, job)


@router.post(
    "/jobs/{id}/cancel",
    tags=["jobs"],
    response_model=JobAnswer,
    responses=problems(404, 409, 422),
)
async def cancel_job(job: Known, studio: Here) -> dict[str, Any]:
    """Stop a job that waits or runs; a running one is `cancelled` within seconds."""
    stopped = await run_in_threadpool(studio.cancel, job)
    if stopped is None:
        raise answers.refuse(409, "The job has come to its end already.")
    return job_answer(stopped, studio.jobs)


@router.post(
    "/jobs/{id}/retry",
    tags=["jobs"],
    response_model=JobAnswer,
    responses=problems(404, 409, 422, 429),
)
async def retry_job(job: Known, studio: Here) -> dict[str, Any]:
    """Queue a job again that failed or was cancelled."""
    queued = await run_in_threadpool(studio.retry, job)
    if queued is None:
        raise answers.refuse(409, "Only a job that failed or was cancelled can be tried again.")
    return job_answer(queued, studio.jobs)


@router.delete("/jobs/{id}", tags=["jobs"], status_code=204, responses=problems(404, 422))
async def delete_job(job: Known, studio: Here) -> None:
    """Remove a job with its song and everything made of it; a running one is stopped."""
    await run_in_threadpool(studio.delete, job.id)


def _stream(studio: Studio, job: Job | None) -> EventStream:
    try:
        listener = studio.listen(job)
    except TooManyListeners as error:
        raise answers.refuse(
            503, "Too many clients listen already: ask for the jobs instead.", Retry_After="30"
        ) from error
    return EventStream(studio.hub, listener, studio.settings.heartbeat)
