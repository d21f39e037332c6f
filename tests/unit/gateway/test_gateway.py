from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.support.gateway import ADMIN_KEY, CALLER_LOGIN, SERVER_LOGIN, Bench, ScriptedVoice, event, keyring
from volcengine_client.errors import ConcurrencyExceededError, LoginRejectedError, SecretError, VolcengineError
from volcengine_client.limits import SERVER_REQUESTS_MAX, SERVER_STRANGERS_MAX
from volcengine_client.models import TaskItem
from volcengine_client.pool.slots import Limit
from volcengine_client.speech.login import Login
from volcengine_gateway.credentials import Account, Keyring
from volcengine_gateway.pools import POOLS_KEPT_MAX
from volcengine_gateway.settings import Settings

pytestmark = pytest.mark.looptime

BATCH = {"tasks": [{"text": "one"}, {"text": "two"}]}
NEW_LOGIN = Login(SERVER_LOGIN.app_id, "the-servers-new-access-key")
OWN = {"volcengine_tts_appid": CALLER_LOGIN.app_id, "volcengine_tts_access_key": CALLER_LOGIN.access_key}


class RotatedKeys:
    """Keys of which an old version is remembered."""

    def __init__(self, old: Keyring, new: Keyring | SecretError) -> None:
        self._now = old
        self._new = new
        self.reread_count = 0

    async def keyring(self) -> Keyring:
        return self._now

    async def reread(self, doubted: Keyring) -> Keyring:
        assert doubted is self._now
        self.reread_count += 1
        if isinstance(self._new, SecretError):
            raise self._new
        self._now = self._new
        return self._now


class NoKeys(RotatedKeys):
    async def keyring(self) -> Keyring:
        raise SecretError("The gateway's secret can't be read now", retry_after_ms=2_000)


def knows(*logins: Login) -> ScriptedVoice:
    """Return an upstream that rejects all logins but these."""

    def outcome(login: Login, _task: TaskItem) -> bytes | VolcengineError:
        return b"audio" if login in logins else LoginRejectedError("The upstream does not know this app id")

    return ScriptedVoice({}, outcome=outcome)


async def test_a_rotated_key_is_read_again_and_the_batch_is_spoken() -> None:
    keys = RotatedKeys(keyring(), keyring(login=NEW_LOGIN))
    bench = Bench(keys=keys, voice=knows(NEW_LOGIN))

    told = await bench.post(BATCH)
    again = await bench.post(BATCH)

    assert (told.status, again.status) == (200, 200)
    assert keys.reread_count == 1
    assert await bench.table.names() == ["server"]


async def test_a_key_that_is_rejected_and_was_not_rotated_is_the_gateways_fault() -> None:
    keys = RotatedKeys(keyring(), keyring())
    bench = Bench(keys=keys, voice=knows())

    told = await bench.post(BATCH)

    assert told.status == 502
    assert told.error["code"] == "login_rejected"
    assert told.error["retryable"] is False
    assert keys.reread_count == 1


async def test_a_rotated_key_that_is_rejected_too_is_not_read_a_third_time() -> None:
    keys = RotatedKeys(keyring(), keyring(login=NEW_LOGIN))
    bench = Bench(keys=keys, voice=knows())

    told = await bench.post(BATCH)

    assert told.status == 502
    assert keys.reread_count == 1


async def test_a_rejected_key_and_a_secret_out_of_reach_ask_for_patience() -> None:
    bench = Bench(keys=RotatedKeys(keyring(), SecretError("out of reach")), voice=knows())

    told = await bench.post(BATCH)

    assert told.status == 503


async def test_an_admin_key_that_was_rotated_with_the_login_is_asked_for_again() -> None:
    bench = Bench(keys=RotatedKeys(keyring(), keyring(login=NEW_LOGIN, admin_key="new")), voice=knows(NEW_LOGIN))

    told = await bench.post(BATCH)

    assert told.status == 401


async def test_callers_credentials_that_the_upstream_rejects_are_the_callers_fault() -> None:
    keys = RotatedKeys(keyring(), keyring())
    bench = Bench(keys=keys, voice=knows())

    told = await bench.post({**BATCH, "credentials": OWN})

    assert told.status == 400
    assert told.error["code"] == "invalid_credentials"
    assert CALLER_LOGIN.access_key not in told.body
    assert keys.reread_count == 0


async def test_a_secret_out_of_reach_is_told_with_when_to_ask_again() -> None:
    bench = Bench(keys=NoKeys(keyring(), keyring()))

    told = await bench.post(BATCH)
    empty = await bench.post({"tasks": []}, admin_key=None)
    health = await bench.ask(event("GET", "/"))

    assert told.status == 503
    assert told.error["code"] == "secret_unavailable"
    assert (health.status, health.said["status"], health.said["limit"]) == (200, "degraded", None)
    assert told.headers["Retry-After"] == "2"
    assert empty.status == 200
    assert bench.voice.spoken == []


async def test_nobodys_credentials_are_told() -> None:
    bench = Bench(keys=RotatedKeys(keyring(login=None), keyring(login=None)))

    told = await bench.post(BATCH)

    assert told.status == 400
    assert told.error["code"] == "invalid_credentials"
    assert bench.voice.spoken == []


async def test_accounts_have_pools_and_limits_of_their_own() -> None:
    second = Account("account:second", Login("3000000003", "another"), Limit(2, 1))
    keys = RotatedKeys(replace(keyring(), accounts={"second": second}), keyring())
    bench = Bench(keys=keys, voice=ScriptedVoice({SERVER_LOGIN.app_id: 10, second.login.app_id: 2}))

    told = await bench.post({"tasks": [{"text": str(index)} for index in range(8)], "account": "second"})
    await bench.post(BATCH)

    assert told.said["pool"]["limit"] == 2
    assert bench.voice.peak[second.login.app_id] == 2
    assert await bench.table.names() == ["account:second", "server"]
    assert [batch.pool for batch in bench.journal.batches] == ["account:second", "server"]


async def test_more_batches_than_a_process_takes_are_told_to_come_again() -> None:
    bench = Bench()

    with ExitStack() as taken:
        for _ in range(SERVER_REQUESTS_MAX):
            taken.enter_context(bench.gateway.admitted(is_operator=True))
        told = await bench.post(BATCH)

    assert told.status == 429
    assert told.error["code"] == "capacity"
    assert "Retry-After" in told.headers
    assert bench.voice.spoken == []
    assert (await bench.post(BATCH)).status == 200


async def test_strangers_leave_room_for_those_with_the_admin_key() -> None:
    bench = Bench(settings=Settings(callers_credentials="anyone"))

    with ExitStack() as taken:
        for _ in range(SERVER_STRANGERS_MAX):
            taken.enter_context(bench.gateway.admitted(is_operator=False))
        stranger = await bench.post({**BATCH, "credentials": OWN}, admin_key=None)
        operator = await bench.post(BATCH)

    assert (stranger.status, operator.status) == (429, 200)


async def test_a_name_that_no_pool_can_have_is_unknown() -> None:
    bench = Bench()

    told = await bench.ask(event("GET", f"/pools/{'p' * 3_000}", admin_key=ADMIN_KEY))

    assert told.status == 404


async def test_a_key_in_the_place_of_a_name_is_not_repeated() -> None:
    bench = Bench()

    told = await bench.post({**BATCH, "credentials": {"some_secret_key": "x"}})

    assert told.status == 422
    assert "some_secret_key" not in told.body


async def test_apps_have_the_weights_that_the_operator_gave_them() -> None:
    settings = Settings(callers_credentials="anyone", weights={"reader": 3})
    bench = Bench(settings=settings, voice=ScriptedVoice({}, speak_ms=3_000))
    asked = [asyncio.create_task(bench.post({**BATCH, "app": app})) for app in ("reader", "other")]
    await asyncio.sleep(1)

    state = (await bench.table.read("server")).state
    await asyncio.gather(*asked)

    assert state is not None
    assert {entry.app: entry.weight for entry in state.queue.values()} == {"reader": 3, "other": 1}


async def test_an_invocation_begins_by_doubting_what_is_old() -> None:
    bench = Bench()
    await bench.post(BATCH)
    [pool] = bench.gateway._pools._known.values()
    known = pool.now_lo_ms()

    await bench.gateway.begin_invocation()

    assert known is not None
    assert pool.now_lo_ms() is None
    assert bench.voice.closed_idle_count == 1
    assert (await bench.post(BATCH)).status == 200


async def test_a_process_remembers_a_bounded_number_of_pools() -> None:
    bench = Bench(settings=Settings(callers_credentials="anyone"), voice=ScriptedVoice({}, speak_ms=1))

    for index in range(POOLS_KEPT_MAX + 10):
        login = {"volcengine_tts_appid": str(index), "volcengine_tts_access_key": "k"}
        told = await bench.post({"tasks": [{"text": "x"}], "credentials": login}, admin_key=None)
        assert told.status == 200

    assert len(bench.gateway._pools._known) == POOLS_KEPT_MAX
    assert len(await bench.table.names()) == POOLS_KEPT_MAX + 10


async def test_the_list_of_pools_is_bounded_and_says_how_many_there_are() -> None:
    bench = Bench()
    for index in range(120):
        await bench.gateway._pools.of(f"account:{index:03}").open(Limit(1, 0))

    told = json.loads(await bench.gateway.pools(shown_admin_key=ADMIN_KEY))

    assert len(told["pools"]) == 100
    assert told["pools_count"] == 120


async def test_refusals_for_concurrency_are_counted_though_the_task_is_spoken_in_the_end() -> None:
    left = [2]

    def outcome(_login: Login, _task: TaskItem) -> bytes | VolcengineError:
        left[0] -= 1
        return b"audio" if left[0] < 0 else ConcurrencyExceededError("too many calls in progress")

    bench = Bench(voice=ScriptedVoice({}, outcome=outcome))

    told = await bench.post({"tasks": [{"text": "one"}]})

    assert told.status == 200
    assert [(batch.refused, batch.failed) for batch in bench.journal.batches] == [(2, 0)]


async def test_calls_that_the_deadline_cut_are_counted() -> None:
    bench = Bench(voice=ScriptedVoice({}, speak_ms=60_000, is_patient=True))

    told = await bench.post(BATCH, remaining_ms=20_000)

    assert told.status == 504
    assert told.error["code"] == "cut_at_deadline"
    assert [batch.cut for batch in bench.journal.batches] == [2]
