"""A gateway whose upstream is a script, and events for its routes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from volcengine_client.clock import Clock
from volcengine_client.errors import UpstreamTimeoutError, VolcengineError
from volcengine_client.models import TaskItem
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import Limit
from volcengine_client.pool.table import PoolTable
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.speech import Speech, Word
from volcengine_gateway.credentials import SERVER_POOL, Account, Keyring, naming_key_of, webhook_key_of
from volcengine_gateway.gateway import Gateway
from volcengine_gateway.incoming import body_in
from volcengine_gateway.jobs.service import Jobs
from volcengine_gateway.journal import Answered, CalledBack, PutOff, Spoken, Worked, told_of_bug
from volcengine_gateway.routes import Routes
from volcengine_gateway.secret import FixedKeys, Keys
from volcengine_gateway.settings import Settings

ADMIN_KEY = "the-admin-key"
SERVER_LOGIN = Login("1000000001", "the-servers-access-key")
CALLER_LOGIN = Login("2000000002", "a-callers-access-key")
SPEAK_MS = 100
WALL_MS = 1_767_225_600_000


class LoopClock:
    """The event loop's time, which tests may run ahead."""

    def monotonic_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1_000)

    def wall_ms(self) -> int:
        return WALL_MS + self.monotonic_ms()

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1_000)


Outcome = Callable[[Login, TaskItem], bytes | VolcengineError]


def spoken_text(_login: Login, task: TaskItem) -> bytes:
    """Make audio by which its text is known again."""
    return task.text.encode()


@dataclass
class ScriptedVoice:
    """An upstream in this process: answers by a script, and keeps account of the calls in progress.

    Attributes:
        limits: Calls at once, by app id; checked in every call.
        outcome: What becomes of a call.
        speak_ms: How long one takes.
        words: When each word of a task is heard that wants subtitles; None: the voice does not tell.
        duration_ms: How long its audio plays.
        is_patient: Whether a call goes on beyond its time-out, until it is cancelled.
        spoken: Login and task of each call, in order.
        closed_idle_count: How often idle connections were to be closed.
    """

    limits: Mapping[str, int]
    outcome: Outcome = spoken_text
    speak_ms: int = SPEAK_MS
    words: Callable[[TaskItem], tuple[Word, ...]] | None = None
    duration_ms: Callable[[bytes], int] = lambda _audio: 1_000
    is_patient: bool = False
    spoken: list[tuple[Login, TaskItem]] = field(default_factory=list)
    in_progress: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    closed_idle_count: int = 0

    def speaker(self, login: Login) -> ScriptedSpeaker:
        return ScriptedSpeaker(self, login)

    async def close_idle(self) -> None:
        self.closed_idle_count += 1

    async def close(self) -> None:
        pass


@dataclass
class ScriptedSpeaker:
    """One account at it."""

    voice: ScriptedVoice
    login: Login

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        call.ready()
        app_id = self.login.app_id
        self.voice.spoken.append((self.login, task))
        self.voice.in_progress[app_id] += 1
        self.voice.peak[app_id] = max(self.voice.peak[app_id], self.voice.in_progress[app_id])
        assert self.voice.in_progress[app_id] <= self.voice.limits.get(app_id, 10)
        try:
            call.sent()
            if self.voice.is_patient or self.voice.speak_ms <= timeout_ms:
                await asyncio.sleep(self.voice.speak_ms / 1_000)
            else:
                await asyncio.sleep(timeout_ms / 1_000)
                raise UpstreamTimeoutError("The upstream had no answer in time")
            call.answered()
        finally:
            self.voice.in_progress[app_id] -= 1
        outcome = self.voice.outcome(self.login, task)
        if isinstance(outcome, VolcengineError):
            raise outcome
        words = self.voice.words(task) if self.voice.words is not None and task.subtitles is not None else None
        return Speech(outcome, self.voice.duration_ms(outcome), None, words=words)


@dataclass
class KeptJournal:
    """A journal that a test reads."""

    batches: list[Spoken] = field(default_factory=list)
    requests: list[Answered] = field(default_factory=list)
    callbacks: list[CalledBack] = field(default_factory=list)
    bugs: list[dict[str, object]] = field(default_factory=list)
    slices: list[Worked] = field(default_factory=list)
    put_offs: list[PutOff] = field(default_factory=list)

    def spoken(self, event: Spoken) -> None:
        self.batches.append(event)

    def answered(self, event: Answered) -> None:
        self.requests.append(event)

    def called_back(self, event: CalledBack) -> None:
        self.callbacks.append(event)

    def worked(self, event: Worked) -> None:
        self.slices.append(event)

    def put_off(self, event: PutOff) -> None:
        self.put_offs.append(event)

    def bug(self, error: BaseException, *, request_id: str) -> None:
        self.bugs.append({"request_id": request_id, **told_of_bug(error)})


class Remaining:
    """Lambda's context, with all the time of the world unless told otherwise."""

    def __init__(self, remaining_ms: int = 29_000) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


def keyring(*, admin_key: str | None = ADMIN_KEY, login: Login | None = SERVER_LOGIN, n: int = 10) -> Keyring:
    """Return what a server knows that has one account."""
    main = Account(SERVER_POOL, login, Limit(n, 1)) if login else None
    naming_key = naming_key_of(admin_key)
    return Keyring(admin_key=admin_key, main=main, naming_key=naming_key, webhook_key=webhook_key_of(naming_key))


class Bench:
    """A gateway on a table, with a scripted upstream, and ways to ask it."""

    def __init__(
        self,
        *,
        keys: Keys | None = None,
        voice: ScriptedVoice | None = None,
        table: PoolTable | None = None,
        clock: Clock | None = None,
        settings: Settings | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self.clock = clock or LoopClock()
        self.voice = voice or ScriptedVoice({SERVER_LOGIN.app_id: 10})
        self.table = table or MemoryTable(clock=self.clock)
        self.journal = KeptJournal()
        self.gateway = Gateway(
            settings or Settings(callers_credentials="with_admin_key"),
            keys=keys or FixedKeys(keyring()),
            table=self.table,
            voice=self.voice,
            clock=self.clock,
            journal=self.journal,
            jobs=jobs,
        )
        self.routes = Routes(self.gateway)

    async def ask(self, event: Mapping[str, Any], *, remaining_ms: int = 29_000) -> Told:
        """Send an event through the routes."""
        body = partial(body_in, event, body_bytes_max=self.gateway.settings.body_bytes_max)
        answer = await self.routes.answer(event, Remaining(remaining_ms), body)
        return Told(answer["statusCode"], answer["headers"], answer.get("body") or "")

    async def post(
        self, body: Any, *, admin_key: str | None = ADMIN_KEY, remaining_ms: int = 29_000, **headers: str
    ) -> Told:
        """Post a batch, as JSON unless *body* is text already; `prefer="…"` becomes a header."""
        text = body if isinstance(body, str) else json.dumps(body)
        asked = event("POST", "/generate-batch", body=text, admin_key=admin_key)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask({**asked, "headers": {**asked["headers"], **told}}, remaining_ms=remaining_ms)


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.said["error"]


def event(
    method: str, path: str, *, body: str | None = None, admin_key: str | None = None, **headers: str
) -> dict[str, Any]:
    """Return an event of API Gateway's HTTP API; header names are given with underscores."""
    shown = {"Admin-API-Key": admin_key} if admin_key is not None else {}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**shown, **{name.replace("_", "-"): value for name, value in headers.items()}},
        "requestContext": {
            "http": {"method": method, "path": path},
            "requestId": "request-1",
            "stage": "$default",
            "timeEpoch": WALL_MS,
        },
        "body": body,
        "isBase64Encoded": False,
    }
