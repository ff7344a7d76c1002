"""The API against its own schema, with values that nobody would think of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.studio.conftest import Live, song

from stemwise.studio import routes_jobs, routes_results

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
BOUNDED = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def separated(live: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("fuzz") / "song.wav"
    return live.client.separate(song(path, 0.5))


@pytest.fixture(scope="module")
def schema(live: Live) -> Any:
    return schemathesis.openapi.from_url(f"{live.client.base_url}/api/openapi.json")


def _routes() -> dict[tuple[str, str], bool]:
    """Method and path of every route, and whether it has parameters."""
    app = FastAPI()
    for part in (routes_jobs, routes_results):
        app.include_router(part.router)
    return {
        (method, path): "parameters" in route
        for path, methods in app.openapi()["paths"].items()
        for method, route in methods.items()
        if path != "/api/events"  # a stream that does not end; test_server_work listens to it
    }


ROUTES = _routes()
RESULTS = [path for method, path in ROUTES if "{id}/" in path and method == "get"]


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (*route, mode)
        for route, has_parameters in ROUTES.items()
        for mode in GenerationMode
        if has_parameters or mode is GenerationMode.POSITIVE  # else there is nothing to forbid
    ],
)
def test_any_request_is_answered_as_documented(
    schema: Any, method: str, path: str, mode: GenerationMode
) -> None:
    """Also what the schema forbids; ids are those of no job."""

    @BOUNDED
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.call_and_validate(checks=CHECKS)

    ask()


@pytest.mark.parametrize("path", RESULTS)
def test_any_request_for_results_is_answered_as_documented(
    schema: Any, path: str, separated: str
) -> None:
    """The same of a job that has results."""

    @BOUNDED
    @given(case=schema[path]["get"].as_strategy())
    def ask(case: Case) -> None:
        case.path_parameters["id"] = separated
        case.call_and_validate(checks=CHECKS)

    ask()
