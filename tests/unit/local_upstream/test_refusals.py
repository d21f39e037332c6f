"""What the simulated upstream answers instead of audio, and in which order it looks."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

Case = tuple[dict[str, Any], int, int, str]

NOT_GRANTED = "authenticate request: load grant: requested grant not found"
DENIED = "extract request resource id: get resource id: access denied"
NO_ENGINE = "Fail to feed text, reason Init Engine Instance failed"
CONCURRENCY = "quota exceeded for types: concurrency"


def told(reply: Any) -> tuple[int, int, str]:
    return reply.status, reply.json["code"], reply.json["message"]


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        (None, "missing Authorization header"),
        ("Bearer key", "invalid auth token"),
        (
            "Basic a2V5",
            "authenticate request: authentication signature from request: invalid authorization method requested:",
        ),
        ("Bearer;wrong", NOT_GRANTED),
        ("Bearer;", NOT_GRANTED),
    ],
)
async def test_a_wrong_login_is_refused_with_401_and_3001(start: Any, authorization: str | None, message: str) -> None:
    stage = await start(accounts=[{"app_id": "app", "token": "key"}])

    reply = await stage.caller.post(authorization=authorization)

    assert told(reply) == (401, 3001, message)


async def test_a_semicolon_with_and_without_a_space_is_a_good_login(start: Any) -> None:
    stage = await start()

    for authorization in ("Bearer;key", "Bearer; key"):
        sent = asyncio.create_task(stage.caller.post(authorization=authorization))
        await stage.clock.until_sleeping(1)
        stage.clock.advance(100)
        assert (await sent).status == 200


async def test_another_accounts_key_is_no_login(start: Any) -> None:
    stage = await start(accounts=[{"app_id": "app", "token": "key"}, {"app_id": "other", "token": "secret"}])

    stage.caller.token = "secret"
    reply = await stage.caller.say()

    assert told(reply) == (401, 3001, NOT_GRANTED)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"nonsense", "invalid character 'n' looking for beginning of value"),
        (b"", "unexpected EOF"),
        (b'"\xff"', "invalid UTF-8"),
        (b"[]", "json: cannot unmarshal the body into an object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_before_the_login(start: Any, raw: bytes, message: str) -> None:
    stage = await start()

    reply = await stage.caller.post(raw=raw, authorization=None)

    assert told(reply) == (500, 3031, message)


@pytest.mark.parametrize(
    "changes",
    [
        {"app__token": ""},
        {"app__cluster": None},
        {"user__uid": None},
        {"audio__voice_type": None},
        {"audio__voice_type": 7},
        {"audio__encoding": "flac"},
        {"audio__rate": 44_100},
        {"audio__rate": "24000"},
        {"audio__speed_ratio": 0.1},
        {"audio__speed_ratio": 3.1},
        {"audio__speed_ratio": True},
        {"audio__volume_ratio": 3.5},
        {"audio__pitch_ratio": "high"},
        {"request__reqid": None},
        {"request__operation": "sing"},
        {"request__operation": None},
        {"request__text": 5},
    ],
    ids=str,
)
async def test_a_bad_parameter_is_refused_with_3001(start: Any, changes: dict[str, Any]) -> None:
    stage = await start()

    reply = await stage.caller.say(**changes)

    assert told(reply)[:2] == (400, 3001)
    assert reply.json["message"].startswith("invalid request: ")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"app__cluster": "no_such"}, (500, 3031, NO_ENGINE)),
        ({"app__cluster": "volcano_icl"}, (500, 3031, NO_ENGINE)),
        ({"audio__voice_type": "S_clone1"}, (500, 3031, NO_ENGINE)),
        ({"audio__voice_type": "zh_female_vv_uranus_bigtts"}, (500, 3031, NO_ENGINE)),
        ({"audio__voice_type": "saturn_zh_female_a_tob"}, (500, 3031, NO_ENGINE)),
        ({"audio__voice_type": "no_such_voice"}, (403, 3001, DENIED)),
        ({"request__text": "字" * 342}, (400, 3010, "exceed max len limit!")),
        ({"request__text": ""}, (400, 3011, "illegal input text!")),
        ({"request__text": None}, (400, 3011, "illegal input text!")),
        ({"request__text": "…！😀"}, (400, 3011, "illegal input text!")),
        ({"audio__voice_type": "BV503_streaming"}, (400, 3011, "illegal input text!")),
    ],
    ids=str,
)
async def test_a_voice_or_text_that_cannot_be_spoken_is_refused(
    start: Any, changes: dict[str, Any], refusal: tuple[int, int, str]
) -> None:
    stage = await start()

    reply = await stage.caller.say(**changes)

    assert told(reply) == refusal


async def test_a_text_of_1024_bytes_is_spoken(start: Any) -> None:
    stage = await start()

    reply = await stage.call("字" * 341 + "a")

    assert reply.json["code"] == 3000


async def test_a_product_that_is_not_opened_is_named(start: Any) -> None:
    stage = await start(resources=["volc.tts.default"])

    reply = await stage.caller.say(audio__voice_type="zh_female_qingxin_moon_bigtts")

    assert told(reply) == (403, 3001, "[resource_id=volc.service_type.10029] requested resource not granted")


async def test_a_voice_that_is_not_ordered_is_denied_and_one_that_is_gone_does_not_exist(start: Any) -> None:
    stage = await start(voices=["BV001_streaming", "BV002_streaming"], voices_gone=["BV002_streaming"])

    assert told(await stage.caller.say(audio__voice_type="BV005_streaming")) == (403, 3001, DENIED)
    assert told(await stage.caller.say(audio__voice_type="BV002_streaming"))[:2] == (400, 3050)


async def test_characters_that_are_used_up_are_refused_for_good(start: Any) -> None:
    stage = await start(characters=10)

    assert (await stage.call("六个字的话。")).json["code"] == 3000
    assert told(await stage.caller.say("六个字的话。")) == (
        429,
        3001,
        "quota exceeded for types: text_words_lifetime",
    )


async def test_more_starts_a_second_than_allowed_are_refused_until_the_second_is_over(start: Any) -> None:
    stage = await start(qps=1)
    await stage.call()

    assert told(await stage.caller.say()) == (429, 3001, "quota exceeded for types: qps")
    stage.clock.advance(1_000)
    assert (await stage.call()).json["code"] == 3000


@pytest.mark.parametrize("style", ["429+3003", "429+3001", "200+3003"])
async def test_one_call_over_the_limit_is_refused_at_once_in_the_style_of_choice(start: Any, style: str) -> None:
    stage = await start(limit=1, refusal_style=style)
    first = asyncio.create_task(stage.caller.say())
    await stage.clock.until_sleeping(1)

    status, code = style.split("+")
    assert told(await stage.caller.say()) == (int(status), int(code), CONCURRENCY)
    stage.clock.advance(100)
    assert (await first).json["code"] == 3000


async def test_a_request_id_can_be_used_once_even_when_its_call_failed(start: Any) -> None:
    stage = await start(limit=0)
    body = stage.caller.body()
    assert told(await stage.caller.post(body))[1:] == (3003, CONCURRENCY)
    await stage.order(limit=1)

    assert told(await stage.caller.post(body))[:2] == (400, 3006)


async def test_a_refusal_names_its_request_and_every_answer_has_a_log_id(start: Any) -> None:
    stage = await start()
    body = stage.caller.body("…")

    refused, unread = await stage.caller.post(body), await stage.caller.post(raw=b"{")

    assert refused.json["reqid"] == body["request"]["reqid"]
    assert unread.json["reqid"] == ""
    assert "data" not in refused.json
    assert re.fullmatch(r"\d{14}[0-9A-F]{20}", refused.log_id)
    assert refused.log_id != unread.log_id


async def test_the_checks_come_in_the_order_of_the_real_upstream(start: Any) -> None:
    """A request that is wrong in every way is put right step by step."""
    gone = {"limit": 0, "qps": 0, "characters": 0, "resources": [], "voices": []}
    stage = await start(accounts=[{"app_id": "app", "token": "key"}], **gone)
    body = stage.caller.body(audio__encoding="flac", app__cluster="no_such", request__text="…")
    seen = [await stage.caller.post(raw=b"{", authorization=None), await stage.caller.post(body, authorization=None)]
    seen += [await stage.caller.post(body, authorization="Bearer;wrong"), await stage.caller.post(body)]
    body["audio"]["encoding"] = "mp3"
    seen.append(await stage.caller.post(body))
    body["app"]["cluster"] = "volcano_tts"
    seen.append(await stage.caller.post(body))
    for put_right in (
        {"resources": None},
        {"voices": None},
        {"characters": None},
        {"qps": None},
        {"limit": 1},
    ):
        await stage.order(**put_right)
        seen.append(await stage.caller.post(body))
    body["request"]["reqid"] = "new"
    seen.append(await stage.caller.post(body))

    codes = [(reply.status, reply.json["code"]) for reply in seen]
    assert codes == [
        *((500, 3031), (401, 3001), (401, 3001), (400, 3001), (500, 3031), (403, 3001)),
        *((403, 3001), (429, 3001), (429, 3001), (429, 3003), (400, 3006), (400, 3011)),
    ]
    assert [seen[6].json["message"], seen[7].json["message"][-8:], seen[8].json["message"][-3:]] == [
        *(DENIED, "lifetime", "qps"),
    ]


async def test_submit_over_http_is_accepted_and_gives_no_audio(start: Any) -> None:
    stage = await start()

    reply = await stage.call(request__operation="submit")

    assert (reply.status, reply.json["code"], reply.json["data"]) == (200, 3000, "")
