"""`/docs`: the OpenAPI document as one page for people, made here. It needs no script and nothing from elsewhere.

FastAPI's own pages come from a CDN: behind a firewall they stay white, and elsewhere they run what the CDN sends.
"""

import base64
import hashlib
import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h2 { margin: 2.5rem 0 .5rem; border-bottom: 1px solid #ccc }
summary { cursor: pointer; padding: .3rem 0 }
summary code { font-weight: 600 }
details > div { margin: 0 0 1.5rem 1.1rem }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #eee }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'"
"""The page's Content-Security-Policy: its own style, and nothing else."""
_METHODS = ("get", "post", "patch", "delete")
Schema = Mapping[str, Any]
router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Rendered once and kept by the application."""
    state = request.app.state
    page: str | None = getattr(state, "docs_page", None)
    if page is None:
        page = state.docs_page = render(request.app.openapi())
    return HTMLResponse(page)


def render(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document as services/api/openapi.py completes it."""
    info = document["info"]
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>{escape(info['title'])}</h1>{_paragraphs(info['description'])}",
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p><p>',
        *(f'<a href="#{escape(tag["name"])}">{escape(tag["name"])}</a> ' for tag in document["tags"]),
        "</p>",
    ]
    for tag in document["tags"]:
        parts.append(f'<h2 id="{escape(tag["name"])}">{escape(tag["name"])}</h2>{_paragraphs(tag["description"])}')
        for path, operations in document["paths"].items():
            for method in _METHODS:
                operation = operations.get(method)
                if operation is not None and operation["tags"] == [tag["name"]]:
                    parts.append(_operation(method.upper(), path, operation, document))
    return "".join([*parts, "</body></html>"])


def _operation(method: str, path: str, operation: Schema, document: Schema) -> str:
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary><code>{method} {escape(path)}</code> ',
        f"{escape(operation['summary'])}</summary><div>{_paragraphs(operation.get('description', ''))}",
    ]
    parameters = [
        (one["name"], one["in"], _kind(one["schema"], document), one["required"], one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    example = None
    if body is not None:
        model = _resolved(body, document)
        example = next(iter(model.get("examples", ())), None)
        needed = model.get("required", ())
        parameters += [
            (name, "body", _kind(one, document), name in needed, one.get("description", ""))
            for name, one in model.get("properties", {}).items()
        ]
    if parameters:
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code>{'' if needed else ' (optional)'}</td><td>{place}</td>"
            f"<td>{escape(kind)}</td><td>{escape(said)}</td></tr>"
            for name, place, kind, needed, said in parameters
        )
        parts.append(f"<table><tr><th>name</th><th>in</th><th>type</th><th></th></tr>{rows}</table>")
    parts.append(f"<pre>{escape(_curl(method, path, example, document))}</pre><table>")
    for status, answer in operation["responses"].items():
        parts.append(f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>")
    parts.append("</table>")
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        shown = next(iter(_resolved(schema, document).get("examples", ())), None) if schema else None
        if shown is not None:
            parts.append(f"<p>{status}:</p><pre>{escape(_pretty(shown))}</pre>")
    return "".join([*parts, "</div></details>"])


def _resolved(schema: Schema, document: Schema) -> Schema:
    """A schema itself where it is a reference, or may be null."""
    for one in schema.get("anyOf", ()):
        if "$ref" in one:
            schema = one
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Schema = document["components"]["schemas"][name] if name else schema
    return found


def _kind(schema: Schema, document: Schema) -> str:
    """A type in a few words."""
    choices = schema.get("enum") or _resolved(schema, document).get("enum")
    if choices:
        return " | ".join(map(str, choices))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_kind(one, document) for one in schema["anyOf"]))
    if "$ref" in schema:
        return str(_resolved(schema, document).get("title", "object"))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), document)}"
    default = f", {orjson.dumps(schema['default']).decode()} by default" if schema.get("default") is not None else ""
    return f"{schema.get('format') or schema.get('type', 'anything')}{default}"


def _curl(method: str, path: str, example: object, document: Schema) -> str:
    url = f"{document['servers'][0]['url']}{path}"
    line = " ".join(["curl", *(() if method == "GET" else ("-X", method)), url])
    if example is None:
        return line
    return f"{line} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(_pretty(example))}"


def _pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(one)}</p>" for one in text.split("\n\n") if one.strip())
