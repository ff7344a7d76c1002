"""The web application: routes, errors as sentences, and the guard in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from stemwise import __version__
from stemwise.studio import routes_jobs, routes_pages, routes_results
from stemwise.studio.security import Guard
from stemwise.studio.settings import Settings
from stemwise.studio.studio import Studio

_DESCRIPTION = (
    "Separate songs into stems, follow the work, fetch the results. Every error is "
    '`{"detail": "one sentence"}`. Audio and downloads can be had in parts (header Range).'
)


def create_app(settings: Settings) -> FastAPI:
    """The application of a studio. Raises StudioError where its folder cannot be used."""
    studio = Studio(settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        studio.start(asyncio.get_running_loop())
        try:
            yield
        finally:
            await run_in_threadpool(studio.close)

    app = FastAPI(
        title="stemwise studio",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
    )
    app.state.studio = studio
    if settings.token is not None:
        app.openapi = partial(_with_token, app, app.openapi)  # type: ignore[method-assign]
    app.add_middleware(Guard, settings=settings)
    app.add_exception_handler(HTTPException, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    for part in (routes_jobs, routes_results, routes_pages):
        app.include_router(part.router)
    return app


def _with_token(app: FastAPI, plain: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The schema, which says that every route needs the token."""
    schema = plain()
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}]
    return schema


async def _problem(request: Request, error: Exception) -> Response:
    problem = cast(HTTPException, error)
    detail = problem.detail
    if problem.status_code == 404 and detail == "Not Found":
        detail = "There is nothing at this address."
    if problem.status_code == 405:
        detail = f"The method {request.method} is not possible here."
    return JSONResponse({"detail": detail}, problem.status_code, problem.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """The first of what is wrong, as a sentence."""
    first = cast(RequestValidationError, error).errors()[0]
    name = str(first["loc"][-1])
    reason = str(first["msg"]).removeprefix("Value error, ")
    return JSONResponse({"detail": f"The parameter {name} is not possible: {reason}."}, 422)
