"""One at a time: requests that are the same wait for each other, so that nothing is bought twice (I8)."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from volcengine_client.clock import Clock
from volcengine_client.errors import InvalidRequestError, NoSlotInTimeError, StoreError
from volcengine_client.limits import HAND_OVER_MS, IDEMPOTENCY_KEPT_MS, TURN_POLL_MS
from volcengine_client.models import RequestTerms
from volcengine_gateway.jobs.job import Job
from volcengine_gateway.jobs.store import Turn, Turns

OTHER_BODY = "This Idempotency-Key was used for another body; use a new one for each request"


@dataclass(frozen=True, slots=True)
class Same:
    """What makes two requests the same.

    Attributes:
        name: Of the turn.
        digest: A keyed hash of the body, and of who pays.
        is_named: Whether the caller gave an idempotency key.
    """

    name: str
    digest: str
    is_named: bool

    @property
    def job_id(self) -> str:
        """The id of a job that this request, and no other, leads to."""
        return sha256(self.name.encode()).hexdigest()[:32]

    def is_answered_by(self, job: Job) -> bool:
        """Tell whether a job that such a request led to is its answer still."""
        return not job.is_lost if self.is_named else not job.is_over

    @classmethod
    def of(
        cls, request: RequestTerms, *, route: str, account: str, key: bytes, idempotency_key: str | None
    ) -> Same | None:
        """Compare by the idempotency key, else by the body; always for one route and account.

        None: it is like no other, since it has no key and wants nothing that was spoken before.
        """
        if idempotency_key is None and not request.cache:
            return None
        digest = digest_of(request, route=route, account=account, key=key)
        if idempotency_key is None:
            return cls(f"body:{digest}", digest, is_named=False)
        return cls(f"key:{_hashed(idempotency_key, route, account, key)}", digest, is_named=True)


def digest_of(request: RequestTerms, *, route: str, account: str, key: bytes) -> str:
    """Return a keyed hash of a body, and of who pays.

    Of what says something else than its default only: a retry after a deployment is still the same request.
    """
    return _hashed(request.model_dump_json(exclude={"credentials"}, exclude_defaults=True), route, account, key)


def _hashed(text: str, route: str, account: str, key: bytes) -> str:
    return hmac.new(key, f"{route} {account} {text}".encode(), sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Begun:
    """How a request began.

    Attributes:
        job: What it led to before, and still does; None: it is ours to answer.
        has_waited: Whether another one had to end first.
    """

    job: Job | None
    has_waited: bool


class OneAtATime:
    """Lets requests begin one after another.

    Args:
        turns: Where it is kept whose turn it is.
        job_of: Returns a job; None: there is none, or no longer.
        clock: Of this process.
    """

    def __init__(self, turns: Turns, *, job_of: Callable[[str], Awaitable[Job | None]], clock: Clock) -> None:
        self._turns = turns
        self._job_of = job_of
        self._clock = clock

    async def begin(self, same: Same | None, *, deadline_at_ms: int) -> Begun:
        """Begin, once nobody is at the same request any more.

        A job that it led to is its answer still while that goes on, and under a key until it was lost. Of several
        that find one past, one begins, and the others find what it leads to.

        Where turns can't be kept now, everyone may begin: better bought twice than not at all.

        Raises:
            InvalidRequestError: The idempotency key belongs to another body.
            NoSlotInTimeError: The other one takes too long.
            StoreError: The job can't be read.
        """
        has_waited, token, past = False, secrets.token_hex(8), None
        while same is not None:
            now_ms = self._clock.wall_ms()
            left_ms = deadline_at_ms - self._clock.monotonic_ms()
            try:
                known = await self._turns.begin(
                    same.name, Turn(same.digest, now_ms + left_ms, token=token), now_ms=now_ms, past=past
                )
            except StoreError:
                break
            if known is None or known.token == token:
                break
            if known.digest != same.digest:
                raise InvalidRequestError.of_field("Idempotency-Key", OTHER_BODY)
            if known.is_over and known.job_id != past:
                job = None if known.job_id is None else await self._job_of(known.job_id)
                if job is not None and same.is_answered_by(job):
                    return Begun(job, has_waited)
                past = known.job_id
                continue
            if left_ms <= HAND_OVER_MS:
                raise NoSlotInTimeError("the same request is still being answered; ask again", retry_after_ms=1_000)
            has_waited = True
            await self._clock.sleep(TURN_POLL_MS)
        return Begun(None, has_waited)

    async def end(self, same: Same | None, *, job_id: str | None) -> None:
        """Put down that the request has ended, and to which job it led. Never fails: turns end by themselves, too."""
        if same is None:
            return
        now_ms = self._clock.wall_ms()
        until_ms = now_ms + IDEMPOTENCY_KEPT_MS if same.is_named or job_id is not None else now_ms - 1
        with suppress(StoreError):
            await self._turns.end(same.name, Turn(same.digest, until_ms, is_over=True, job_id=job_id))


class Ending:
    """The end of a request's turn, which need not wait until the pool is left."""

    def __init__(self, turns: OneAtATime, same: Same | None) -> None:
        self._turns = turns
        self._same = same
        self._under_way: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """End it beside what goes on: all that was asked for is kept, so that the next one finds it."""
        self._under_way = asyncio.create_task(self._turns.end(self._same, job_id=None))

    async def end(self, *, job_id: str | None, within_ms: int) -> None:
        """Return when it has ended, and say to which job it led; an answer never waits for longer than *within_ms*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_ms / 1_000):
                if self._under_way is not None:
                    await self._under_way
                if self._under_way is None or job_id is not None:
                    await self._turns.end(self._same, job_id=job_id)
