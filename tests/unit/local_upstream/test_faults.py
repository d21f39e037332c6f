"""What goes wrong on purpose."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

import aiohttp
import miniaudio
import pytest

CODES = ["3001", "3005", "3006", "3010", "3011", "3030", "3031", "3032", "3040", "3050"]


@pytest.mark.parametrize("code", CODES)
async def test_a_fault_named_by_its_code_answers_that_code_after_the_work(start: Any, code: str) -> None:
    stage = await start(faults={code: 1})
    asked = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)
    assert stage.upstream.gauge("app").in_flight == 1
    stage.clock.advance(100)
    reply = await asked

    assert reply.json["code"] == int(code)
    assert reply.status in {400, 500}
    assert dict(stage.upstream.gauge("app").faults) == {code: 1}
    assert stage.upstream.gauge("app").bought == 0


@pytest.mark.parametrize(("fault", "told"), [("3003", (429, 3003)), ("noauth", (401, 3001))])
async def test_some_faults_refuse_at_once_and_are_no_refusals_for_the_limit(
    start: Any, fault: str, told: tuple[int, int]
) -> None:
    stage = await start(faults={fault: 1})
    reply = await stage.caller.say()

    gauge = stage.upstream.gauge("app")
    assert (reply.status, reply.json["code"]) == told
    assert (gauge.peak, dict(gauge.refusals), dict(gauge.faults)) == (0, {}, {fault: 1})


async def test_a_broken_gateway_answers_a_page_of_html(start: Any) -> None:
    stage = await start(faults={"html502": 1})
    reply = await stage.call()

    assert (reply.status, reply.json) == (502, None)
    assert "<h1>502 Bad Gateway</h1>" in reply.text
    assert reply.log_id


async def test_a_connection_cut_early_does_no_work(start: Any) -> None:
    stage = await start(faults={"cut_early": 1})
    with pytest.raises(aiohttp.ClientConnectionError):
        await stage.caller.say()

    assert stage.upstream.gauge("app").peak == 0


async def test_a_connection_cut_in_the_middle_leaves_its_slot_taken_to_the_end(start: Any) -> None:
    stage = await start(limit=1, faults={"cut": 1})
    gauge = stage.upstream.gauge("app")
    asked = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)
    stage.clock.advance(50)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked

    assert gauge.in_flight == 1
    assert (await stage.caller.say()).status == 429
    stage.clock.advance(50)
    await stage.upstream.until(lambda: gauge.in_flight == 0)
    assert (gauge.bought, gauge.delivered, dict(gauge.faults)) == (1, 0, {"cut": 1})


async def test_a_connection_cut_in_the_middle_frees_its_slot_by_choice(start: Any) -> None:
    stage = await start(faults={"cut": 1}, hold_slot_until_done=False)
    gauge = stage.upstream.gauge("app")
    with pytest.raises(aiohttp.ClientConnectionError):
        await stage.call(after_ms=50)

    await stage.upstream.until(lambda: gauge.in_flight == 0)
    assert gauge.bought == 0


async def test_empty_audio_comes_as_a_success(start: Any) -> None:
    stage = await start(faults={"empty": 1})
    reply = await stage.call()

    assert (reply.status, reply.json["code"], reply.json["data"]) == (200, 3000, "")


async def test_broken_audio_is_no_base64_or_base64_of_noise(start: Any) -> None:
    stage = await start(faults={"broken": 1})
    kinds = set()
    for number in range(12):
        reply = await stage.call(f"第{number}句")
        assert reply.json["code"] == 3000
        try:
            noise = base64.b64decode(reply.json["data"], validate=True)
        except binascii.Error:
            kinds.add("no base64")
            continue
        with pytest.raises(miniaudio.DecodeError):
            miniaudio.wav_read_s16(noise)
        kinds.add("noise")

    assert kinds == {"no base64", "noise"}


async def test_truncated_audio_is_half_of_what_it_says(start: Any) -> None:
    stage = await start(faults={"truncated": 1})
    reply = await stage.call(audio__encoding="pcm", audio__rate=8_000)

    samples = len(base64.b64decode(reply.json["data"])) / 2
    assert samples / 8 == pytest.approx(int(reply.json["addition"]["duration"]) / 2, abs=2)


async def test_a_liar_answers_200_with_json_of_other_shapes(start: Any) -> None:
    stage = await start(faults={"liar": 1})
    lies = [await stage.call(f"第{number}句") for number in range(30)]

    assert {lie.status for lie in lies} == {200}
    assert len({lie.text.split("request-")[0] for lie in lies}) >= 5
    assert not any(isinstance(lie.json, dict) and isinstance(lie.json.get("data"), str) for lie in lies)


async def test_a_slow_call_is_ended_by_the_gateway_and_counts_until_then(start: Any) -> None:
    stage = await start(faults={"slow": 1}, slow_ms=9_000, work_max_ms=6_000)
    asked = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)
    stage.clock.advance(3_000)
    await stage.clock.until_sleeping(1)
    assert stage.upstream.gauge("app").in_flight == 1
    stage.clock.advance(3_000)
    reply = await asked

    assert reply.status == 504
    assert (stage.upstream.gauge("app").in_flight, stage.upstream.gauge("app").bought) == (0, 0)


async def test_a_slow_call_within_the_gateways_patience_is_spoken(start: Any) -> None:
    stage = await start(faults={"slow": 1}, slow_ms=5_000)
    reply = await stage.call(after_ms=2_500)

    assert reply.json["code"] == 3000


async def test_ordered_faults_meet_the_next_calls_or_those_with_a_text(start: Any) -> None:
    stage = await start()
    await stage.order(next_faults=["3005"], text_faults={"二": ["3030", "3031"]})

    codes = [(await stage.call(text)).json["code"] for text in ("二", "一", "二", "一", "二")]

    assert codes == [3030, 3005, 3031, 3000, 3000]


async def test_the_same_seed_brings_the_same_fate_in_any_order_of_calls(start: Any) -> None:
    texts = [f"第{number}句" for number in range(40)]
    fates = []
    for order, seed in ((texts, 1), (texts[::-1], 1), (texts, 2)):
        stage = await start(faults={"3005": 0.25, "3031": 0.25, "empty": 0.25}, seed=seed, mean_ms=0)
        replies = {text: await stage.caller.say(text) for text in order}
        fates.append({text: (reply.json["code"], not reply.json.get("data")) for text, reply in replies.items()})

    assert fates[0] == fates[1] != fates[2]
    assert len(set(fates[0].values())) == 4


@pytest.mark.parametrize(
    "orders",
    [
        {"limits": 3},
        {"limit": -1},
        {"limit": "many"},
        {"faults": {"nonsense": 0.1}},
        {"faults": {"3005": 0.6, "3030": 0.6}},
        {"refusal_style": "418+3003"},
        {"next_faults": ["nonsense"]},
        {"text_faults": {"一": "3005"}},
        {"reset": "perhaps"},
    ],
    ids=str,
)
async def test_a_wrong_order_is_refused_and_changes_nothing(start: Any, orders: dict[str, Any]) -> None:
    stage = await start(limit=2)

    status, told = await stage.order(**{"sigma": 0.5, **orders})

    assert status == 400
    assert told["error"]
    assert stage.upstream.gate.rules.sigma == 0
    assert (await stage.call()).json["code"] == 3000


async def test_an_order_that_is_no_json_object_is_refused(start: Any) -> None:
    stage = await start()

    for raw in (b"{", b"[]"):
        async with stage.caller.session.post(f"{stage.upstream.url}/_simulator", data=raw) as answer:
            assert answer.status == 400
