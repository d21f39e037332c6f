"""Texts that no voice can speak: a clear answer on every door, and never a 5xx. With the real ways to the upstream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.upstream import Rules, Upstream
from tests.support.gateway import ADMIN_KEY as BENCH_KEY
from tests.support.gateway import Bench, event
from tests.support.jobs import Workshop
from tests.support.rehearsal import ADMIN_KEY, settings_of
from volcengine_client.clock import SystemClock
from volcengine_gateway.server import Application

ENGLISH = "BV027_streaming"
FIVE_MB = "好" * (5 * 1024 * 1024 // 3)


@dataclass
class Server:
    """A self-hosted server, asked in this process, and its upstream."""

    application: Application
    upstream: Upstream

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Return status and JSON of an answer."""
        content = json.dumps(body).encode()
        shown = {"admin-api-key": ADMIN_KEY, "authorization": f"Bearer {ADMIN_KEY}", **headers}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in shown.items()],
        }
        told: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": content}

        async def send(message: MutableMapping[str, Any]) -> None:
            told.append(message)

        await self.application(scope, receive, send)
        return told[0]["status"], json.loads(told[1]["body"])

    async def task(self, **task: Any) -> Any:
        """Return the result of a task beside one that is fine."""
        status, said = await self.post("/generate-batch", {"tasks": [{"text": "fine"}, task]})
        assert status == 200, said
        assert said["results"][0]["error"] is None
        return said["results"][1]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    upstream = Upstream(Rules(mean_ms=0))
    await upstream.start()
    application = Application(settings_of(upstream.url, str(tmp_path)), clock=SystemClock())
    yield Server(application, upstream)
    await application.close()
    await upstream.stop()


@pytest.mark.parametrize(
    "task",
    [
        {"text": "😀"},
        {"text": "😀😀👍🏽 🇨🇳"},
        {"text": "……。！？"},
        {"text": "\u0007\u0000\u001b"},
        {"text": "\u200b\u2060"},
        {"text": "中文", "voice_type": ENGLISH},
    ],
)
async def test_a_text_that_a_voice_can_not_read_is_its_tasks_error(server: Server, task: dict[str, Any]) -> None:
    result = await server.task(**task)

    assert result["audio_base64"] == ""
    assert result["error"]["code"] == "text_refused"
    assert result["error"]["retryable"] is False


async def test_a_text_alone_that_can_not_be_read_is_no_error_of_the_server(server: Server) -> None:
    status, said = await server.post("/generate-batch", {"tasks": [{"text": "😀"}]})
    asked = {"model": "tts-1", "input": "😀", "voice": "alloy"}
    openai_status, openai_said = await server.post("/v1/audio/speech", asked)

    assert (status, said["results"][0]["error"]["code"]) == (200, "text_refused")
    assert (openai_status, openai_said["error"]["code"], openai_said["error"]["param"]) == (
        400,
        "text_refused",
        "input",
    )


async def test_control_characters_within_a_text_are_left_out_and_not_billed(server: Server) -> None:
    result = await server.task(text="a\u0000b\u0007c\u009f")

    assert result["error"] is None
    assert result["audio_base64"]
    assert result["characters"] == 3


@pytest.mark.parametrize("field", ["task_id", "voice_type", "output_filename", "emotion"])
async def test_control_characters_in_a_name_are_refused(server: Server, field: str) -> None:
    status, said = await server.post("/generate-batch", {"tasks": [{"text": "fine", field: "a\u0000b"}]})

    assert (status, said["error"]["details"]["fields"][0]["field"]) == (422, f"tasks[0].{field}")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/generate-batch", {"tasks": [{"text": FIVE_MB}]}, 422, "invalid_request"),
        ("/jobs", {"tasks": [{"text": FIVE_MB}]}, 422, "invalid_request"),
        ("/v1/audio/speech", {"model": "tts-1", "input": FIVE_MB, "voice": "alloy"}, 400, "invalid_request"),
    ],
)
async def test_five_megabytes_of_text_are_refused_with_the_bound_by_a_server_that_reads_as_much(
    server: Server, path: str, body: Any, status: int, code: str
) -> None:
    told, said = await server.post(path, body)

    assert (told, said["error"]["code"]) == (status, code)
    assert "should have at most" in said["error"]["message"]
    assert len(json.dumps(said)) < 1_000


@pytest.mark.parametrize("path", ["/generate-batch", "/jobs", "/v1/audio/speech"])
async def test_five_megabytes_of_text_are_larger_than_a_body_of_lambdas(path: str, tmp_path: Path) -> None:
    bench = Workshop(tmp_path).bench()
    body = json.dumps({"tasks": [{"text": FIVE_MB}]}, ensure_ascii=False)
    told = await bench.ask(event("POST", path, body=body, admin_key=BENCH_KEY, Authorization=f"Bearer {BENCH_KEY}"))

    assert (told.status, told.error["code"]) == (413, "too_large")
    assert bench.voice.spoken == []


@pytest.mark.parametrize(
    ("ssml", "reason"),
    [
        ("<speak>好", "the SSML is broken at line 1, column 9"),
        ("好", "the SSML is broken at line 1, column 1"),
        ("<speak>&nobody;</speak>", "undefined entity"),
        ("<!DOCTYPE a [<!ENTITY b 'x'>]><speak>&b;</speak>", "declares a document type"),
        (f"<speak><p>{'好' * 700}</p></speak>", "the element at line 1, column 8 has 707 characters; a segment holds"),
        (f"<speak>{'好' * 100_001}</speak>", "should have at most 100000 characters"),
    ],
)
@pytest.mark.parametrize("path", ["/generate-batch", "/jobs"])
async def test_ssml_that_is_broken_or_too_long_is_refused_with_its_place(
    server: Server, path: str, ssml: str, reason: str
) -> None:
    status, said = await server.post(path, {"tasks": [{"text": "fine"}, {"text": ssml, "text_type": "ssml"}]})
    (told,) = said["error"]["details"]["fields"]

    assert (status, told["field"]) == (422, "tasks[1].text")
    assert reason in told["message"]
    assert "好好" not in json.dumps(said, ensure_ascii=False)


async def test_ssml_for_a_voice_that_takes_none_is_its_tasks_error(server: Server) -> None:
    result = await server.task(text="<speak>好</speak>", text_type="ssml", voice_type="zh_female_vv_uranus_bigtts")

    assert result["error"]["code"] == "option_refused"


async def test_ssml_with_nothing_to_say_is_its_tasks_error(server: Server) -> None:
    result = await server.task(text='<speak><break time="1s"/></speak>', text_type="ssml")

    assert result["error"]["code"] == "text_refused"


async def test_subtitles_for_a_voice_without_times_are_laid_evenly_and_have_no_words() -> None:
    bench = Bench()  # whose upstream tells no times
    told = await bench.post({"tasks": [{"text": "第一句。第二句。", "subtitles": "json"}]})
    subtitles = json.loads(told.said["results"][0]["subtitles"])

    assert told.status == 200
    assert subtitles["words"] is None
    assert [cue["text"] for cue in subtitles["cues"]] == ["第一句。", "第二句。"]
    assert subtitles["cues"][-1]["end_ms"] <= subtitles["duration_ms"] == 1_000


async def test_subtitles_in_a_form_that_there_is_not_are_refused(server: Server) -> None:
    status, said = await server.post("/generate-batch", {"tasks": [{"text": "好", "subtitles": "ass"}]})

    assert (status, said["error"]["details"]["fields"][0]["field"]) == (422, "tasks[0].subtitles")
