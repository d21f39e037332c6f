"""The document as a page for people: one file of HTML, no script, nothing from elsewhere."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from volcengine_gateway.openapi.document import SECURITY, document, tag_of
from volcengine_gateway.problems import Page

Json = dict[str, Any]

LOGINS = {
    json.dumps(SECURITY["anybody"]): "no key",
    json.dumps(SECURITY["operator"]): "admin key",
    json.dumps(SECURITY["operator_or_own"]): "admin key, or an account of your own",
    json.dumps(SECURITY["bearer"]): "admin key as bearer",
}
KEYS = {"AdminKey": "-H 'Admin-API-Key: '\"$ADMIN_API_KEY\"", "Bearer": "-H 'Authorization: Bearer '\"$ADMIN_API_KEY\""}
STYLE = Path(__file__).with_name("page.css")
CODE = re.compile(r"`([^`]+)`")


@cache
def docs_page() -> Page:
    """Return the page as it is served; a browser may load and run nothing for it but its own style."""
    style = STYLE.read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    body = page_of(document(), style)
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Page(body, "text/html; charset=utf-8", tag_of(body), headers)


def page_of(told: Json, style: str) -> str:
    """Return a document as HTML."""
    title = escape(told["info"]["title"])
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{style}</style></head><body>",
        f"<header><h1>{title}</h1><p>Version {escape(told['info']['version'])}. ",
        'The same for machines: <a href="openapi.json">openapi.json</a></p></header>',
        _contents(told),
        "<main>",
        _text(told["info"]["description"]),
        "".join(_group(told, tag) for tag in told["tags"]),
        _shapes(told["components"]["schemas"]),
        "</main></body></html>",
    ]
    return "\n".join(parts)


def _contents(told: Json) -> str:
    lines = "".join(
        f'<li><a href="#{operation["operationId"]}">{_route(path, method)}</a></li>'
        for path, method, operation in _operations(told)
    )
    return f'<nav><ul>{lines}<li><a href="#shapes">Shapes</a></li></ul></nav>'


def _operations(told: Json) -> Iterable[tuple[str, str, Json]]:
    return (
        (path, method, operation) for path, methods in told["paths"].items() for method, operation in methods.items()
    )


def _route(path: str, method: str) -> str:
    return f'<b class="{method}">{method.upper()}</b> <code>{escape(path)}</code>'


def _group(told: Json, tag: Json) -> str:
    inside = [
        _operation(path, method, operation)
        for path, method, operation in _operations(told)
        if operation["tags"] == [tag["name"]]
    ]
    return f"<h2>{escape(tag['name'])}</h2>{_text(tag['description'])}{''.join(inside)}"


def _operation(path: str, method: str, operation: Json) -> str:
    parts = [
        f'<section id="{operation["operationId"]}"><h3>{_route(path, method)}</h3>',
        f"<p><strong>{_inline(operation['summary'])}</strong> <em>{LOGINS[json.dumps(operation['security'])]}</em></p>",
        _text(operation.get("description", "")),
    ]
    if parameters := operation.get("parameters"):
        rows = [(one["name"], f"{one['in']}, {_kind(one['schema'])}", one["description"]) for one in parameters]
        parts.append("<h4>Parameters</h4>" + _table(("name", "is", "says"), rows))
    if body := operation.get("requestBody"):
        parts.append(f"<p>Body: {_kind(body['content']['application/json']['schema'])}</p>")
    parts.append("<h4>Requests</h4>")
    parts += [_example(operation, example, is_open=not index) for index, example in enumerate(operation["x-examples"])]
    replies = operation["responses"].items()
    answers = [_answer(status, reply) for status, reply in replies if status < "400"]
    parts.append(f"<h4>Answers</h4><dl>{''.join(answers)}</dl><h4>Errors</h4>")
    errors = [error for status, reply in replies if status >= "400" for error in _errors(status, reply)]
    return "".join([*parts, _table(("status", "code", "says"), errors), "</section>"])


def _errors(status: str, reply: Json) -> Iterable[tuple[str, str, str]]:
    """Return the errors of a status as rows."""
    headers = [f"`{name}`" for name in reply["headers"] if name != "X-Request-Id"]
    told = f" ({', '.join(headers)})" if headers else ""
    examples = reply["content"]["application/json"]["examples"]
    for code, example in examples.items():
        yield status, f"<code>{escape(code)}</code>", example["value"]["error"]["message"] + told


def _example(operation: Json, example: Json, *, is_open: bool) -> str:
    lines = [f'curl "$API_URL{example["path"]}"']
    if example["method"] not in {"GET", "POST"}:
        lines[0] = f'curl -X {example["method"]} "$API_URL{example["path"]}"'
    lines += [KEYS[scheme] for one in operation["security"][:1] for scheme in one]
    lines += [f"-H '{name}: {value}'" for name, value in example["headers"].items()]
    if example["body"] is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d '{json.dumps(example['body'], ensure_ascii=False, indent=2)}'")
    return _folded(example["summary"], " \\\n  ".join(lines), is_open=is_open)


def _folded(summary: str, shown: str, *, is_open: bool = False) -> str:
    state = " open" if is_open else ""
    return f"<details{state}><summary>{_inline(summary)}</summary><pre>{escape(shown, quote=False)}</pre></details>"


def _answer(status: str, reply: Json) -> str:
    content = reply.get("content", {})
    parts = [f"<dt>{status}</dt><dd>{_text(reply['description'])}"]
    if content:
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in content)
        schema = content.get("application/json", {}).get("schema")
        parts.append(f"<p>{kinds}{f': {_kind(schema)}' if schema else ''}</p>")
    headers = [f"<code>{escape(name)}</code>" for name in reply["headers"] if name != "X-Request-Id"]
    if headers:
        parts.append(f"<p>Headers: {', '.join(headers)}</p>")
    examples = [example for one in content.values() for example in one.get("examples", {}).values()]
    parts += [_folded(one["summary"], json.dumps(one["value"], ensure_ascii=False, indent=2)) for one in examples]
    return "".join(parts) + "</dd>"


def _shapes(schemas: Mapping[str, Json]) -> str:
    parts = ['<h2 id="shapes">Shapes</h2><p>Of bodies; fields in bold have to be there, or always are.</p>']
    for name, schema in schemas.items():
        rows = [
            (
                f"<b>{escape(field)}</b>" if field in schema.get("required", ()) else escape(field),
                _kind(shape),
                _inline(shape.get("description", "")),
            )
            for field, shape in schema.get("properties", {}).items()
        ]
        parts.append(f'<section id="shape-{name}"><h3>{name}</h3>{_text(schema.get("description", ""))}')
        parts.append(_table(("field", "is", "says"), rows, is_html=True) + "</section>")
    return "".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, is_html: bool = False) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    lines = []
    for name, kind, said in rows:
        first, last = (name, said) if is_html else (escape(name), _inline(said))
        lines.append(f"<tr><td><code>{first}</code></td><td>{kind}</td><td>{last}</td></tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _kind(schema: Json) -> str:
    """Return what a value may be, in words and as HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"]]
    elif "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        kinds = [" | ".join(f"<code>{escape(json.dumps(value, ensure_ascii=False))}</code>" for value in values)]
    elif schema.get("type") == "array":
        kinds = [f"list of {_kind(schema['items'])}"]
    else:
        kinds = [str(schema.get("type", "anything"))]
    told = " or ".join(dict.fromkeys(kinds)) + _bounds(schema)
    default = schema.get("default")
    return told if default in {None, ""} else f"{told}; <code>{escape(json.dumps(default))}</code> if left out"


def _bounds(schema: Json) -> str:
    """Return the bounds of a value, the outer ones of a list and of a text too."""
    told = []
    for least, most, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        low, high = schema.get(least), schema.get(most)
        if low is not None and high is not None:
            told.append(f"{low:,} to {high:,}{unit}")
        elif high is not None:
            told.append(f"at most {high:,}{unit}")
        elif low is not None:
            told.append(f"at least {low:,}{unit}")
    return f", {', '.join(told)}" if told else ""


def _text(said: str) -> str:
    """Return sentences as HTML: lines that begin with a dash are a list."""
    blocks = []
    for block in filter(None, said.strip().split("\n\n")):
        if block.startswith("- "):
            items = "".join(f"<li>{_inline(line.removeprefix('- '))}</li>" for line in block.split("\n"))
            blocks.append(f"<ul>{items}</ul>")
        else:
            blocks.append(f"<p>{_inline(block)}</p>")
    return "".join(blocks)


def _inline(said: str) -> str:
    return CODE.sub(r"<code>\1</code>", escape(said, quote=False))
