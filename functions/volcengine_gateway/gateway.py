"""What the gateway does, apart from HTTP: one object a process, for any number of requests at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from volcengine_client import __version__
from volcengine_client.answer import Outcomes
from volcengine_client.clock import Clock
from volcengine_client.errors import (
    CapacityError,
    CredentialsError,
    DeadlineCutError,
    LoginRejectedError,
    PoolError,
    SecretError,
    UnknownPoolError,
)
from volcengine_client.limits import (
    CALL_TIME_ESTIMATED_MS,
    CALLERS_POOL_KEPT_MS,
    CONCURRENCY_MAX,
    LOOK_MAX_MS,
    LOOK_RESERVE_MS,
    SERVER_REQUESTS_MAX,
    SERVER_STRANGERS_MAX,
)
from volcengine_client.models import BatchRequest, BatchResponse, JobRequest, PoolReport
from volcengine_client.pool.holder import Terms
from volcengine_client.pool.table import PoolTable
from volcengine_client.products import Counter, speak_batch_by_product, speak_by_product
from volcengine_client.speech.route import counter_of
from volcengine_client.speech.speaker import Speaker
from volcengine_gateway.age import Moment
from volcengine_gateway.credentials import (
    SERVER_POOL,
    Keyring,
    Payer,
    has_admin_key,
    login_in,
    payer_of,
    require_admin_key,
)
from volcengine_gateway.estimate import estimate_of, looked_up
from volcengine_gateway.jobs.kept import KeptSpeech
from volcengine_gateway.jobs.once import Ask, Once
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.jobs.uploads import Uploads
from volcengine_gateway.journal import Journal, Spoken
from volcengine_gateway.pools import Pools
from volcengine_gateway.problems import UnknownRouteError
from volcengine_gateway.report import report_of, slots_in_use, summary_of
from volcengine_gateway.secret import Keys
from volcengine_gateway.settings import Settings
from volcengine_gateway.told import FiguresTold, HealthTold, JobTold, PoolsTold
from volcengine_gateway.voice import CountedSpeaker, Voice

T = TypeVar("T")

SERVICE = "volcengine-concurrent-tts"
HEALTH_AGE_MAX_MS = 1_000
POOLS_LISTED_MAX = 100
POOL_NAME_CHARACTERS_MAX = 256


class Gateway:
    """Speaks batches, and tells of its pools.

    Args:
        settings: Of this door.
        keys: The server's credentials.
        table: Where the pools are.
        voice: The way to the upstream.
        clock: Of this process.
        journal: For the operator.
        jobs: None: this gateway has none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Keys,
        table: PoolTable,
        voice: Voice,
        clock: Clock,
        journal: Journal,
        jobs: Jobs | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.journal = journal
        self.voice = voice
        self._jobs = jobs
        self._once = None if jobs is None else Once(jobs.store, jobs=jobs, clock=clock)
        self._keys = keys
        self._table = table
        self._pools = Pools(table, times=settings.times, clock=clock)
        self._health: tuple[Moment, str] | None = None
        self._batches = 0

    async def begin_invocation(self) -> None:
        """Trust nothing from before: the process may have been frozen."""
        self._pools.begin_invocation()
        await self.voice.close_idle()

    # --- speech ----------------------------------------------------------------

    @contextmanager
    def admitted(self, *, is_operator: bool) -> Iterator[None]:
        """Let one more batch in, before its body is read; strangers leave room for those with the admin key.

        Raises:
            CapacityError: As many as this process takes are in progress.
        """
        if self._batches >= (SERVER_REQUESTS_MAX if is_operator else SERVER_STRANGERS_MAX):
            raise CapacityError("This process has as many batches in progress as it takes; ask again later")
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1

    async def check_admin_key(self, shown: str | None) -> bool:
        """Refuse a wrong admin key before anything else is looked at; tell whether the right one was shown.

        Raises:
            AdminKeyError: It is wrong.
            SecretError: It can't be told.
        """
        return shown is not None and has_admin_key(await self._keys.keyring(), shown)

    async def check_api_key(self, shown: str | None) -> bool:
        """Let nobody pass without the admin key, when there is one; tell whether it was shown.

        Raises:
            AdminKeyError: It is missing or wrong.
            SecretError: It can't be told.
        """
        keyring = await self._keys.keyring()
        if keyring.admin_key is not None:
            require_admin_key(keyring, shown)
        return keyring.admin_key is not None

    async def generate_batch(
        self,
        request: BatchRequest,
        *,
        shown_admin_key: str | None,
        deadline_at_ms: int,
        idempotency_key: str | None = None,
        answer_bytes_max: int | None = None,
    ) -> BatchResponse:
        """Speak a batch by *deadline_at_ms* of the monotonic clock. A batch without tasks touches nothing.

        When the upstream rejects the server's login, the secret is read again, once: the key may have been rotated.
        The answer has at most *answer_bytes_max* bytes, base64 included; None: as the settings say.

        Raises:
            AdminKeyError, CredentialsError, InvalidRequestError: As `payer_of` says, or the caller's own login was
                rejected.
            LoginRejectedError: The server's was.
            SecretError: The server's credentials can't be read.
        """
        if not request.tasks:
            login_in(request.credentials)
            return BatchResponse(results=[], pool=PoolReport(limit=0, waited_ms=None))
        keyring = await self._keys.keyring()
        payer = self._payer_of(keyring, request, shown_admin_key)
        bytes_max = self.settings.answer_bytes_max if answer_bytes_max is None else answer_bytes_max

        async def answer(payer: Payer, keyring: Keyring) -> BatchResponse:
            # Without an admin key nobody may ask for a job, and what is kept would have a name of this process only.
            if self._once is None or not payer.is_server or keyring.admin_key is None:
                return await self._speak(request, payer, deadline_at_ms, bytes_max)
            ask = Ask(
                request=request,
                payer=payer,
                key=keyring.naming_key,
                idempotency_key=idempotency_key,
                deadline_at_ms=deadline_at_ms,
                answer_bytes_max=bytes_max,
            )
            return await self._speak_once(ask)

        try:
            return await answer(payer, keyring)
        except LoginRejectedError as exc:
            if not payer.is_server:
                raise CredentialsError("The upstream rejected the credentials in the request") from exc
            keyring = await self._keys.reread(keyring)
            renewed = self._payer_of(keyring, request, shown_admin_key)
            if renewed.login == payer.login:
                raise
            return await answer(renewed, keyring)

    async def estimate(self, request: BatchRequest, *, shown_admin_key: str | None, deadline_at_ms: int) -> FiguresTold:
        """Return what a batch would cost and take, by *deadline_at_ms* of the monotonic clock; nothing is bought.

        Calls that there is no time to look for are counted as such, and told as unchecked.

        Raises:
            AdminKeyError, CredentialsError, InvalidRequestError: As `payer_of` says.
            SecretError, StoreError: Something is out of reach.
        """
        keyring = await self._keys.keyring()
        payer = self._payer_of(keyring, request, shown_admin_key)
        kept: KeptSpeech | None = None
        if self._jobs is not None and payer.is_server:
            kept = KeptSpeech(self._jobs.store.files, account=payer.pool, key=keyring.naming_key)
        left_ms = deadline_at_ms - self.clock.monotonic_ms() - LOOK_RESERVE_MS
        sounds, found, unchecked = await looked_up(request, kept, within_ms=min(LOOK_MAX_MS, left_ms))
        call_ms = self._pools.looked_at(payer.pool).usual_call_ms() or CALL_TIME_ESTIMATED_MS
        has_v1 = payer.login.has_pair
        return estimate_of(sounds, found, unchecked, limit=payer.hold_max, call_ms=call_ms, has_v1=has_v1)

    def _payer_of(self, keyring: Keyring, request: BatchRequest, shown_admin_key: str | None) -> Payer:
        return payer_of(
            keyring,
            policy=self.settings.callers_credentials,
            shown_admin_key=shown_admin_key,
            credentials=request.credentials,
            account=request.account,
        )

    async def _speak_once(self, ask: Ask) -> BatchResponse:
        """Speak a batch whose sound is kept: what is known is found, what has no time goes on as a job."""
        assert self._once is not None
        speaker = CountedSpeaker(self.voice.speaker(ask.payer.login))

        async def speak_rest(work: Outcomes, around: Callable[[Speaker], Speaker], deadline_at_ms: int) -> PoolReport:
            return await speak_by_product(
                work,
                speaker=around(speaker),
                counters=self._counters(ask.request, ask.payer, call_count=work.open_count),
                product_of=partial(counter_of, has_v1=ask.payer.login.has_pair),
                clock=self.clock,
                deadline_at_ms=deadline_at_ms,
            )

        response = await self._once.answer(ask, speak_rest)
        self.journal.spoken(_spoken(ask.payer, response, refused=speaker.refused_count))
        return response

    def _counters(
        self, request: BatchRequest, payer: Payer, *, call_count: int = CONCURRENCY_MAX
    ) -> dict[str, Counter]:
        weight = self.settings.weights.get(request.app, 1)
        terms = Terms(limit=payer.limit, hold_max=min(payer.hold_max, call_count), app=request.app, weight=weight)
        kept_ms = None if payer.is_server else CALLERS_POOL_KEPT_MS
        wish = min(payer.wish or call_count, call_count)
        return self._pools.counters(payer.pool, terms, products=payer.products, wish=wish, kept_ms=kept_ms)

    async def _speak(
        self, request: BatchRequest, payer: Payer, deadline_at_ms: int, answer_bytes_max: int
    ) -> BatchResponse:
        speaker = CountedSpeaker(self.voice.speaker(payer.login))
        response = await speak_batch_by_product(
            request.tasks,
            speaker=speaker,
            counters=self._counters(request, payer),
            product_of=partial(counter_of, has_v1=payer.login.has_pair),
            clock=self.clock,
            deadline_at_ms=deadline_at_ms,
            answer_bytes_max=answer_bytes_max,
        )
        self.journal.spoken(_spoken(payer, response, refused=speaker.refused_count))
        return response

    # --- jobs -------------------------------------------------------------------

    async def submit_job(
        self, request: JobRequest, *, shown_admin_key: str | None, idempotency_key: str | None = None
    ) -> JobTold:
        """Accept a job.

        Raises:
            UnknownRouteError: This gateway has no jobs.
            AdminKeyError, CredentialsError, InvalidRequestError: As `Jobs.submit` says.
            StoreError, SecretError: Something is out of reach; nothing was bought.
        """
        keyring = await self._keys.keyring()
        require_admin_key(keyring, shown_admin_key)
        return await self.jobs.submit(
            request, keyring=keyring, shown_admin_key=shown_admin_key, idempotency_key=idempotency_key
        )

    async def jobs_for(self, shown_admin_key: str | None) -> Jobs:
        """Return the jobs, to those with the admin key.

        Raises:
            UnknownRouteError: This gateway has no jobs.
            AdminKeyError: The admin key is missing or wrong.
            SecretError: It can't be told.
        """
        require_admin_key(await self._keys.keyring(), shown_admin_key)
        return self.jobs

    async def uploads_for(self, shown_admin_key: str | None) -> Uploads:
        """Return the way in for large jobs, to those with the admin key; raises as `jobs_for` does."""
        return Uploads(await self.jobs_for(shown_admin_key), keys=self._keys, clock=self.clock)

    @property
    def has_jobs(self) -> bool:
        """Whether this gateway has jobs."""
        return self._jobs is not None

    @property
    def jobs(self) -> Jobs:
        """The jobs.

        Raises:
            UnknownRouteError: This gateway has none.
        """
        if self._jobs is None:
            raise UnknownRouteError("This gateway has no jobs")
        return self._jobs

    # --- what the pools are doing ----------------------------------------------

    async def health(self) -> str:
        """Return that the service lives, and how busy the server's pool is, as JSON; a second old at most.

        A limit or a number of slots that can't be told is null, and the service is degraded.
        """
        if self._health is None or not self._health[0].is_within(HEALTH_AGE_MAX_MS, self.clock):
            looked_at = Moment.now(self.clock)
            self._health = (looked_at, json.dumps(await self._look()))
        return self._health[1]

    async def _look(self) -> HealthTold:
        told: HealthTold = {
            "status": "ok",
            "service": SERVICE,
            "version": __version__,
            "limit": None,
            "slots_in_use": None,
        }
        pool = self._pools.of(SERVER_POOL)
        try:
            keyring = await self._keys.keyring()
            state = await pool.state()
        except (PoolError, SecretError):
            return {**told, "status": "degraded"}
        told["limit"] = keyring.main.limit.n if keyring.main else None
        told["slots_in_use"] = 0
        if state is not None:
            told["slots_in_use"] = slots_in_use(state, now_lo_ms=pool.now_lo_ms(), times=pool.times)
            told["limit"] = state.limit.n if state.limit else told["limit"]
        return told

    async def pools(self, *, shown_admin_key: str | None) -> str:
        """Return the figures of the first `POOLS_LISTED_MAX` pools, as JSON.

        Raises:
            AdminKeyError: The admin key is missing or wrong.
            PoolTableError: The table gave no answer.
        """
        require_admin_key(await self._keys.keyring(), shown_admin_key)
        names = await self._table.names()
        told = [await self._told(name, summary_of) for name in names[:POOLS_LISTED_MAX]]
        page: PoolsTold = {"pools": [one for one in told if one], "pools_count": len(names)}
        return json.dumps(page)

    async def pool_report(self, name: str, *, shown_admin_key: str | None) -> str:
        """Return who holds and who waits in a pool, as JSON.

        Raises:
            AdminKeyError: The admin key is missing or wrong.
            UnknownPoolError: There is no such pool.
            PoolTableError: The table gave no answer.
        """
        require_admin_key(await self._keys.keyring(), shown_admin_key)
        told = await self._told(name, report_of) if len(name) <= POOL_NAME_CHARACTERS_MAX else None
        if told is None:
            raise UnknownPoolError("No pool has this name; a pool begins with the first batch in it")
        return json.dumps(told)

    async def _told(self, name: str, tell: Callable[..., T]) -> T | None:
        pool = self._pools.looked_at(name)
        state = await pool.state()
        return None if state is None else tell(name, state, now_lo_ms=pool.now_lo_ms(), times=pool.times)


def _spoken(payer: Payer, response: BatchResponse, *, refused: int) -> Spoken:
    codes = [result.error.code for result in response.results if result.error]
    return Spoken(
        pool=payer.pool if payer.is_server else "caller",
        tasks=len(response.results),
        failed=len(codes),
        cut=codes.count(DeadlineCutError.code),
        refused=refused,
        waited_ms=response.pool.waited_ms,
    )
