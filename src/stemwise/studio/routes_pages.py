"""Routes of pages: the studio itself, its assets, and the documentation of the API."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from stemwise.studio import reference
from stemwise.studio.answers import refuse

router = APIRouter(include_in_schema=False)
_KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
}


@router.get("/")
@router.head("/")
def page(request: Request) -> Response:
    """The studio."""
    return asset_answer(request, "studio.html")


@router.get("/assets/{name}")
@router.head("/assets/{name}")
def asset(request: Request, name: Annotated[str, Path(max_length=100)]) -> Response:
    """A file of the page."""
    return asset_answer(request, name)


@router.get("/api/docs")
@router.head("/api/docs")
def documentation(request: Request) -> Response:
    """The API for people."""
    page = reference.reference(request.app.openapi())
    headers = {"Content-Security-Policy": reference.POLICY}
    return Response(page, media_type="text/html; charset=utf-8", headers=headers)


def asset_answer(request: Request, name: str) -> Response:
    """A file that comes with the package; 304 where the client has it."""
    from hashlib import sha256

    found = {one.name: one for one in files("stemwise").joinpath("web").iterdir()}
    kind = _KINDS.get(name.rpartition(".")[2])
    if name not in found or kind is None:
        raise refuse(404, "The studio has no such file.")
    content = found[name].read_bytes()
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or f"W/{tag}" in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
