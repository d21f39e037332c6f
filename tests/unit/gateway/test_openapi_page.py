"""The page about the routes: whole, quiet, and from nowhere else."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from tests.support.documented import operations
from tests.support.gateway import Bench, event
from volcengine_gateway.openapi.document import document
from volcengine_gateway.openapi.page import docs_page, page_of

VOID = {"meta"}


class Reader(HTMLParser):
    """Reads a page as a browser does, and keeps what it would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_is_whole_and_loads_and_runs_nothing() -> None:
    reader = read(docs_page().body)
    links = [value for name, value in reader.attributes if name == "href"]
    ids = [value for name, value in reader.attributes if name == "id"]

    assert reader.open == []
    assert not reader.tags & {"script", "img", "link", "iframe", "form", "object", "base"}
    assert not [name for name, _ in reader.attributes if name in {"src", "style"} or name.startswith("on")]
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert len(ids) == len(set(ids))


async def test_a_browser_may_use_the_pages_own_style_and_nothing_else() -> None:
    told = await Bench().ask(event("GET", "/docs"))
    found = re.search(r"<style>(.*?)</style>", told.body, re.DOTALL)
    assert found
    digest = b64encode(sha256(found[1].encode()).digest()).decode()

    assert "url(" not in found[1]
    assert told.headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert told.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_tells_every_route_parameter_error_and_shape() -> None:
    body = docs_page().body
    for path, method, operation in operations():
        section = body.partition(f'<section id="{operation["operationId"]}">')[2].partition("</section>")[0]
        assert f"<code>{path}</code>" in section
        assert f">{method.upper()}<" in section
        assert "curl " in section
        for parameter in operation.get("parameters", []):
            assert f"<code>{parameter['name']}</code>" in section
        for status, reply in operation["responses"].items():
            assert status in section
            codes = reply.get("content", {}).get("application/json", {}).get("examples", {}) if status >= "400" else {}
            assert all(f"<code>{code}</code>" in section for code in codes)

    assert all(f'id="shape-{name}"' in body for name in document()["components"]["schemas"])


def test_what_is_said_in_the_document_can_not_become_markup() -> None:
    told = {**document(), "info": {"title": "<b>", "version": "<i>", "description": "<u>`<s>`"}}

    reader = read(page_of(told, ""))

    assert not reader.tags & {"i", "u", "s"}
