"""The client library: speech from Python, without a gateway.

    client = VolcengineConcurrentTTS(app_id="…", access_key="…", concurrency=10)
    results = client.generate_batch_sync([TaskItem("hello", "Hello world", "BV001_streaming")])

All calls of a client, blocking or not, from any thread and any event loop, run on one background event loop, so they
share one limit and one connection pool.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from volcengine_client.background import Background, InBackground
from volcengine_client.clock import Clock, SystemClock
from volcengine_client.concurrency import Concurrency, concurrency_of
from volcengine_client.errors import CredentialsError, InvalidRequestError, LoginRejectedError
from volcengine_client.limits import (
    APP_CHARACTERS_MAX,
    CONCURRENCY_DEFAULT,
    DEFAULT_TIMES,
    JOB_TASKS_MAX,
    RESULTS_WAITING_MAX,
    WEIGHT_MAX,
    PoolTimes,
)
from volcengine_client.models import APP_PATTERN, VOICE_TYPE_DEFAULT, TaskItem, TaskResult
from volcengine_client.pool.holder import Pool, Terms
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import Limit
from volcengine_client.pool.table import PoolTable
from volcengine_client.products import Counter, speak_batch_by_product, speak_by_product
from volcengine_client.speaking import LOGIN_REJECTED, Arrivals, Speaking
from volcengine_client.speech.account import AccountSpeaker
from volcengine_client.speech.login import Login
from volcengine_client.speech.route import counter_of
from volcengine_client.speech.wire import ENDPOINT, Wire
from volcengine_client.voice_list import warn
from volcengine_client.whole_file import write_whole


@dataclass(frozen=True, slots=True)
class SharedPool:
    """A pool in DynamoDB, shared with a gateway and other machines; needs the `aws` extra.

    Attributes:
        table: Name or ARN of the table: the stack's output `PoolTableName`.
        name: The pool; a deployed gateway's own account has the pool "server".
        region: AWS region; None leaves it to the AWS configuration.
        endpoint_url: Another address of DynamoDB; None for AWS's.
        times: The pool's times; the same for everyone in it.
    """

    table: str
    name: str = "server"
    region: str | None = None
    endpoint_url: str | None = None
    times: PoolTimes = DEFAULT_TIMES


class VolcengineConcurrentTTS(InBackground):
    """Speak batches of text through one account, never more at once than it allows.

    Args:
        app_id: The account's app id; None takes `VOLCENGINE_TTS_APPID` from the environment.
        access_key: The account's access key; None takes `VOLCENGINE_TTS_ACCESS_KEY`.
        api_key: The account's API key, beside those two or alone; None takes `VOLCENGINE_TTS_API_KEY`. Alone it speaks
            the voices of the v3 API only.
        concurrency: Calls in progress at most, 1 to 1,000. In a shared pool: slots that this client may hold; the
            pool's own limit holds as well. A map from product to number, as `{"seed-tts-2.0": 20, "default": 10}`,
            counts each named product by itself, in a pool of its own; in a shared pool, name the same as the others do.
        pool: A pool shared with others: a `SharedPool`, or the name of its table. None: the limit is this client's.
        endpoint: The upstream's base URL; None takes `VOLCENGINE_TTS_ENDPOINT`, else the official one.
        app: In a shared pool: the application whose share this client takes from.
        weight: In a shared pool: the application's share against others', 1 to 100.

    Raises:
        ValueError: Something of this is missing or out of range.
    """

    def __init__(
        self,
        app_id: str | None = None,
        access_key: str | None = None,
        concurrency: int | Mapping[str, int] = CONCURRENCY_DEFAULT,
        *,
        api_key: str | None = None,
        pool: SharedPool | str | None = None,
        endpoint: str | None = None,
        app: str = "default",
        weight: int = 1,
    ) -> None:
        self._login = _login(app_id, access_key, api_key)
        limits = _limits(concurrency)
        _check_whole_number("weight", weight, WEIGHT_MAX)
        if not isinstance(app, str) or not APP_PATTERN.fullmatch(app) or len(app) > APP_CHARACTERS_MAX:
            raise InvalidRequestError(f"app should be 1 to {APP_CHARACTERS_MAX} characters of A-Z a-z 0-9 . _ -")
        terms = Terms(limit=Limit(limits.usual, version=0), hold_max=limits.usual, app=app, weight=weight)
        self._clock = SystemClock()
        self._wire = Wire(endpoint or os.environ.get("VOLCENGINE_TTS_ENDPOINT") or ENDPOINT, clock=self._clock)
        if pool is not None and not isinstance(pool, (SharedPool, str)):
            raise InvalidRequestError("pool should be a SharedPool or the name of its table")
        shared = SharedPool(pool) if isinstance(pool, str) else pool
        self._counters = _counters(shared, limits, terms, self._clock)
        self._product_of = partial(counter_of, has_v1=self._login.has_pair)
        self._background = Background(
            settle=partial(_left, [counter.pool for counter in self._counters.values()]), close=self._wire.close
        )

    def generate_batch_sync(self, tasks: Sequence[TaskItem], *, timeout_ms: int | None = None) -> list[TaskResult]:
        """Speak a batch and wait for it; works inside a running event loop too.

        Args:
            tasks: Any number.
            timeout_ms: When the answer is due; what was not started by then has a retryable error. None: no hurry.

        Returns:
            One result a task, in the order of the tasks; a failed one has an `error` and no audio.

        Raises:
            ValueError: The account was rejected, and nothing was bought.
        """
        return self._background.run(self._batch(tasks, timeout_ms))

    async def generate_batch_async(
        self, tasks: Sequence[TaskItem], *, timeout_ms: int | None = None
    ) -> list[TaskResult]:
        """Speak a batch; see `generate_batch_sync`.

        Cancelling it abandons the calls in progress. Their slots stay shut until the upstream must have ended them;
        the others are given back.
        """
        return await self._background.call(self._batch(tasks, timeout_ms))

    def generate_each(self, tasks: Sequence[TaskItem], *, ahead: int = RESULTS_WAITING_MAX) -> Speaking:
        """Speak a batch of any size, and yield `(index, result)` as each task is finished.

        Iterate over what is returned, with `for` or `async for`. Its `stop()` ends the batch without losing what is
        being spoken; leaving the loop early abandons that.

        Args:
            tasks: Any number.
            ahead: Results that may wait for the loop to come around, so that a slow one slows no calls down. A process
                that is killed loses no more than these and the calls in progress.

        Raises:
            InvalidRequestError: *ahead* is no number from 1 on.
            ValueError: In the loop: the account was rejected, and nothing was bought.
        """
        _check_whole_number("ahead", ahead, JOB_TASKS_MAX)
        most = sum(counter.terms.hold_max for counter in self._counters.values())
        return Speaking(Arrivals(tasks, window=most + ahead), self._speak, self._background)

    def generate_single_sync(
        self, text: str, voice_type: str = VOICE_TYPE_DEFAULT, task_id: str | None = None
    ) -> TaskResult:
        """Speak one text and wait for it."""
        return self.generate_batch_sync([TaskItem(task_id, text, voice_type)])[0]

    async def generate_single_async(
        self, text: str, voice_type: str = VOICE_TYPE_DEFAULT, task_id: str | None = None
    ) -> TaskResult:
        """Speak one text."""
        return (await self.generate_batch_async([TaskItem(task_id, text, voice_type)]))[0]

    def get_audio_bytes(self, result: TaskResult) -> bytes:
        """Return the audio file; b"" for a failed result."""
        return result.audio

    def save_audio_file(self, result: TaskResult, filename: str | os.PathLike[str]) -> bool:
        """Save the audio under *filename*, whole or not at all; False when there is none or it can't be written."""
        if not result.audio:
            return False
        try:
            write_whole(Path(filename), result.audio)
        except (OSError, ValueError):
            return False
        return True

    def slots(self) -> tuple[int, int] | None:
        """Return how many slots of its pools are taken, and how many there are, as last seen; None before."""
        seen = [state for counter in self._counters.values() if (state := counter.pool.snapshot) is not None]
        limits = [state.limit.n for state in seen if state.limit is not None]
        return (sum(len(state.slots) for state in seen), sum(limits)) if limits else None

    async def _batch(self, tasks: Sequence[TaskItem], timeout_ms: int | None) -> list[TaskResult]:
        if not tasks:
            return []
        try:
            response = await speak_batch_by_product(
                tasks,
                speaker=AccountSpeaker(self._wire, self._login),
                counters=self._counters,
                product_of=self._product_of,
                clock=self._clock,
                deadline_at_ms=None if timeout_ms is None else self._clock.monotonic_ms() + timeout_ms,
            )
        except LoginRejectedError as exc:
            raise CredentialsError(LOGIN_REJECTED) from exc
        warn(response.results, tasks)
        return response.results

    async def _speak(self, work: Arrivals) -> None:
        if work.task_count:
            most = work.segment_count(enough=max(counter.terms.hold_max for counter in self._counters.values()))
            await speak_by_product(
                work,
                speaker=AccountSpeaker(self._wire, self._login),
                counters={name: counter.at_most(most) for name, counter in self._counters.items()},
                product_of=self._product_of,
                clock=self._clock,
            )


async def _left(pools: Sequence[Pool]) -> None:
    """Wait until those who have left the pools have given their slots back; each is bounded by itself."""
    loop = asyncio.get_running_loop()
    leavings = [leaving for pool in pools for leaving in pool.leavings if leaving.get_loop() is loop]
    if leavings:
        await asyncio.wait(leavings)


def _limits(concurrency: int | Mapping[str, int]) -> Concurrency:
    if isinstance(concurrency, str):
        raise InvalidRequestError("concurrency should be a number, or a map from product to number; not text")
    try:
        return concurrency_of(concurrency)
    except ValueError as exc:
        raise InvalidRequestError(f"concurrency should be {exc}") from exc


def _counters(shared: SharedPool | None, limits: Concurrency, terms: Terms, clock: Clock) -> dict[str, Counter]:
    """Return where calls are counted: a pool for all, and one for each product with a limit of its own."""
    table = _table_of(shared) if shared else MemoryTable(clock=clock)
    name, times = (shared.name, shared.times) if shared else ("client", DEFAULT_TIMES)
    counters = {"": Counter(Pool(name, table=table, times=times, clock=clock), terms)}
    for product, limit in limits.by_product.items():
        own = replace(terms, limit=Limit(limit, version=0), hold_max=limit)
        counters[product] = Counter(Pool(f"{name}:{product}", table=table, times=times, clock=clock), own)
    return counters


def setting(name: str, file: Mapping[str, str | None] | None = None) -> str | None:
    """Return what the environment says, or else *file*, a `.env`; None when it is empty in both."""
    return os.environ.get(name) or (file or {}).get(name) or None


def _login(app_id: str | None, access_key: str | None, api_key: str | None) -> Login:
    """Return the account that was given; the environment fills in what belongs to it, never another account's part."""
    is_pair_given = app_id is not None or access_key is not None
    key = _given(api_key, "api_key", None if is_pair_given else "VOLCENGINE_TTS_API_KEY")
    is_key_alone = api_key is not None and not is_pair_given
    app = _given(app_id, "app_id", None if is_key_alone else "VOLCENGINE_TTS_APPID")
    access = _given(access_key, "access_key", None if is_key_alone else "VOLCENGINE_TTS_ACCESS_KEY")
    if not key or app or access:
        for value, name, variable in (
            (app, "app_id", "VOLCENGINE_TTS_APPID"),
            (access, "access_key", "VOLCENGINE_TTS_ACCESS_KEY"),
        ):
            if not value:
                raise CredentialsError(f"{name} is required: give it to the constructor or set {variable}")
    return Login(app, access, key)


def _given(value: str | None, name: str, variable: str | None) -> str:
    """Return a credential; an empty one is no credential."""
    given = os.environ.get(variable, "") if value is None and variable is not None else value
    if given is not None and not isinstance(given, str):
        raise CredentialsError(f"{name} should be text, in quotes")
    return given or ""


def _check_whole_number(name: str, value: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidRequestError(f"{name} should be a whole number from 1 to {most:,}")


def _table_of(shared: SharedPool) -> PoolTable:
    """Return the table of a shared pool; boto3 is imported only here."""
    try:
        from volcengine_client.pool.dynamodb import DynamoDBTable, pool_client  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        raise InvalidRequestError(
            "a shared pool needs the extra: pip install 'volcengine-concurrent-tts[aws]'"
        ) from exc
    client = pool_client(region=shared.region, endpoint_url=shared.endpoint_url)
    return DynamoDBTable(shared.table, client=client, clock=SystemClock())


def create_client(
    app_id: str | None = None,
    access_key: str | None = None,
    concurrency: int | Mapping[str, int] = CONCURRENCY_DEFAULT,
    **options: Any,
) -> VolcengineConcurrentTTS:
    """Return a client; *options* are those of `VolcengineConcurrentTTS`."""
    return VolcengineConcurrentTTS(app_id, access_key, concurrency, **options)
