"""The deployed stack works for a caller: HTTP, API Gateway, a real function process, secret, table, upstream, audio."""

from __future__ import annotations

import asyncio
import base64

import miniaudio

from infra.local.lifecycle import Stack
from infra.local.sample import SAMPLE
from infra.local.simulator import Simulator
from tests.support.local_stack import Aws, Gateway

HELLO = "你好，世界。这是一句话。"


async def test_one_text_becomes_one_audio(gateway: Gateway, simulator: Simulator) -> None:
    answer = await gateway.speak([{"task_id": "t1", "text": HELLO, "voice_type": "BV002_streaming"}])
    record = await simulator.record()

    assert answer.status == 200, answer.text
    (result,) = answer.json["results"]
    audio = miniaudio.decode(base64.b64decode(result["audio_base64"]))
    assert (result["task_id"], result["error"], result["characters"]) == ("t1", None, len(HELLO))
    assert abs(audio.duration * 1_000 - result["duration_ms"]) < 100
    assert [call["voice_type"] for call in record.calls_of(HELLO)] == ["BV002_streaming"]
    assert (record.peak, record.refused) == (1, 0)
    assert answer.json["pool"]["limit"] == 10


async def test_a_voice_of_the_second_generation_is_spoken_over_v3(gateway: Gateway, simulator: Simulator) -> None:
    await simulator.order(has_lines=False, piece_bytes=100)
    voice = "zh_female_vv_uranus_bigtts"
    wishes = {"encoding": "wav", "sample_rate": 48_000, "speed": 1.5, "pitch": 2, "silence_ms": 200}
    answer = await gateway.speak(
        [
            {"task_id": "new", "text": HELLO, "voice_type": voice, **wishes},
            {"task_id": "old", "text": HELLO, "voice_type": "BV001_streaming", "encoding": "ogg_opus"},
            {"task_id": "ssml", "text": f"<speak>{HELLO}</speak>", "voice_type": voice, "text_type": "ssml"},
        ]
    )
    record = await simulator.record()

    assert answer.status == 200, answer.text
    new, old, ssml = answer.json["results"]
    audio = miniaudio.decode(base64.b64decode(new["audio_base64"]), nchannels=1, sample_rate=48_000)
    assert miniaudio.wav_get_info(base64.b64decode(new["audio_base64"])).sample_rate == 48_000
    assert abs(audio.duration * 1_000 - new["duration_ms"]) < 100
    assert base64.b64decode(old["audio_base64"]).startswith(b"OggS")
    assert ssml["error"]["code"] == "option_refused"
    counted = {resource for account in record.report["accounts"].values() for resource in account}
    assert counted == {"seed-tts-2.0", "volc.tts.default"}
    assert (record.peak, record.refused) == (1, 0)


async def test_without_the_admin_key_nothing_is_spoken(gateway: Gateway, simulator: Simulator) -> None:
    unnamed = await gateway.speak([{"text": HELLO}], headers={})
    wrong = await gateway.speak([{"text": HELLO}], headers={"Admin-API-Key": "wrong"})
    record = await simulator.record()

    assert (unnamed.status, wrong.status) == (401, 401)
    assert unnamed.json["error"]["code"] == "invalid_admin_key"
    assert record.calls == []


async def test_health_needs_no_key_and_tells_none(gateway: Gateway, stack: Stack) -> None:
    health = await gateway.get("/")

    assert health.status == 200
    assert health.json["status"] == "ok"
    assert stack.admin_api_key not in health.text


async def test_voices_are_listed_to_anybody(gateway: Gateway) -> None:
    listed = await gateway.get("/voices?language=en&gender=female&limit=3")
    refused = await gateway.get("/voices?gender=neutral")

    assert (listed.status, len(listed.json["voices"])) == (200, 3)
    assert all(code.startswith("en") for voice in listed.json["voices"] for code in voice["languages"])
    assert refused.status == 422


async def test_the_routes_are_described_to_anybody(gateway: Gateway) -> None:
    document, page = await gateway.get("/openapi.json"), await gateway.get("/docs")

    assert (document.status, document.json["openapi"]) == (200, "3.1.0")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; ")


async def test_the_pool_is_told_to_its_operator_only(gateway: Gateway, simulator: Simulator) -> None:
    await gateway.speak([{"text": HELLO}])
    stranger, operator = await gateway.get("/pools"), await gateway.get("/pools/server", headers=gateway.admin)
    record = await simulator.record()

    assert stranger.status == 401
    assert operator.status == 200
    assert operator.json["limit"] == 10
    assert operator.json["slots_in_use"] == 0
    assert record.refused == 0


async def test_three_applications_at_once_share_ten_slots(gateway: Gateway, simulator: Simulator) -> None:
    await gateway.warm(len(SAMPLE))
    await simulator.order(mean_ms=300)
    wire = {
        app: [{"task_id": name, "text": text, "voice_type": voice} for name, voice, text in tasks]
        for app, tasks in SAMPLE.items()
    }
    answers = await asyncio.gather(*(gateway.speak(tasks, app=app) for app, tasks in wire.items()))
    record = await simulator.record()

    results = [result for answer in answers for result in answer.json["results"]]
    assert [result["task_id"] for result in results] == [task["task_id"] for tasks in wire.values() for task in tasks]
    assert [result["error"] for result in results] == [None] * len(results)
    assert record.peak <= 10
    assert record.refused == 0


async def test_the_stack_is_what_the_source_says(stack: Stack, aws: Aws) -> None:
    secret = aws.secret()

    assert secret["admin_api_key"] == stack.admin_api_key
    assert secret["volcengine_tts_concurrency"] == 10
    assert aws.client("dynamodb").describe_table(TableName=stack.pool_table)["Table"]["TableStatus"] == "ACTIVE"
