"""The simulated upstream's v3 API: the same counters, other words."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from infra.local.upstream import Account, Wishes, audio_of

VOICE = "zh_female_vv_uranus_bigtts"
BIG_VOICE = "zh_female_shuangkuaisisi_moon_bigtts"
WORDS = "你好，世界。今天天气很好。"
PAIR = {"X-Api-App-Id": "app", "X-Api-Access-Key": "key"}


def asks(text: str = WORDS, voice: str = VOICE, **params: Any) -> dict[str, Any]:
    return {"user": {"uid": "u"}, "req_params": {"text": text, "speaker": voice, **params}}


async def reply_of(stage: Any, body: Any, *, passes_ms: int = 100, **headers: Any) -> tuple[int, str, bytes]:
    """Return status, content type and body of an answer while time goes on; header names have underscores."""
    said = {"X-Api-Resource-Id": "seed-tts-2.0", **PAIR}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    kept = {name: value for name, value in said.items() if value is not None}
    passing = asyncio.create_task(stage._pass_time(passes_ms))
    try:
        address = f"{stage.upstream.url}/api/v3/tts/unidirectional"
        async with stage.caller.session.post(address, json=body, headers=kept) as answer:
            return answer.status, answer.content_type, await answer.read()
    finally:
        passing.cancel()


async def objects_of(stage: Any, body: Any, **headers: Any) -> list[dict[str, Any]]:
    status, content_type, stream = await reply_of(stage, body, **headers)

    assert (status, content_type) == (200, "text/plain")
    return [json.loads(line) for line in stream.splitlines()]


def audio_in(objects: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(one["data"]) for one in objects if one.get("data"))


async def test_an_answer_is_pieces_of_audio_and_an_end(start: Any) -> None:
    stage = await start()
    objects = await objects_of(stage, asks())

    assert audio_in(objects) == audio_of(Wishes(WORDS, VOICE, "mp3")).file
    assert [one["code"] for one in objects] == [0] * 6 + [20_000_000]
    assert "usage" not in objects[-1]
    gauge = stage.upstream.gauge("app", "seed-tts-2.0")
    assert (gauge.peak, gauge.in_flight, gauge.bought, gauge.delivered) == (1, 0, 1, 1)


async def test_usage_is_told_when_asked_for(start: Any) -> None:
    stage = await start()
    objects = await objects_of(stage, asks("你好 a。"), X_Control_Require_Usage_Tokens_Return="text_words")

    assert objects[-1]["usage"] == {"text_words": 5}


@pytest.mark.parametrize(
    ("voice", "resource", "field"),
    [(VOICE, "seed-tts-2.0", "enable_subtitle"), (BIG_VOICE, "seed-tts-1.0", "enable_timestamp")],
)
async def test_words_are_told_when_asked_for_in_the_words_of_the_product(
    start: Any, voice: str, resource: str, field: str
) -> None:
    stage = await start()
    told = await objects_of(stage, asks(voice=voice, audio_params={field: True}), X_Api_Resource_Id=resource)
    other = {"enable_subtitle": "enable_timestamp", "enable_timestamp": "enable_subtitle"}[field]
    untold = await objects_of(stage, asks(voice=voice, audio_params={other: True}), X_Api_Resource_Id=resource)

    sentences = [one["sentence"] for one in told if "sentence" in one]
    words = [word for sentence in sentences for word in sentence["words"]]
    assert [sentence["text"] for sentence in sentences] == ["你好，世界。", "今天天气很好。"]
    assert "".join(word["word"] for word in words) == "你好世界今天天气很好"
    assert all(0 <= word["startTime"] < word["endTime"] for word in words)
    assert not any("sentence" in one for one in untold)


async def test_all_wishes_are_heard(start: Any) -> None:
    stage = await start()
    additions = json.dumps({"silence_duration": 500, "post_process": {"pitch": 12}})
    audio = {"format": "pcm", "sample_rate": 48_000, "speech_rate": 100, "loudness_rate": -50}
    objects = await objects_of(stage, asks(audio_params=audio, additions=additions))
    wishes = Wishes(WORDS, VOICE, "pcm", 48_000, speed=2, volume=0.5, pitch=2, silence_ms=500)

    assert audio_in(objects) == audio_of(wishes).file


async def test_additions_that_are_no_string_are_ignored_without_a_word(start: Any) -> None:
    stage = await start()
    objects = await objects_of(stage, asks(additions={"silence_duration": 500}))

    assert audio_in(objects) == audio_of(Wishes(WORDS, VOICE, "mp3")).file


async def test_ssml_is_spoken_without_its_tags_and_not_by_the_second_generation(start: Any) -> None:
    stage = await start()
    ssml = "<speak>你好。</speak>"
    spoken = await objects_of(stage, asks("", BIG_VOICE, ssml=ssml), X_Api_Resource_Id="seed-tts-1.0")
    status, _, body = await reply_of(stage, asks("", ssml=ssml))

    assert audio_in(spoken) == audio_of(Wishes(ssml, BIG_VOICE, "mp3", is_ssml=True)).file
    assert len(audio_in(spoken)) < len(audio_of(Wishes(ssml, BIG_VOICE, "mp3")).file)
    assert (status, json.loads(body)["code"]) == (400, 45_000_001)


@pytest.mark.parametrize(
    ("headers", "status", "code", "message"),
    [
        ({"X_Api_App_Id": None, "X_Api_Access_Key": None}, 401, 45_000_010, "not found in header"),
        ({"X_Api_Key": "any"}, 401, 45_000_010, "requested grant not found"),
        ({"X_Api_Access_Key": None}, 401, 45_000_010, "requested grant not found"),
        ({"X_Api_Access_Key": "wrong"}, 401, 45_000_010, "requested grant not found"),
        ({"X_Api_App_Id": None, "X_Api_Access_Key": None, "X_Api_Key": "x"}, 401, 45_000_010, "Invalid X-Api-Key"),
        ({"X_Api_Resource_Id": "seed-tts-1.0"}, 500, 55_000_000, "resource ID is mismatched"),
        ({"X_Api_Resource_Id": None}, 500, 55_000_000, "resource ID is mismatched"),
    ],
)
@pytest.mark.parametrize("has_header_errors", [False, True])
async def test_a_wrong_header_is_refused_in_either_shape(
    start: Any, headers: dict[str, Any], status: int, code: int, message: str, *, has_header_errors: bool
) -> None:
    account = Account.model_validate({"app_id": "app", "token": "key", "api_key": "api-key"})
    stage = await start(accounts=(account,), has_header_errors=has_header_errors)
    told, _, body = await reply_of(stage, asks(), **headers)
    said = json.loads(body)["header"] if has_header_errors else json.loads(body)

    assert (told, said["code"]) == (status, code)
    assert message in said["message"]


async def test_an_api_key_stands_for_its_account(start: Any) -> None:
    account = Account.model_validate({"app_id": "app", "token": "key", "api_key": "api-key"})
    stage = await start(accounts=(account,))
    alone: dict[str, Any] = {"X_Api_App_Id": None, "X_Api_Access_Key": None, "X_Api_Key": "api-key"}
    await objects_of(stage, asks(), **alone)
    await objects_of(stage, asks())

    assert stage.upstream.gauge("app", "seed-tts-2.0").bought == 2


@pytest.mark.parametrize("voice", ["BV001_streaming", "zh_female_vv_jupiter_bigtts"])
async def test_voices_of_other_apis_are_mismatched(start: Any, voice: str) -> None:
    stage = await start()
    status, _, body = await reply_of(stage, asks(voice=voice))

    assert (status, json.loads(body)["code"]) == (500, 55_000_000)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (asks("…"), 400, 45_002_001),
        (asks("你" * 342), 400, 40_402_003),
        (asks(audio_params={"sample_rate": 11_025}), 400, 45_000_001),
        (asks(audio_params={"speech_rate": 101}), 400, 45_000_001),
        (asks(additions="{"), 400, 45_000_001),
        (asks(voice=""), 400, 45_000_001),
        ([], 400, 45_000_000),
    ],
)
async def test_a_wrong_body_is_refused(start: Any, body: Any, status: int, code: int) -> None:
    stage = await start()
    told, _, said = await reply_of(stage, body)

    assert (told, json.loads(said)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("style", "status", "code"), [("429+45000292", 429, 45_000_292), ("200+45000000", 200, 45_000_000)]
)
async def test_v1_and_v3_share_the_counter_of_a_product(start: Any, style: str, status: int, code: int) -> None:
    stage = await start(limit=1, v3_refusal_style=style)
    first = asyncio.create_task(stage.caller.say(WORDS, audio__voice_type=BIG_VOICE))
    await stage.upstream.until(lambda: stage.upstream.gauge("app", "volc.service_type.10029").in_flight == 1)
    told, _, body = await reply_of(stage, asks(voice=BIG_VOICE), passes_ms=0, X_Api_Resource_Id="seed-tts-1.0")

    assert (told, json.loads(body)["code"]) == (status, code)
    assert json.loads(body)["message"] == "quota exceeded for types: concurrency"
    stage.clock.advance(100)
    await first


async def test_objects_may_be_glued_and_cut_anywhere(start: Any) -> None:
    stage = await start(has_lines=False, piece_bytes=7)
    _, _, stream = await reply_of(stage, asks())

    assert b"\n" not in stream
    assert stream.count(b'}{"code"') == 6


@pytest.mark.parametrize(("fault", "is_bought"), [("cut_amid", True), ("error_amid", False), ("no_end", True)])
async def test_a_stream_may_go_wrong_in_its_middle(start: Any, fault: str, *, is_bought: bool) -> None:
    stage = await start()
    await stage.order(next_faults=[fault])
    if fault == "cut_amid":
        with pytest.raises(aiohttp.ClientPayloadError):
            await objects_of(stage, asks())
        stage.clock.advance(1_000)
        await stage.upstream.until(lambda: stage.upstream.gauge("app", "seed-tts-2.0").in_flight == 0)
    else:
        objects = await objects_of(stage, asks())
        last = {"error_amid": 55_000_000, "no_end": 0}[fault]
        assert [one["code"] for one in objects] == [0] * (3 if fault == "error_amid" else 5) + [last]

    gauge = stage.upstream.gauge("app", "seed-tts-2.0")
    assert (gauge.bought, gauge.delivered) == (int(is_bought), 0)
    assert dict(gauge.faults) == {fault: 1}


async def test_a_reset_forgets_products_that_are_idle(start: Any) -> None:
    stage = await start()
    await objects_of(stage, asks())
    await stage.order(reset=True)

    assert (await stage.get("/_simulator"))["accounts"] == {}
