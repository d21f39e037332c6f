"""I6 in Lambda's runtime: whatever goes wrong, no key, text or audio is in the log, a metric, an error or the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local import embedded_aws
from infra.local.upstream.orders import Orders
from tests.support.emulated_function import (
    ADMIN_KEY,
    AWS_KEY,
    CALLER_KEY,
    SERVER_KEY,
    EmulatedFunction,
    Event,
    emulated_function,
    event_of,
)
from tests.support.runtime_emulator import Invocation, Layout
from volcengine_client.limits import ATTEMPTS_MAX

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "canary 金丝雀"
WRONG_KEY = "canary-wrong-key"
KEYS = (ADMIN_KEY, AWS_KEY, CALLER_KEY, SERVER_KEY, WRONG_KEY)
FAULTS = ("3001", "3005", "3011", "3031", "html502", "cut", "empty", "broken", "truncated", "liar")


async def test_no_key_text_or_audio_is_in_the_log_an_error_or_the_table(
    tmp_path: Path, layout: Layout, aws_url: str
) -> None:
    async with emulated_function(
        tmp_path, layout=layout, aws_url=aws_url, POWERTOOLS_LOG_LEVEL="DEBUG", AWS_LAMBDA_LOG_LEVEL="DEBUG"
    ) as function:
        spoken = await function.emulator.invoke(batch())
        failed = [await failed_for(function, *FAULTS), await failed_for(function, "noauth")]
        failed += [await function.emulator.invoke(event) for event in bad_events()]
        log = function.emulator.log
        table = items(aws_url)

    audio = spoken.body["results"][0]["audio_base64"]
    assert '"message":"spoken"' in log
    assert '"message":"answered"' in log
    assert told(log, *KEYS, *forms(TEXT), audio[:60], audio[-60:]) == set()
    assert told(table, *KEYS, *forms(TEXT), audio[:60]) == set()
    assert set().union(*(told(answer.text, *KEYS, *forms(TEXT)) for answer in failed)) == set()


async def failed_for(function: EmulatedFunction, *faults: str) -> Invocation:
    """Speak one text for each of *faults*, all of whose calls end with it."""
    texts = {f"{TEXT} {fault}": [fault] * ATTEMPTS_MAX for fault in faults}
    function.upstream.obey(Orders(text_faults=texts))
    answer = await function.emulator.invoke(batch(tasks=[{"text": text} for text in texts]))
    results = answer.body["results"] if answer.status == 200 else answer.body["error"]["details"].get("results", [])
    assert all(result["error"] for result in results)
    return answer


def batch(key: str = ADMIN_KEY, **more: object) -> Event:
    """Return the event of a batch that has the canary for its only text."""
    event = event_of("generate_batch")
    headers = {**event["headers"], "admin-api-key": key, "x-canary": TEXT}
    return {**event, "headers": headers, "body": json.dumps({"tasks": [{"text": TEXT}], **more})}


def bad_events() -> list[Event]:
    """Return events that fail in many ways, with keys and texts where they don't belong."""
    good = batch()
    pair = {"volcengine_tts_appid": "1", "volcengine_tts_access_key": WRONG_KEY}
    context = {**good["requestContext"], "timeEpoch": TEXT}
    return [
        batch(WRONG_KEY),
        batch(credentials=pair),
        batch(credentials={"volcengine_tts_access_key": WRONG_KEY}),
        batch(account=WRONG_KEY),
        batch(app=TEXT),
        {**good, "body": good["body"][:-1]},
        {**good, "body": WRONG_KEY, "isBase64Encoded": True},
        {**good, "rawPath": f"/{WRONG_KEY}", "rawQueryString": f"key={WRONG_KEY}"},
        {**good, "requestContext": context},
        {**good, "headers": [WRONG_KEY]},
        {**good, "headers": {"admin-api-key": None}},
        {**good, "body": {"text": TEXT}},
        {"body": good["body"], "headers": good["headers"]},
    ]


def forms(text: str) -> tuple[str, ...]:
    """Return how a text may look in JSON or in a Python error."""
    return (text, json.dumps(text)[1:-1], text.encode().hex(), ascii(text)[1:-1])


def told(where: str, *secrets: str) -> set[str]:
    """Return which of *secrets* are in *where*."""
    return {secret for secret in secrets if secret in where}


def items(aws_url: str) -> str:
    """Return all that the tables hold."""
    client = embedded_aws.client("dynamodb", aws_url)
    found = [client.scan(TableName=name)["Items"] for name in client.list_tables()["TableNames"]]
    return json.dumps(found, ensure_ascii=False)
