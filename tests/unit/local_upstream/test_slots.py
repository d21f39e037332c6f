"""How the simulated upstream counts calls in progress."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from infra.local.upstream import slot_ms_between


async def gone(stage: Any, text: str) -> None:
    """Begin a call and disconnect in the middle of its work."""
    gauge = stage.upstream.gauge("app")
    before = gauge.in_flight
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer;key"}
        request = session.post(f"{stage.upstream.url}/api/v1/tts", json=stage.caller.body(text), headers=headers)
        asked = asyncio.ensure_future(request)
        await stage.upstream.until(lambda: gauge.in_flight == before + 1)
        await stage.clock.until_sleeping(before + 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


async def test_a_limit_of_three_lets_three_in_and_refuses_the_fourth(start: Any) -> None:
    stage = await start(limit=3)
    gauge = stage.upstream.gauge("app")
    calls = [asyncio.create_task(stage.caller.say(f"第{number}句")) for number in range(3)]
    await stage.clock.until_sleeping(3)

    assert (await stage.caller.say()).status == 429
    assert (gauge.in_flight, gauge.peak, dict(gauge.refusals)) == (3, 3, {"concurrency": 1})
    stage.clock.advance(100)
    assert [(await call).json["code"] for call in calls] == [3000] * 3
    assert (gauge.in_flight, gauge.peak, gauge.bought, gauge.delivered) == (0, 3, 3, 3)


async def test_a_slot_is_free_before_the_answer_is_complete(start: Any) -> None:
    stage = await start(limit=1)

    for _ in range(20):
        assert (await stage.call()).json["code"] == 3000


async def test_with_a_lag_a_slot_counts_on_after_the_answer(start: Any) -> None:
    stage = await start(limit=1, release_lag_ms=50)
    first = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)
    stage.clock.advance(100)
    assert (await first).status == 200

    assert (await stage.caller.say()).status == 429
    stage.clock.advance(50)
    await stage.upstream.until(lambda: stage.upstream.gauge("app").in_flight == 0)
    assert (await stage.call()).json["code"] == 3000


async def test_accounts_and_products_have_slots_of_their_own(start: Any) -> None:
    stage = await start(accounts=[{"app_id": "app", "token": "key", "limit": 1}, {"app_id": "two", "token": "key"}])
    said = [
        {},
        {"audio__voice_type": "zh_male_qingcang_mars_bigtts"},
        {"app__appid": "two"},
        {"audio__voice_type": "S_clone1", "app__cluster": "volcano_icl"},
    ]
    calls = [asyncio.create_task(stage.caller.say(**changes)) for changes in said]
    await stage.clock.until_sleeping(4)

    assert (await stage.caller.say()).status == 429
    stage.clock.advance(100)
    assert [(await call).status for call in calls] == [200] * 4
    gauges = (await stage.get("/_simulator"))["accounts"]
    assert {app_id: sorted(products) for app_id, products in gauges.items()} == {
        "app": ["volc.megatts.default", "volc.service_type.10029", "volc.tts.default"],
        "two": ["volc.tts.default"],
    }


async def test_two_keys_of_one_app_id_share_its_slots(start: Any) -> None:
    keys = [{"app_id": "app", "token": token, "limit": 1} for token in ("key", "newer")]
    stage = await start(accounts=keys)
    first = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)

    assert (await stage.caller.post(authorization="Bearer;newer")).status == 429
    stage.clock.advance(100)
    assert (await first).status == 200


async def test_a_slot_stays_taken_to_the_end_of_the_work_when_the_caller_has_gone(start: Any) -> None:
    stage = await start(limit=1)
    gauge = stage.upstream.gauge("app")

    await gone(stage, "没有人听")

    assert (await stage.caller.say()).status == 429
    stage.clock.advance(100)
    await stage.upstream.until(lambda: gauge.in_flight == 0)
    assert (gauge.bought, gauge.delivered) == (1, 0)
    assert (await stage.call()).json["code"] == 3000


async def test_by_choice_a_slot_is_free_as_soon_as_the_caller_has_gone(start: Any) -> None:
    stage = await start(limit=1, hold_slot_until_done=False)
    gauge = stage.upstream.gauge("app")

    await gone(stage, "没有人听")
    await stage.upstream.until(lambda: gauge.in_flight == 0)

    assert (gauge.bought, dict(gauge.faults)) == (0, {"abandoned": 1})


async def test_lowering_the_limit_lets_running_calls_end_and_no_new_one_in(start: Any) -> None:
    stage = await start(limit=2)
    calls = [asyncio.create_task(stage.caller.say()) for _ in range(2)]
    await stage.clock.until_sleeping(2)
    await stage.order(limit=1)

    assert (await stage.caller.say()).status == 429
    stage.clock.advance(100)
    assert [(await call).status for call in calls] == [200, 200]


async def test_the_record_tells_how_busy_the_slots_were_between_two_instants(start: Any) -> None:
    stage = await start(limit=2)
    began_at_ms = stage.clock.now_ms
    long = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)
    stage.clock.advance(60)
    short = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(2)
    stage.clock.advance(40)
    await long
    stage.clock.advance(60)
    await short
    gauge = (await stage.get("/_simulator"))["accounts"]["app"]["volc.tts.default"]

    assert gauge["slot_ms"] == 200
    assert (gauge["first_call_at_ms"], gauge["last_end_at_ms"]) == (began_at_ms, began_at_ms + 160)
    assert slot_ms_between(gauge["steps"], began_at_ms + 60, began_at_ms + 100) == 80
    assert slot_ms_between(gauge["steps"], began_at_ms - 500, began_at_ms + 500) == 200
    assert slot_ms_between(gauge["steps"], began_at_ms + 110, began_at_ms + 110) == 0


async def test_a_reset_forgets_everything_but_what_is_in_flight(start: Any) -> None:
    stage = await start(limit=2)
    body = stage.caller.body()
    await stage.caller.post(stage.caller.body("…"))
    running = asyncio.create_task(stage.caller.post(body))
    await stage.clock.until_sleeping(1)
    _, report = await stage.order(reset=True, next_faults=["3005"])

    gauge = report["accounts"]["app"]["volc.tts.default"]
    assert (gauge["in_flight"], gauge["peak"], gauge["calls"], gauge["refusals"]) == (1, 1, 0, {})
    stage.clock.advance(100)
    assert (await running).status == 200
    assert stage.upstream.gauge("app").in_flight == 0
    assert (await stage.call(request__reqid=body["request"]["reqid"])).json["code"] == 3005


async def test_the_record_counts_calls_purchases_and_deliveries_by_text(start: Any) -> None:
    stage = await start()
    await stage.order(text_faults={"一": ["3005", "empty"]})

    for _ in range(3):
        await stage.call("一")
    await stage.call("二")
    texts = (await stage.get("/_simulator"))["accounts"]["app"]["volc.tts.default"]["texts"]

    assert texts == {
        "一": {"calls": 3, "bought": 2, "delivered": 1},
        "二": {"calls": 1, "bought": 1, "delivered": 1},
    }
    calls = await stage.get("/_simulator/calls")
    assert [call["outcome"] for call in calls] == ["3005", "empty", "spoken", "spoken"]
    assert [call["is_delivered"] for call in calls] == [False, False, True, True]
    assert all(call["ended_at_ms"] - call["began_at_ms"] == 100 for call in calls)


async def test_two_hundred_calls_through_ten_slots_are_each_bought_once(start: Any) -> None:
    stage = await start(limit=10)
    gauge = stage.upstream.gauge("app")
    slots = asyncio.Semaphore(10)

    async def say(text: str) -> int:
        async with slots:
            return int((await stage.caller.say(text)).status)

    calls = [asyncio.create_task(say(f"第{number}句")) for number in range(200)]
    for _ in range(20):
        await stage.clock.until_sleeping(10)
        stage.clock.advance(100)

    assert [await call for call in calls] == [200] * 200
    assert (gauge.peak, gauge.bought, dict(gauge.refusals)) == (10, 200, {})
    assert {counts["bought"] for counts in gauge.texts.values()} == {1}
    assert slot_ms_between(list(gauge.steps), gauge.steps[0][0], gauge.steps[-1][0]) == 200 * 100
