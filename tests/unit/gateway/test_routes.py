from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import (
    ADMIN_KEY,
    CALLER_LOGIN,
    SERVER_LOGIN,
    Bench,
    LoopClock,
    ScriptedVoice,
    event,
)
from tests.support.jobs import Workshop
from volcengine_client.errors import (
    OptionRefusedError,
    PoolTableError,
    QuotaUsedUpError,
    TextRefusedError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VoiceNotGrantedError,
    VolcengineError,
)
from volcengine_client.models import TaskItem
from volcengine_client.pool.memory import MemoryTable
from volcengine_client.pool.slots import PoolState
from volcengine_client.pool.table import Reply
from volcengine_client.speech.login import Login

pytestmark = pytest.mark.looptime

LIMITS = {SERVER_LOGIN.app_id: 10}


def texts(*given: str) -> dict[str, Any]:
    return {"tasks": [{"task_id": f"t{index}", "text": text} for index, text in enumerate(given)]}


def audio_in(told: Any) -> list[str]:
    return [base64.b64decode(result["audio_base64"]).decode() for result in told.said["results"]]


async def test_a_batch_comes_back_in_input_order_with_repeated_ids() -> None:
    bench = Bench()
    tasks = [{"task_id": f"t{index % 2}", "text": f"text {index}"} for index in range(12)]

    told = await bench.post({"tasks": tasks, "credentials": {"volcengine_tts_concurrency": 3}})

    assert told.status == 200
    assert audio_in(told) == [task["text"] for task in tasks]
    assert [result["task_id"] for result in told.said["results"]] == [task["task_id"] for task in tasks]
    assert all(result["error"] is None and result["duration_ms"] == 1_000 for result in told.said["results"])
    assert told.said["pool"]["limit"] == 10
    assert bench.voice.peak[SERVER_LOGIN.app_id] == 3
    assert told.headers["X-Request-Id"] == "request-1"
    assert told.headers["Content-Type"] == "application/json"


async def test_a_body_in_base64_is_the_same_body() -> None:
    bench = Bench()
    body = base64.b64encode(json.dumps(texts("你好")).encode()).decode()

    told = await bench.ask(
        {**event("POST", "/generate-batch", body=body, admin_key=ADMIN_KEY), "isBase64Encoded": True}
    )

    assert audio_in(told) == ["你好"]


async def test_an_empty_batch_touches_nothing_and_needs_no_login() -> None:
    bench = Bench()

    told = await bench.post({"tasks": []}, admin_key=None)

    assert told.status == 200
    assert told.said == {
        "results": [],
        "pool": {"limit": 0, "waited_ms": None},
        "characters": {"bought": 0, "saved": 0},
        "job": None,
    }
    assert bench.voice.spoken == []
    assert await bench.table.names() == []


async def test_many_requests_at_once_get_their_own_answers_within_the_limit() -> None:
    bench = Bench()

    told = await asyncio.gather(
        *(bench.post(texts(*(f"{caller} {index}" for index in range(20)))) for caller in range(10))
    )
    others = await asyncio.gather(bench.ask(event("GET", "/")), bench.post({}), bench.ask(event("GET", "/none")))

    assert [audio_in(one) for one in told] == [[f"{caller} {index}" for index in range(20)] for caller in range(10)]
    assert bench.voice.peak[SERVER_LOGIN.app_id] == 10
    assert [one.status for one in others] == [200, 422, 404]


async def test_slow_and_quick_requests_do_not_mix_up_their_answers() -> None:
    bench = Bench()

    told = await asyncio.gather(
        bench.post(texts("slow")), bench.ask(event("GET", "/pools")), bench.post({}), bench.ask(event("OPTIONS", "/"))
    )

    assert [one.status for one in told] == [200, 401, 422, 204]
    assert [request.route for request in bench.journal.requests] == [
        "/pools",
        "/generate-batch",
        "?",
        "/generate-batch",
    ]


# --- when every task failed ---------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UpstreamUnavailableError("broken"), 502),
        (QuotaUsedUpError("used up"), 502),
        (UpstreamTimeoutError("slow"), 504),
        (VoiceNotGrantedError("unknown voice"), 200),
        (TextRefusedError("unreadable"), 200),
        (OptionRefusedError("no pitch"), 200),
        (UpstreamRejectedError("wrong endpoint"), 502),
    ],
)
async def test_a_batch_that_failed_as_a_whole_has_the_failures_status(error: VolcengineError, status: int) -> None:
    bench = Bench(voice=ScriptedVoice(LIMITS, outcome=lambda _login, _task: error))

    told = await bench.post(texts("one", "two"))

    assert told.status == status
    results = told.said["results"] if status == 200 else told.error["details"]["results"]
    assert [result["error"]["code"] for result in results] == [error.code] * 2
    if status != 200:
        assert told.error["code"] == error.code
        assert told.error["retryable"] is error.retryable


async def test_one_spoken_task_makes_the_answer_a_success() -> None:
    def outcome(_login: Login, task: TaskItem) -> bytes | VolcengineError:
        return b"audio" if task.text == "good" else QuotaUsedUpError("used up")

    bench = Bench(voice=ScriptedVoice(LIMITS, outcome=outcome))

    told = await bench.post(texts("bad", "good"))

    assert told.status == 200
    assert told.said["results"][0]["error"]["code"] == "quota_used_up"
    assert told.said["results"][1]["error"] is None


async def test_no_slot_in_time_for_any_task_says_when_to_ask_again() -> None:
    bench = Bench(voice=ScriptedVoice(LIMITS, speak_ms=25_000))
    busy = asyncio.create_task(bench.post(texts(*map(str, range(10)))))
    await asyncio.sleep(1)

    told = await bench.post(texts("late"), remaining_ms=12_000)
    await busy

    assert told.status == 429
    assert told.error["code"] == "no_slot_in_time"
    assert told.error["retryable"] is True
    assert int(told.headers["Retry-After"]) >= 1
    assert [result["error"]["retryable"] for result in told.error["details"]["results"]] == [True]
    assert "late" not in [task.text for _, task in bench.voice.spoken]


async def test_an_answer_leaves_before_the_time_is_over_with_what_is_spoken() -> None:
    bench = Bench(voice=ScriptedVoice({SERVER_LOGIN.app_id: 2}, speak_ms=5_000))
    began = asyncio.get_running_loop().time()

    told = await bench.post(
        {**texts(*map(str, range(40))), "credentials": {"volcengine_tts_concurrency": 2}}, remaining_ms=20_000
    )

    assert asyncio.get_running_loop().time() - began < 20
    assert told.status == 200
    errors = [result["error"] for result in told.said["results"]]
    assert errors.count(None) >= 4
    assert all(error["retryable"] for error in errors if error)
    assert len(bench.voice.spoken) == errors.count(None)


class SilentTable(MemoryTable):
    async def read(self, pool: str) -> Reply:
        raise PoolTableError(f"The table gave no answer on {pool} in time")

    async def names(self) -> list[str]:
        raise PoolTableError("The table gave no answer in time")


async def test_a_table_out_of_reach_is_told_and_nothing_is_bought() -> None:
    bench = Bench(table=SilentTable(clock=LoopClock()))

    told = await bench.post(texts("hello"))
    pools = await bench.ask(event("GET", "/pools", admin_key=ADMIN_KEY))
    health = await bench.ask(event("GET", "/"))

    assert told.status == pools.status == 503
    assert told.error["code"] == pools.error["code"] == "pool_table"
    assert int(told.headers["Retry-After"]) >= 1
    assert (health.status, health.said["status"], health.said["slots_in_use"]) == (200, "degraded", None)
    assert bench.voice.spoken == []


# --- health and pools -----------------------------------------------------------


async def test_health_tells_how_busy_the_server_is_without_a_login() -> None:
    bench = Bench(voice=ScriptedVoice(LIMITS, speak_ms=5_000))
    idle = await bench.ask(event("GET", "/"))
    busy = asyncio.create_task(bench.post(texts("a", "b", "c")))
    await asyncio.sleep(2)

    told = await bench.ask(event("GET", "/"))
    await busy

    assert idle.said == {
        "status": "ok",
        "service": "volcengine-concurrent-tts",
        "version": "3.0.0",
        "limit": 10,
        "slots_in_use": 0,
    }
    assert told.said["slots_in_use"] == 3


async def test_health_reads_the_table_once_a_second() -> None:
    bench = Bench()
    reads: list[str] = []
    read = bench.table.read

    async def counted(pool: str) -> Reply:
        reads.append(pool)
        return await read(pool)

    bench.table.read = counted  # type: ignore[method-assign]
    for _ in range(50):
        await bench.ask(event("GET", "/"))
    await asyncio.sleep(1)
    await bench.ask(event("GET", "/"))

    assert reads == ["server"] * 2


async def test_a_pool_tells_the_operator_who_holds_and_who_waits() -> None:
    bench = Bench(voice=ScriptedVoice({SERVER_LOGIN.app_id: 10}, speak_ms=3_000))
    first = asyncio.create_task(bench.post({**texts(*map(str, range(20))), "app": "big"}))
    await asyncio.sleep(1)
    second = asyncio.create_task(bench.post({**texts("x", "y"), "app": "small"}))
    await asyncio.sleep(0.5)

    told = await bench.ask(event("GET", "/pools/server", admin_key=ADMIN_KEY))
    listed = await bench.ask(event("GET", "/pools", admin_key=ADMIN_KEY))
    await asyncio.gather(first, second)

    assert told.status == 200
    assert told.said["limit"] == told.said["slots_in_use"] == len(told.said["slots"]) == 10
    by_app = {one["app"]: one for one in told.said["participants"]}
    assert (by_app["big"]["held"], by_app["small"]["held"]) == (10, 0)
    assert by_app["small"]["position"] == 1
    assert by_app["small"]["why"] == "all 10 slots are busy: next in line"
    assert {slot["holder"] for slot in told.said["slots"]} == {by_app["big"]["holder"]}
    assert [pool["pool"] for pool in listed.said["pools"]] == ["server"]
    assert listed.said["pools"][0]["participants"] == 2


@pytest.mark.parametrize("path", ["/pools", "/pools/server"])
@pytest.mark.parametrize("admin_key", [None, "wrong"])
async def test_pools_are_the_operators_alone(path: str, admin_key: str | None) -> None:
    told = await Bench().ask(event("GET", path, admin_key=admin_key))

    assert told.status == 401


@pytest.mark.parametrize("name", ["server", "caller-0", "%2e%2e", "a%20b", "账号"])
async def test_a_pool_that_nobody_joined_is_unknown(name: str) -> None:
    told = await Bench().ask(event("GET", f"/pools/{name}", admin_key=ADMIN_KEY))

    assert told.status == 404
    assert told.error["code"] in {"unknown_pool", "unknown_route"}


async def test_a_name_in_the_path_may_be_escaped() -> None:
    bench = Bench()
    await bench.table.create("account:second", PoolState())

    told = [
        await bench.ask(event("GET", f"/pools/{name}", admin_key=ADMIN_KEY))
        for name in ("account:second", "account%3Asecond")
    ]

    assert [one.said["pool"] for one in told] == ["account:second"] * 2


@pytest.mark.parametrize("path", ["/", "/pools", "/pools/server"])
async def test_head_is_answered_as_get_is(path: str) -> None:
    bench = Bench()
    await bench.post(texts("hello"))

    told = [await bench.ask(event(method, path, admin_key=ADMIN_KEY)) for method in ("GET", "HEAD")]

    assert [one.status for one in told] == [200, 200]


@pytest.mark.parametrize(("path", "allow"), [("/", "GET, HEAD, OPTIONS"), ("/generate-batch", "POST, OPTIONS")])
async def test_options_names_the_methods(path: str, allow: str) -> None:
    told = await Bench().ask(event("OPTIONS", path))

    assert (told.status, told.headers["Allow"], told.body) == (204, allow, "")


# --- our own mistakes -----------------------------------------------------------


async def test_a_bug_is_answered_with_the_request_id_and_nothing_internal() -> None:
    def outcome(_login: Login, task: TaskItem) -> bytes:
        raise ZeroDivisionError(f"while speaking {task.text}")

    bench = Bench(voice=ScriptedVoice(LIMITS, outcome=outcome))

    told = await bench.post(texts("canary-7f3a"))

    assert told.status == 500
    assert told.error["code"] == "internal"
    assert told.error["request_id"] == "request-1"
    assert told.error["details"] == {}
    assert "ZeroDivision" not in told.body
    [bug] = bench.journal.bugs
    assert "ZeroDivisionError" in str(bug["kinds"])
    assert "canary-7f3a" not in str(bug)


@pytest.mark.parametrize("strange", [{}, {"requestContext": None}, {"requestContext": {"http": {}}}, {"Records": []}])
async def test_an_event_that_is_no_request_is_answered_all_the_same(strange: dict[str, Any]) -> None:
    told = await Bench().ask(strange)

    assert told.status == 500
    assert told.error["code"] == "internal"


async def test_the_journal_has_counts_and_no_texts() -> None:
    bench = Bench()

    await bench.post({**texts("canary-7f3a", "x"), "app": "reader"})

    assert [(batch.pool, batch.tasks, batch.failed) for batch in bench.journal.batches] == [("server", 2, 0)]
    [request] = bench.journal.requests
    assert (request.route, request.method, request.status, request.code) == ("/generate-batch", "POST", 200, None)
    assert request.duration_ms >= 100
    assert "canary" not in str(bench.journal)


async def test_callers_credentials_speak_in_a_pool_of_their_own() -> None:
    bench = Bench(voice=ScriptedVoice({CALLER_LOGIN.app_id: 2, **LIMITS}))
    own = {
        "volcengine_tts_appid": CALLER_LOGIN.app_id,
        "volcengine_tts_access_key": CALLER_LOGIN.access_key,
        "volcengine_tts_concurrency": 2,
    }

    told = await bench.post({**texts(*map(str, range(6))), "credentials": own})

    assert told.said["pool"]["limit"] == 2
    assert {login for login, _ in bench.voice.spoken} == {CALLER_LOGIN}
    assert bench.voice.peak[CALLER_LOGIN.app_id] == 2
    [name] = await bench.table.names()
    assert name.startswith("caller-")
    assert CALLER_LOGIN.app_id not in name
    assert bench.journal.batches[0].pool == "caller"


@pytest.mark.parametrize("job_id", ["0" * 32, "1234", "%22", "a/b", "..%2f", "x" * 300])
async def test_an_id_that_is_none_is_told_like_one_of_no_job(job_id: str, tmp_path: Path) -> None:
    told = await Workshop(tmp_path).bench().ask(event("GET", f"/jobs/{job_id}", admin_key=ADMIN_KEY))

    assert (told.status, told.error["code"]) == (404, "unknown_job")
