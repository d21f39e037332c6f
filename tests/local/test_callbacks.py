"""Callbacks of the deployed gateway: through the real queue and worker, to a receiver on this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from infra.local.lifecycle import Stack
from infra.local.waiting import until
from tests.support.crowd import batch
from tests.support.local_jobs import ended, submitted, told
from tests.support.local_stack import Aws, Gateway, receiver_port
from tests.support.receivers import Receiver
from volcengine_client import verify
from volcengine_client.clock import SystemClock
from volcengine_gateway.secret import SecretVersion, parsed

TOLD_MAX_MS = 60_000
CLOCK = SystemClock()


async def _settled(gateway: Gateway, address: str) -> dict[str, Any]:
    """Wait until a job's callback was heard or given up, and return what the job says of it."""
    callback: dict[str, Any] = {}

    async def is_settled() -> bool:
        callback.update((await told(gateway, address))["callback"])
        return bool(callback["state"] != "pending")

    await until(is_settled, what="the callback is settled", within_ms=TOLD_MAX_MS, clock=CLOCK)
    return callback


async def test_a_jobs_end_is_told_signed_and_told_again_until_it_is_heard(
    gateway: Gateway, stack: Stack, aws: Aws
) -> None:
    async with Receiver([500, 200], port=receiver_port(stack.directory)) as receiver:
        address = await submitted(gateway, batch(1, 3), callback_url=receiver.url("/done?a=b"))
        callback = await _settled(gateway, address)

        key = parsed(SecretVersion(json.dumps(aws.secret()), 0)).webhook_key
        first, second = receiver.received
        assert callback == {"state": "delivered", "attempts": 2}
        assert (first.target, json.loads(first.body)["state"], json.loads(first.body)["done"]) == (
            "/done?a=b",
            "done",
            3,
        )
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert all(verify(one.headers, one.body, key, CLOCK.wall_ms() // 1_000) for one in receiver.received)


async def test_a_redirect_is_not_followed(gateway: Gateway, stack: Stack) -> None:
    async def elsewhere(_request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Location": "/elsewhere"}
        return web.Response(status=302, headers=headers) if len(receiver.received) == 1 else web.Response(status=410)

    async with Receiver(elsewhere, port=receiver_port(stack.directory)) as receiver:
        address = await submitted(gateway, batch(1, 1), callback_url=receiver.url())
        callback = await _settled(gateway, address)

        assert callback == {"state": "failed", "attempts": 2}
        assert {received.target for received in receiver.received} == {"/done"}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "http://127.0.0.1:1/",
        "https://localhost/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "http://example.com/",
        "file:///etc/passwd",
    ],
)
async def test_a_callback_that_leads_inside_is_refused(gateway: Gateway, url: str) -> None:
    body = {"tasks": batch(1, 1), "callback_url": url}
    answer = await gateway.ask("POST", "/jobs", headers=gateway.admin, json=body)

    assert (answer.status, answer.json["error"]["code"]) == (422, "invalid_request")
    assert [one["field"] for one in answer.json["error"]["details"]["fields"]] == ["callback_url"]


async def test_a_job_of_which_nobody_wants_to_be_told_says_so(gateway: Gateway) -> None:
    address = await submitted(gateway, batch(1, 1))

    assert (await ended(gateway, address))["callback"] is None
