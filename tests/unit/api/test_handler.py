"""Lambda's door, as Lambda imports and calls it: with events of API Gateway, AWS in moto, an upstream on loopback."""

from __future__ import annotations

import asyncio
import base64
import importlib
import io
import itertools
import json
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import lameenc
import pytest
from moto import mock_aws

from tests.support.scripted_upstream import Exchange, ScriptedUpstream, refuses, speaks
from volcengine_client.limits import ANSWER_RESERVE_MS, CALL_TIME_FIRST_MS
from volcengine_gateway.settings import SettingsError

ONE_ATTEMPT_MS = CALL_TIME_FIRST_MS + 2 * ANSWER_RESERVE_MS + 250  # leaves hardly any time for another
PROCESSES = itertools.count()
EVENTS = Path(__file__).parents[2] / "events"
ADMIN_KEY = "admin-key-of-the-events"
ACCESS_KEY = "canary-access-key"
SECRET = {
    "volcengine_tts_appid": "1000000001",
    "volcengine_tts_access_key": ACCESS_KEY,
    "volcengine_tts_concurrency": 2,
    "admin_api_key": ADMIN_KEY,
}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "VOLCENGINE_TTS_SECRET_ID": "the-secret",
    "VOLCENGINE_TTS_POOL_TABLE": "the-table",
    "POWERTOOLS_METRICS_NAMESPACE": "VolcengineTTS",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
}


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return loaded


def batch(tasks: list[dict[str, Any]], **also: Any) -> dict[str, Any]:
    return {**event("generate_batch"), "body": json.dumps({"tasks": tasks, **also})}


@dataclass
class Context:
    """What Lambda hands in beside the event."""

    function_name: str = "gateway"
    memory_limit_in_mb: int = 1_024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:gateway"
    aws_request_id: str = "6f7d8a5e-0000-4000-8000-000000000001"
    remaining_ms: int = 29_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class Function:
    """The handler's module as imported by a new Lambda process, with its upstream."""

    module: ModuleType
    upstream: ScriptedUpstream

    def __call__(self, sent: Mapping[str, Any], *, remaining_ms: int = 29_000) -> dict[str, Any]:
        answer: dict[str, Any] = self.module.lambda_handler(sent, Context(remaining_ms=remaining_ms))
        return answer

    def put_secret(self, content: str) -> None:
        boto3.client("secretsmanager").put_secret_value(SecretId="the-secret", SecretString=content)


def audio(encoding: str) -> bytes:
    """Return a tenth of a second of silence as a file."""
    pcm = bytes(4_800)
    file = io.BytesIO()
    if encoding == "mp3":
        encoder = lameenc.Encoder()
        encoder.set_channels(1)
        encoder.set_in_sample_rate(24_000)
        file.write(encoder.encode(pcm) + encoder.flush())
    else:
        with wave.open(file, "wb") as written:
            written.setparams((1, 2, 24_000, 0, "NONE", ""))
            written.writeframes(pcm)
    return file.getvalue()


async def speaks_as_asked(exchange: Exchange) -> bool:
    return await speaks(audio(exchange.request.said["audio"]["encoding"]))(exchange)


@pytest.fixture(name="import_handler")
def _import_handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Function]]:
    """Import the handler as a new process would, in a made-up AWS with a secret and a table."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"api-{next(PROCESSES)}")  # a name's logger keeps its first stream
    loop = asyncio.new_event_loop()  # the upstream answers while the handler waits, on the handler's own loop
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: loop)
    upstream = ScriptedUpstream(speaks_as_asked)
    voices: list[Any] = []

    def imported(*, secret: str | None = None, has_table: bool = True, **environment: str) -> Function:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        boto3.client("secretsmanager").create_secret(Name="the-secret", SecretString=secret or json.dumps(SECRET))
        if has_table:
            make_table()
        sys.modules.pop("api.handler", None)
        module = importlib.import_module("api.handler")
        voices.append(module.gateway.voice)
        return Function(module, upstream)

    loop.run_until_complete(upstream.__aenter__())
    monkeypatch.setenv("VOLCENGINE_TTS_ENDPOINT", upstream.url)
    try:
        with mock_aws():
            yield imported
    finally:
        for voice in voices:
            loop.run_until_complete(voice.close())
        loop.run_until_complete(upstream.__aexit__())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        sys.modules.pop("api.handler", None)


def make_table() -> None:
    boto3.client("dynamodb").create_table(
        TableName="the-table",
        KeySchema=[{"AttributeName": "pool", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pool", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


ImportHandler = Callable[..., Function]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("health", 200),
        ("generate_batch", 200),
        ("generate_batch_base64", 200),
        ("generate_batch_own_credentials", 200),
        ("pools", 200),
        ("pool", 404),
        ("voices", 200),
        ("unknown_route", 404),
        ("wrong_method", 405),
    ],
)
def test_every_event_is_answered(name: str, status: int, import_handler: ImportHandler) -> None:
    answer = import_handler()(event(name))

    assert answer["statusCode"] == status
    assert answer["headers"]["X-Request-Id"] == "JKJaXmPLvHcESHA="
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])
    json.dumps(answer)  # as Lambda's runtime does


def test_there_is_an_event_for_every_route() -> None:
    seen = {(one["requestContext"]["http"]["method"], one["rawPath"]) for one in map(event, names_of_events())}

    assert seen >= {
        ("GET", "/"),
        ("GET", "/voices"),
        ("POST", "/generate-batch"),
        ("GET", "/pools"),
        ("GET", "/pools/server"),
    }


def names_of_events() -> list[str]:
    return [path.stem for path in sorted(EVENTS.glob("*.json"))]


def test_what_a_process_knows_survives_between_invocations(import_handler: ImportHandler) -> None:
    handler = import_handler()
    reads: list[str] = []
    read = handler.module.gateway._keys._read

    def counted() -> Any:
        reads.append("secret")
        return read()

    handler.module.gateway._keys._read = counted

    answers = [handler(event("generate_batch")) for _ in range(3)]

    results = [result for answer in answers for result in json.loads(answer["body"])["results"]]
    assert [result["task_id"] for result in results] == ["greeting", "farewell"] * 3
    assert {base64.b64decode(result["audio_base64"]) for result in results} == {audio("mp3"), audio("wav")}
    assert reads == ["secret"]
    assert handler.upstream.connection_count <= 2
    assert len(handler.upstream.requests) == 6


def test_the_server_s_pool_is_found_by_the_operator_afterwards(import_handler: ImportHandler) -> None:
    handler = import_handler()
    handler(event("generate_batch"))

    pool = json.loads(handler(event("pool"))["body"])
    health = json.loads(handler(event("health"))["body"])

    assert (pool["pool"], pool["limit"], pool["slots_in_use"]) == ("server", 2, 0)
    assert (health["status"], health["limit"]) == ("ok", 2)


def test_a_wrong_admin_key_buys_nothing(import_handler: ImportHandler) -> None:
    handler = import_handler()
    sent = event("generate_batch")
    sent["headers"]["admin-api-key"] = "wrong"

    answer = handler(sent)

    assert answer["statusCode"] == 401
    assert handler.upstream.requests == []


@pytest.mark.parametrize(
    "secret", ["canary-not-json", "[]", "{}", '{"admin_api_key": "admin-key-of-the-events"}', '{"admin_api_key": ""}']
)
def test_a_secret_that_says_nothing_usable_is_told(secret: str, import_handler: ImportHandler) -> None:
    handler = import_handler(secret=secret)

    answer = handler(event("generate_batch"))

    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"]
    assert json.loads(answer["body"])["error"]["code"] == "secret_unavailable"
    assert "canary" not in answer["body"]
    assert handler.upstream.requests == []


def test_a_missing_secret_is_told_and_found_once_it_is_there(import_handler: ImportHandler) -> None:
    handler = import_handler()
    secrets = boto3.client("secretsmanager")
    secrets.delete_secret(SecretId="the-secret", ForceDeleteWithoutRecovery=True)

    missing = handler(event("generate_batch"))
    secrets.create_secret(Name="the-secret", SecretString=json.dumps(SECRET))
    found = handler(event("generate_batch"))

    assert (missing["statusCode"], found["statusCode"]) == (503, 200)
    assert len(handler.upstream.requests) == 2


def test_a_missing_table_is_told_and_nothing_is_bought(import_handler: ImportHandler) -> None:
    handler = import_handler(has_table=False)

    answer = handler(event("generate_batch"))

    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["error"]["code"] == "pool_table"
    assert handler.upstream.requests == []


def test_a_rotated_key_is_read_again_and_the_pool_stays_the_same(import_handler: ImportHandler) -> None:
    handler = import_handler()
    handler(event("generate_batch"))
    handler.upstream.script = [refuses(401, 3001, "invalid auth token"), speaks_as_asked]
    handler.put_secret(json.dumps({**SECRET, "volcengine_tts_access_key": "rotated-key"}))

    answer = handler(batch([{"text": "hello"}]))
    pools = json.loads(handler(event("pools"))["body"])

    assert answer["statusCode"] == 200
    assert [request.headers["authorization"] for request in handler.upstream.requests[-2:]] == [
        f"Bearer;{ACCESS_KEY}",
        "Bearer;rotated-key",
    ]
    assert [pool["pool"] for pool in pools["pools"]] == ["server"]


def test_only_callers_pools_expire(import_handler: ImportHandler) -> None:
    handler = import_handler()
    handler(event("generate_batch"))
    handler(event("generate_batch_own_credentials"))

    items = boto3.client("dynamodb").scan(TableName="the-table")["Items"]

    expiring = {item["pool"]["S"].partition("-")[0]: "expires_at" in item for item in items}
    assert expiring == {"server": False, "caller": True}


def test_figures_are_told_by_pool_and_callers_pools_have_no_name(
    import_handler: ImportHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = import_handler()
    handler(event("generate_batch"))
    handler(event("generate_batch_own_credentials"))

    metrics = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line]

    by_pool = {one["pool"]: one["Tasks"] for one in metrics if "pool" in one}
    assert by_pool == {"server": [2.0], "caller": [1.0]}
    assert sum("Requests" in one for one in metrics) == 2


@pytest.mark.parametrize(
    "name", ["POWERTOOLS_DEV", "POWERTOOLS_LOGGER_LOG_EVENT", "VOLCENGINE_TTS_CALLERS_CREDENTIALS"]
)
def test_a_function_with_a_wrong_setting_does_not_start(name: str, import_handler: ImportHandler) -> None:
    with pytest.raises(SettingsError, match=name):
        import_handler(**{name: "1"})


def test_the_handler_needs_no_library_that_its_layer_lacks() -> None:
    """The rest of the package's extras is for the self-hosted server and the command line."""
    program = (
        "import sys, api.handler; api.handler.invocations._loop.close();"
        "sys.exit(bool({'dotenv', 'uvicorn', 'rich', 'typer'} & set(sys.modules)))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], env={"PATH": os.environ["PATH"], **ENVIRONMENT}, check=False
    )

    assert ended.returncode == 0


def test_nothing_secret_is_written_anywhere(
    import_handler: ImportHandler, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    handler = import_handler()
    caplog.set_level("DEBUG")
    text = "canary-text"
    own = {"volcengine_tts_appid": "2000000002", "volcengine_tts_access_key": "canary-callers-key"}
    wrong_key = event("generate_batch")
    wrong_key["headers"]["admin-api-key"] = "canary-wrong"
    broken_base64 = {**event("generate_batch"), "isBase64Encoded": True, "body": text}
    scripts = [
        speaks_as_asked,
        refuses(401, 3001, f"invalid auth token {text}"),
        refuses(500, 3031, text),
        refuses(400, 3011, text),
        speaks(b"", message=text),
    ]
    answers: list[dict[str, Any]] = []
    for script in scripts:
        handler.upstream.script = [script]
        for also in ({}, {"credentials": own}):
            tasks = [{"text": text}, {"text": text + "!", "encoding": "wav"}]
            answers.append(handler(batch(tasks, **also), remaining_ms=ONE_ATTEMPT_MS))
    answers += map(handler, (wrong_key, broken_base64, batch([{"text": text, "speed": text}]), {"Records": [text]}))

    items = boto3.client("dynamodb").scan(TableName="the-table")["Items"]
    written = capfd.readouterr()
    seen = "\n".join([written.out, written.err, caplog.text, json.dumps(items), json.dumps(answers)])
    assert {answer["statusCode"] for answer in answers} >= {200, 400, 401, 422, 500, 502}
    assert '"message":"spoken"' in written.out
    assert "canary" not in seen
    assert ADMIN_KEY not in seen
