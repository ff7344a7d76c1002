"""The documentation of the API as a page that needs no script, made from the schema itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid #8886; margin-top: 2.5rem; padding-top: 1rem; font-size: 1.15rem }
code, h2 span { font-family: ui-monospace, monospace; overflow-wrap: anywhere }
h2 span { font-weight: 700 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
td, th { border-bottom: 1px solid #8884; padding: .25rem .75rem .25rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere }
caption { text-align: left; font-weight: 600 }
pre { overflow-x: auto; background: #8882; padding: .75rem }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def reference(schema: dict[str, Any]) -> str:
    """An HTML page of an OpenAPI schema: every route with parameters, answers and errors."""
    title = f"{escape(schema['info']['title'])}: API"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p>{_marked(schema['info']['description'])}</p>",
        '<p>As <a href="/api/openapi.json">OpenAPI</a>, for programs. '
        '<a href="/">Back to the studio</a></p>',
    ]
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts += _route(path, method, route)
    parts += ["<h2>Shapes</h2>"]
    for name, shape in schema["components"]["schemas"].items():
        if name not in ("HTTPValidationError", "ValidationError"):
            parts += _shape(name, shape)
    return "\n".join([*parts, "</body></html>"])


def _route(path: str, method: str, route: dict[str, Any]) -> list[str]:
    parts = [
        f'<h2 id="{route["operationId"]}"><span>{method.upper()} {escape(path)}</span></h2>',
        f"<p>{_marked(route['description'])}</p>",
    ]
    if "requestBody" in route:
        kinds = ", ".join(f"<code>{escape(one)}</code>" for one in route["requestBody"]["content"])
        parts.append(f"<p>Body: {_marked(route['requestBody']['description'])} As {kinds}.</p>")
    rows = [
        (f"<code>{escape(one['name'])}</code>", one["in"], _values(one["schema"]),
         _marked(one.get("description", "")))
        for one in route.get("parameters", [])
    ]  # fmt: skip
    parts += _table("Parameters", rows)
    answers = [
        (code, _kinds(one), _marked(one["description"])) for code, one in route["responses"].items()
    ]
    return [*parts, *_table("Answers", answers)]


def _shape(name: str, shape: dict[str, Any]) -> list[str]:
    rows = [
        (f"<code>{escape(key)}</code>", _values(one), _marked(one.get("description", "")))
        for key, one in shape["properties"].items()
    ]
    about = f"<p>{_marked(shape.get('description', ''))}</p>"
    return [f'<h3 id="{escape(name)}">{escape(name)}</h3>', about, *_table("Members", rows)]


def _table(caption: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return [f"<table><caption>{caption}</caption>", *lines, "</table>"]


def _kinds(answer: dict[str, Any]) -> str:
    named = []
    for kind, content in answer.get("content", {}).items():
        shape = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        link = f' <a href="#{escape(shape)}">{escape(shape)}</a>' if shape else ""
        named.append(f"<code>{escape(kind)}</code>{link}")
    return ", ".join(named)


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_values(one) for one in schema["anyOf"])
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"list of {_values(schema['items'])}"
    return escape(str(schema.get("type", "any")))


def _marked(text: str) -> str:
    """Text with its `code` as such."""
    pieces = escape(text, quote=False).split("`")
    return "".join(f"<code>{one}</code>" if at % 2 else one for at, one in enumerate(pieces))
