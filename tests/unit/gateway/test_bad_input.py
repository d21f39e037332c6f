"""What a caller can get wrong: each with status and body, and nothing called."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, CALLER_LOGIN, Bench, Told, event
from tests.support.jobs import Workshop

pytestmark = pytest.mark.looptime

TASK = {"task_id": "t1", "text": "hello"}
OWN = {
    "volcengine_tts_appid": CALLER_LOGIN.app_id,
    "volcengine_tts_access_key": CALLER_LOGIN.access_key,
}
SECRET = "s3cret-of-the-caller"


def fields_of(told: Told) -> dict[str, dict[str, Any]]:
    return {field["field"]: field for field in told.error["details"]["fields"]}


def assert_nothing_was_called(bench: Bench) -> None:
    assert bench.voice.spoken == []
    assert bench.journal.batches == []
    assert bench.journal.bugs == []


@pytest.mark.parametrize(
    ("body", "field", "part"),
    [
        ("hello", "body", "Invalid JSON"),
        ("", "body", "Invalid JSON"),
        ('{"tasks": [{"text": "hello"}', "body", "Invalid JSON"),
        ("[" * 100_000, "body", "recursion limit"),
        ('{"tasks":' + "[" * 100_000, "body", "recursion limit"),
        ('{"a":' * 100_000, "body", "recursion limit"),
        ('{"tasks": [{"text": "\\ud800"}]}', "body", "Invalid JSON"),
        ("[]", "body", "object"),
        ("null", "body", "object"),
        ({}, "tasks", "required"),
        ({"tasks": None}, "tasks", "array"),
        ({"tasks": {"text": "hello"}}, "tasks", "array"),
        ({"tasks": ["hello"]}, "tasks[0]", "object"),
        ({"tasks": [TASK] * 1_001}, "tasks", "at most 1000"),
        ({"tasks": [TASK, {"task_id": "t2"}]}, "tasks[1].text", "required"),
        ({"tasks": [TASK, {"text": ""}]}, "tasks[1].text", "not be empty"),
        ({"tasks": [{"text": " \n\t "}]}, "tasks[0].text", "not be empty"),
        ({"tasks": [{"text": None}]}, "tasks[0].text", "string"),
        ({"tasks": [{"text": 7}]}, "tasks[0].text", "string"),
        ({"tasks": [{"text": "hello", "prompt": "hello"}]}, "tasks[0].text", "not both"),
        ({"tasks": [{"text": "hello", "speed": 0.1}]}, "tasks[0].speed", "greater than or equal to 0.2"),
        ({"tasks": [{"text": "hello", "speed": 3.1}]}, "tasks[0].speed", "less than or equal to 3"),
        ({"tasks": [{"text": "hello", "speed": "fast"}]}, "tasks[0].speed", "number"),
        ({"tasks": [{"text": "hello", "speed": True}]}, "tasks[0].speed", "number"),
        ({"tasks": [{"text": "hello", "speed": "1.5"}]}, "tasks[0].speed", "not a string"),
        ({"tasks": [], "cache": "true"}, "cache", "boolean"),
        ({"tasks": [], "credentials": {"volcengine_tts_concurrency": "3"}}, "concurrency", "not a string"),
        ('{"tasks": [{"text": "hello", "speed": NaN}]}', "tasks[0].speed", "finite"),
        ('{"tasks": [{"text": "hello", "speed": 1e999}]}', "tasks[0].speed", "finite"),
        ({"tasks": [{"text": "hello", "volume": 0}]}, "tasks[0].volume", "greater than or equal to 0.1"),
        ({"tasks": [{"text": "hello", "volume": 4}]}, "tasks[0].volume", "less than or equal to 3"),
        ({"tasks": [{"text": "hello", "pitch": -12.5}]}, "tasks[0].pitch", "greater than or equal to -12"),
        ({"tasks": [{"text": "hello", "pitch": 13}]}, "tasks[0].pitch", "less than or equal to 12"),
        ({"tasks": [{"text": "hello", "encoding": "flac"}]}, "tasks[0].encoding", "'mp3'"),
        ({"tasks": [{"text": "hello", "sample_rate": 11025}]}, "tasks[0].sample_rate", "16000"),
        ({"tasks": [{"text": "hello", "task_id": "x" * 129}]}, "tasks[0].task_id", "at most 128"),
        ({"tasks": [{"text": "hello", "task_id": "a\x00"}]}, "tasks[0].task_id", "Control characters"),
        ({"tasks": [{"text": "hello", "voice_type": ""}]}, "tasks[0].voice_type", "at least 1"),
        ({"tasks": [{"text": "hello", "txt": "hello"}]}, "tasks[0].txt", "Unknown field"),
        ({"tasks": [{"text": "hello", "<script>": 1}]}, "tasks[0].?", "Unknown field"),
        ({"tasks": [TASK], "app": "my app"}, "app", "pattern"),
        ({"tasks": [TASK], "app": "x" * 65}, "app", "at most 64"),
        ({"tasks": [TASK], "credentials": []}, "credentials", "object"),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": 0}}, "concurrency", "or equal to 1"),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": -3}}, "concurrency", "or equal to 1"),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": 1_001}}, "concurrency", "1000"),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": "many"}}, "concurrency", "number"),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": 2.5}}, "concurrency", "integer"),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_appid": 5}}, "appid", "string"),
        ({"tasks": [{"text": "hello", "output_filename": "../x.mp3"}]}, "tasks[0].output_filename", "bare"),
        ({"tasks": [{"text": "hello", "output_filename": "a/b.mp3"}]}, "tasks[0].output_filename", "bare"),
        ({"tasks": [{"text": "hello", "output_filename": "a\\b.mp3"}]}, "tasks[0].output_filename", "bare"),
        ({"tasks": [{"text": "hello", "output_filename": "NUL.mp3"}]}, "tasks[0].output_filename", "reserved"),
        ({"tasks": [{**TASK, "output_filename": "a.wav", "encoding": "mp3"}]}, "tasks[0].output_filename", "is mp3"),
        ({"tasks": [TASK], "account": "nobodys"}, "account", "No account"),
        ({"tasks": [TASK], "account": "nobodys", "credentials": OWN}, "account", "not both"),
        ({"tasks": [TASK], "endpoint": "http://127.0.0.1"}, "endpoint", "Unknown field"),
    ],
)
async def test_a_wrong_field_is_named(body: Any, field: str, part: str) -> None:
    bench = Bench()

    told = await bench.post(body)

    assert told.status == 422
    assert told.error["code"] == "invalid_request"
    assert told.error["retryable"] is False
    assert told.error["request_id"] == "request-1"
    found = next(one for name, one in fields_of(told).items() if name.endswith(field))
    assert part in found["message"]
    assert_nothing_was_called(bench)


async def test_bad_utf_8_is_refused() -> None:
    bench = Bench()
    body = base64.b64encode(b'{"tasks": [{"text": "\xff\xfe"}]}').decode()

    told = await bench.ask(
        {**event("POST", "/generate-batch", body=body, admin_key=ADMIN_KEY), "isBase64Encoded": True}
    )

    assert told.status == 422
    assert fields_of(told)["body"]["message"].startswith("Invalid JSON")
    assert_nothing_was_called(bench)


async def test_a_lone_surrogate_in_the_event_is_refused() -> None:
    bench = Bench()

    told = await bench.post('{"tasks": [{"text": "\ud800"}]}')

    assert told.status == 422
    assert_nothing_was_called(bench)


async def test_a_body_that_is_not_the_base64_it_claims_to_be_is_refused() -> None:
    bench = Bench()

    told = await bench.ask({**event("POST", "/generate-batch", body="%", admin_key=ADMIN_KEY), "isBase64Encoded": True})

    assert told.status == 422
    assert_nothing_was_called(bench)


async def test_a_text_is_measured_in_characters_and_the_bound_is_named() -> None:
    bench = Bench()

    told = await bench.post({"tasks": [{"text": "fine"}, {"text": "好" * 100_001}]})

    assert told.status == 422
    field = fields_of(told)["tasks[1].text"]
    assert field["bound"] == 100_000
    assert "100000 characters, it has 100001" in field["message"]
    assert_nothing_was_called(bench)


async def test_bounds_are_told_apart_from_the_sentence() -> None:
    bench = Bench()

    told = await bench.post({"tasks": [{"text": "hello", "speed": 9}] * 3 + [TASK] * 998})
    fields = (await bench.post({"tasks": [{"text": "hello", "speed": 9, "pitch": 99}]})).error["details"]["fields"]

    assert fields_of(told)["tasks"]["bound"] == 1_000
    assert {field["field"]: field["bound"] for field in fields} == {"tasks[0].speed": 3.0, "tasks[0].pitch": 12.0}


async def test_many_wrong_fields_are_counted_and_some_named() -> None:
    bench = Bench()

    told = await bench.post({"tasks": [{"text": ""}] * 500})

    assert told.status == 422
    assert len(told.error["details"]["fields"]) == 20
    assert told.error["details"]["fields_count"] == 500
    assert "499 more" in told.error["message"]
    assert_nothing_was_called(bench)


@pytest.mark.parametrize(
    "credentials",
    [
        {"volcengine_tts_appid": CALLER_LOGIN.app_id},
        {"volcengine_tts_access_key": SECRET},
        {"volcengine_tts_appid": CALLER_LOGIN.app_id, "volcengine_tts_access_key": ""},
        {"volcengine_tts_appid": "", "volcengine_tts_access_key": SECRET, "volcengine_tts_concurrency": 3},
        {"volcengine_tts_appid": None, "volcengine_tts_access_key": SECRET},
        {"volcengine_tts_appid": "with space", "volcengine_tts_access_key": SECRET},
    ],
)
@pytest.mark.parametrize("tasks", [[TASK], []])
async def test_half_of_the_credentials_is_none(credentials: dict[str, Any], tasks: list[Any]) -> None:
    bench = Bench()

    told = await bench.post({"tasks": tasks, "credentials": credentials})

    assert told.status == 400
    assert told.error["code"] == "invalid_credentials"
    assert SECRET not in told.body
    assert_nothing_was_called(bench)


@pytest.mark.parametrize(
    ("body", "admin_key"),
    [
        ({"tasks": [TASK]}, "wrong"),
        ({"tasks": [TASK]}, None),
        ({"tasks": [TASK]}, ""),
        ({"tasks": [TASK]}, ADMIN_KEY + "x"),
        ({"tasks": [TASK]}, "schlüssel"),
        ({"tasks": [TASK], "credentials": OWN}, "wrong"),
        ({"tasks": []}, "wrong"),
        ({"tasks": 1}, "wrong"),
        ({"tasks": [TASK], "account": "nobodys"}, None),
        ({"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": 2}}, None),
    ],
)
async def test_a_wrong_or_missing_admin_key_is_refused(body: Any, admin_key: str | None) -> None:
    bench = Bench()

    told = await bench.post(body, admin_key=admin_key)

    assert told.status == 401
    assert told.error["code"] == "invalid_admin_key"
    assert told.headers["WWW-Authenticate"] == "Admin-API-Key"
    assert ADMIN_KEY not in told.body
    assert_nothing_was_called(bench)


@pytest.mark.parametrize("is_base64", [False, True])
async def test_a_body_that_is_too_large_is_refused(*, is_base64: bool) -> None:
    bench = Bench()
    body = json.dumps({"tasks": [TASK], "pad": "x" * 4 * 1024 * 1024})
    text = base64.b64encode(body.encode()).decode() if is_base64 else body

    told = await bench.ask(
        {**event("POST", "/generate-batch", body=text, admin_key=ADMIN_KEY), "isBase64Encoded": is_base64}
    )

    assert told.status == 413
    assert told.error["code"] == "too_large"
    assert told.error["details"] == {"bound": 4 * 1024 * 1024}
    assert "4,194,304 bytes" in told.error["message"]
    assert_nothing_was_called(bench)


async def test_a_body_of_just_the_bound_is_read() -> None:
    bench = Bench()
    body = json.dumps({"tasks": []})

    told = await bench.post(body + " " * (4 * 1024 * 1024 - len(body)))

    assert told.status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_is_not_json_by_content_type_is_refused(content_type: str) -> None:
    bench = Bench()
    text = json.dumps({"tasks": [TASK]})

    told = await bench.ask(event("POST", "/generate-batch", body=text, admin_key=ADMIN_KEY, Content_Type=content_type))

    assert told.status == 415
    assert told.error["code"] == "unsupported_media_type"
    assert_nothing_was_called(bench)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "text/vnd.x+json", ""])
async def test_json_by_any_name_is_read(content_type: str) -> None:
    bench = Bench()
    text = json.dumps({"tasks": [TASK]})

    told = await bench.ask(event("POST", "/generate-batch", body=text, admin_key=ADMIN_KEY, content_type=content_type))

    assert told.status == 200


@pytest.mark.parametrize("path", ["/no-such-route", "/generate-batch/", "/pools/a/b", "//", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "BREW"])
async def test_an_unknown_route_is_told(method: str, path: str) -> None:
    bench = Bench()

    told = await bench.ask(event(method, path))

    assert told.status == 404
    assert told.error["code"] == "unknown_route"
    assert bench.journal.requests[0].route == "?"
    assert_nothing_was_called(bench)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/generate-batch", "POST, OPTIONS"),
        ("HEAD", "/generate-batch", "POST, OPTIONS"),
        ("DELETE", "/generate-batch", "POST, OPTIONS"),
        ("BREW", "/generate-batch", "POST, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("PUT", "/pools", "GET, HEAD, OPTIONS"),
        ("POST", "/voices", "GET, HEAD, OPTIONS"),
        ("POST", "/pools/server", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_with_the_right_ones(method: str, path: str, allow: str) -> None:
    bench = Bench()

    told = await bench.ask(event(method, path, body=json.dumps({"tasks": [TASK]}), admin_key=ADMIN_KEY))

    assert told.status == 405
    assert told.headers["Allow"] == allow
    assert told.error["code"] == "method_not_allowed"
    assert_nothing_was_called(bench)


async def test_no_answer_repeats_what_was_given() -> None:
    bench = Bench()
    canary = "canary-7f3a"
    bodies: list[Any] = [
        {"tasks": [{"text": canary, "speed": canary, "encoding": canary, "task_id": 3, "sample_rate": canary}]},
        {"tasks": [TASK], "credentials": {"volcengine_tts_access_key": canary}},
        {
            "tasks": [TASK],
            "credentials": {"volcengine_tts_appid": [canary], "volcengine_tts_access_key": {"a": canary}},
        },
        {"tasks": [TASK], "credentials": {"volcengine_tts_concurrency": canary}},
        {"tasks": [{"text": canary, "prompt": canary}]},
        {"tasks": [{"text": canary * 200}], "app": canary + " "},
        {"tasks": [TASK], "account": canary, "credentials": canary},
        f"not JSON {canary}",
        '{"tasks": [{"text": "' + canary,
    ]

    told = [await bench.post(body) for body in bodies]
    told.append(await bench.post({"tasks": [TASK]}, admin_key=canary))

    assert all(400 <= one.status < 500 for one in told)
    assert not any(canary in one.body for one in told)
    assert_nothing_was_called(bench)


@pytest.mark.parametrize("wish", [{"rawQueryString": "dry_run=true"}, {"prefer": "respond-async"}, {}])
@pytest.mark.parametrize("path", ["/generate-batch", "/jobs"])
async def test_an_idempotency_key_that_is_none_is_told_whatever_else_is_wished(
    path: str, wish: dict[str, str], tmp_path: Path
) -> None:
    bench = Workshop(tmp_path).bench()
    asked = event("POST", path, body=json.dumps({"tasks": [TASK]}), admin_key=ADMIN_KEY, Idempotency_Key="ä")
    headers = {**asked["headers"], **({"Prefer": wish["prefer"]} if "prefer" in wish else {})}
    told = await bench.ask({**asked, "headers": headers, "rawQueryString": wish.get("rawQueryString", "")})

    assert told.status == 422
    assert list(fields_of(told)) == ["Idempotency-Key"]
    assert bench.voice.spoken == []


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/jobs", "after"),
        ("GET", "/jobs/0123456789abcdef0123456789abcdef", "limit"),
        ("GET", "/voices", "limit"),
        ("GET", "/voices", "gender"),
        ("POST", "/jobs", "dry_run"),
    ],
)
async def test_a_parameter_without_a_value_is_not_a_parameter_left_out(
    method: str, path: str, name: str, tmp_path: Path
) -> None:
    bench = Workshop(tmp_path).bench()
    body = json.dumps({"tasks": [TASK]}) if method == "POST" else None
    told = await bench.ask({**event(method, path, body=body, admin_key=ADMIN_KEY), "rawQueryString": f"{name}="})

    assert told.status == 422
    assert list(fields_of(told)) == [name]
