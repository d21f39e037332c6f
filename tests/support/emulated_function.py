"""The function under Lambda's Runtime Interface Emulator, with everything that it talks to."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from infra.local import embedded_aws
from infra.local.places import ROOT
from infra.local.sam import resources
from infra.local.upstream.record import Gauge
from infra.local.upstream.rules import Account, Rules
from infra.local.upstream.server import Upstream
from tests.support.runtime_emulator import Invocation, Layout, RuntimeEmulator
from tests.support.tap import Tap

EVENTS = ROOT / "tests/events"
ADMIN_KEY = "admin-key-of-the-events"
CALLER_APP_ID, CALLER_KEY = "1234567890", "access-key-of-the-events"
SERVER_APP_ID, SERVER_KEY = "1000000001", "access-key-in-the-secret"
AWS_KEY = "secret-key-of-the-role"
LIMIT = 10
ACCOUNTS = (
    Account(app_id=SERVER_APP_ID, token=SecretStr(SERVER_KEY), limit=LIMIT),
    Account(app_id=CALLER_APP_ID, token=SecretStr(CALLER_KEY), limit=2),
)
RULES = Rules(accounts=ACCOUNTS, mean_ms=100, sigma=0)

Event = dict[str, Any]


def event_of(name: str) -> Event:
    """Return the event in a file of `tests/events`."""
    event: Event = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return event


@dataclass(frozen=True)
class EmulatedFunction:
    """The function and its surroundings.

    Attributes:
        emulator: Runs it.
        upstream: What it speaks with.
        to_aws: The tap on the way to table and secret.
        to_upstream: The tap on the way to the upstream.
        notes: What went through both, in order.
    """

    emulator: RuntimeEmulator
    upstream: Upstream
    to_aws: Tap
    to_upstream: Tap
    notes: list[str]

    async def invoke(self, name: str) -> Invocation:
        """Invoke it with the event in a file."""
        return await self.emulator.invoke(event_of(name))

    @property
    def gauge(self) -> Gauge:
        """What the upstream saw of the server's account."""
        return self.upstream.gauge(SERVER_APP_ID)


@asynccontextmanager
async def emulated_function(
    directory: Path, *, layout: Layout, aws_url: str, rules: Rules = RULES, time_out_s: int = 29, **environment: str
) -> AsyncIterator[EmulatedFunction]:
    """Start the function with a table, a secret and an upstream of its own; it is initialised when it is invoked.

    Args:
        directory: Where its log goes.
        layout: Its code.
        aws_url: The emulated AWS.
        rules: How the upstream behaves.
        time_out_s: After which it is killed.
        **environment: Its variables beside the usual ones; an empty one is as good as none.
    """
    notes: list[str] = []
    table = _resources(aws_url)
    async with AsyncExitStack() as stack:
        upstream = Upstream(rules)
        await upstream.start()
        stack.push_async_callback(upstream.stop)
        to_aws = await stack.enter_async_context(Tap(aws_url, notes))
        to_upstream = await stack.enter_async_context(Tap(upstream.url, notes))
        variables = {
            **embedded_aws.CREDENTIALS,
            "AWS_SECRET_ACCESS_KEY": AWS_KEY,
            "AWS_ENDPOINT_URL": to_aws.url,
            "VOLCENGINE_TTS_ENDPOINT": to_upstream.url,
            "VOLCENGINE_TTS_POOL_TABLE": table,
            "VOLCENGINE_TTS_SECRET_ID": table,
            "VOLCENGINE_TTS_CALLERS_CREDENTIALS": "with_admin_key",
            "POWERTOOLS_SERVICE_NAME": "gateway",
            "POWERTOOLS_METRICS_NAMESPACE": "gateway",
            **environment,
        }
        emulator = RuntimeEmulator(layout, variables, log=directory / f"{table}.log", time_out_s=time_out_s)
        await stack.enter_async_context(emulator)
        yield EmulatedFunction(emulator, upstream, to_aws, to_upstream, notes)


def _resources(aws_url: str) -> str:
    """Make a table and a secret, and return the name of both."""
    name = f"runtime-{secrets.token_hex(4)}"
    resources.make(
        aws_url,
        name,
        volcengine_tts_appid=SERVER_APP_ID,
        volcengine_tts_access_key=SERVER_KEY,
        volcengine_tts_concurrency=LIMIT,
        admin_api_key=ADMIN_KEY,
    )
    return name
