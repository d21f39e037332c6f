"""One call over v1: what is asked, and what every answer becomes."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import AsyncIterator
from typing import Any

import lameenc
import pytest

from tests.support.scripted_upstream import (
    Answer,
    RecordedCall,
    ScriptedUpstream,
    cuts,
    raw,
    raw_answer,
    refuses,
    says,
    speaks,
)
from volcengine_client import errors
from volcengine_client.clock import SystemClock
from volcengine_client.errors import OptionRefusedError, UpstreamRejectedError, UpstreamUnavailableError
from volcengine_client.models import TaskItem
from volcengine_client.speech.login import Login
from volcengine_client.speech.speech import Speech, Word
from volcengine_client.speech.v1 import V1
from volcengine_client.speech.wire import Wire

KEY = "the-access-key"
TEXT = "你好，秘密。"
TASK = TaskItem("one", TEXT)
LOGIN = Login("1234567890", KEY)


def mp3(sample_count: int) -> bytes:
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(24_000)
    encoder.set_bit_rate(64)
    samples = array("h", (int(8_000 * math.sin(at / 9)) for at in range(sample_count)))
    return bytes(encoder.encode(samples.tobytes()) + encoder.flush())


AUDIO = mp3(24_000)  # 1,056 ms with the encoder's padding
SPOKEN = speaks(AUDIO, addition={"duration": "1000"})


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(SPOKEN) as upstream:
        yield upstream


@pytest.fixture
async def v1(upstream: ScriptedUpstream) -> AsyncIterator[V1]:
    wire = Wire(upstream.url, clock=SystemClock())
    yield V1(wire, LOGIN)
    await wire.close()


async def spoken(v1: V1, task: TaskItem = TASK, call: RecordedCall | None = None) -> Speech:
    return await v1.speak(task, call=call or RecordedCall(), timeout_ms=5_000)


async def failure(v1: V1, task: TaskItem = TASK, call: RecordedCall | None = None) -> errors.VolcengineError:
    with pytest.raises(errors.VolcengineError) as failed:
        await spoken(v1, task, call)
    return failed.value


async def test_a_task_becomes_audio(v1: V1) -> None:
    call = RecordedCall()

    assert await spoken(v1, call=call) == Speech(AUDIO, 1_056, "20240726log")
    assert call.told == ["ready", "sent", "answered"]


async def test_a_call_asks_as_v1_wants_to_be_asked(upstream: ScriptedUpstream, v1: V1) -> None:
    await spoken(v1)
    request = upstream.requests[0]

    assert request.target == "/api/v1/tts"
    assert request.headers["authorization"] == f"Bearer;{KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.said == {
        "app": {"appid": "1234567890", "token": "token", "cluster": "volcano_tts"},
        "user": {"uid": "volcengine-concurrent-tts"},
        "audio": {"voice_type": "BV001_streaming", "encoding": "mp3"},
        "request": {"reqid": request.reqid, "text": TEXT, "text_type": "plain", "operation": "query"},
    }
    assert KEY not in request.body.decode()


async def test_every_attempt_has_a_request_id_of_its_own(upstream: ScriptedUpstream, v1: V1) -> None:
    upstream.script = [refuses(500, 3005, "busy"), cuts, SPOKEN]
    for _ in range(2):
        await failure(v1)
    for _ in range(8):
        await spoken(v1)

    assert len({request.reqid for request in upstream.requests}) == 10


async def test_the_text_is_cleaned_before_it_is_sent(upstream: ScriptedUpstream, v1: V1) -> None:
    await spoken(v1, TaskItem(None, "\ufeff你\x00好\r\n。"))

    assert upstream.requests[0].said["request"]["text"] == "你好\n。"


@pytest.mark.parametrize(
    ("task", "audio", "cluster"),
    [
        (
            TaskItem(None, TEXT, "BV002_streaming", speed=3.0, volume=0.1, pitch=12, emotion="happy"),
            {"speed_ratio": 3.0, "volume_ratio": 0.1, "pitch_ratio": 2.0, "emotion": "happy"},
            "volcano_tts",
        ),
        (
            TaskItem(None, TEXT, "BV002_streaming", pitch=-12, sample_rate=8_000),
            {"pitch_ratio": 0.5, "rate": 8_000},
            "volcano_tts",
        ),
        (TaskItem(None, TEXT, "BV002_streaming", pitch=1), {"pitch_ratio": 1.0595}, "volcano_tts"),
        (TaskItem(None, TEXT, "BV002_streaming", pitch=0, speed=1.0), {"speed_ratio": 1.0}, "volcano_tts"),
        (
            TaskItem(None, TEXT, "zh_female_shuangkuaisisi_moon_bigtts", speed=2, volume=2, pitch=0, emotion="sad"),
            {"speed_ratio": 2.0, "loudness_ratio": 2.0, "emotion": "sad", "enable_emotion": True},
            "volcano_tts",
        ),
        (
            TaskItem(None, TEXT, "S_mine", speed=3, volume=0.5, resource_id="volc.megatts.default"),
            {"speed_ratio": 3.0, "loudness_ratio": 0.5},
            "volcano_icl",
        ),
        (
            TaskItem(None, TEXT, "somebody", volume=3, pitch=12),
            {"volume_ratio": 3.0, "pitch_ratio": 2.0},
            "volcano_tts",
        ),
    ],
)
async def test_options_are_said_in_the_words_of_the_voice(
    upstream: ScriptedUpstream, v1: V1, task: TaskItem, audio: dict[str, Any], cluster: str
) -> None:
    await spoken(v1, task)
    said = upstream.requests[0].said

    assert said["audio"] == {"voice_type": task.voice_type, "encoding": "mp3"} | audio
    assert said["app"]["cluster"] == cluster


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        (
            TaskItem(None, TEXT, "zh_female_vv_uranus_bigtts"),
            errors.VoiceNotGrantedError,
            "can't speak seed-tts-2.0 voices; it needs resource seed-tts-2.0 and the v3 API",
        ),
        (
            TaskItem(None, TEXT, "zh_female_vv_jupiter_bigtts"),
            errors.VoiceNotGrantedError,
            "can't speak speech-to-speech voices",
        ),
        (
            TaskItem(None, TEXT, "zh_female_shuangkuaisisi_moon_bigtts", pitch=2),
            OptionRefusedError,
            "can't change the pitch of seed-tts-1.0 voices",
        ),
        (
            TaskItem(None, TEXT, "zh_female_shuangkuaisisi_moon_bigtts", speed=2.5),
            OptionRefusedError,
            "The speed of seed-tts-1.0 voices should be from 0.1 to 2",
        ),
        (
            TaskItem(None, TEXT, "S_mine", volume=3, resource_id="volc.megatts.default"),
            OptionRefusedError,
            "The volume of cloned voices should be from 0.5 to 2",
        ),
        (TaskItem(None, "\x00\u200b\x01"), errors.TextRefusedError, "nothing in the text"),
    ],
)
async def test_what_v1_cannot_do_is_refused_before_any_call(
    upstream: ScriptedUpstream, v1: V1, task: TaskItem, kind: type[errors.VolcengineError], message: str
) -> None:
    call = RecordedCall()
    error = await failure(v1, task, call)

    assert type(error) is kind
    assert message in str(error)
    assert not error.retryable
    assert call.told == []
    assert upstream.connection_count == 0


@pytest.mark.parametrize(
    ("answer", "kind", "is_retryable"),
    [
        (refuses(401, 3001, "load grant: requested grant not found"), errors.LoginRejectedError, False),
        (refuses(403, 3001, "get resource id: access denied"), errors.VoiceNotGrantedError, False),
        (refuses(429, 3003, "quota exceeded for types: concurrency"), errors.ConcurrencyExceededError, True),
        (refuses(429, 3001, "quota exceeded for types: concurrency"), errors.ConcurrencyExceededError, True),
        (refuses(200, 3003, "quota exceeded for types: concurrency"), errors.ConcurrencyExceededError, True),
        (refuses(429, 3001, "quota exceeded for types: qps"), errors.UpstreamThrottledError, True),
        (refuses(429, 3001, "quota exceeded for types: text_words_lifetime"), errors.QuotaUsedUpError, False),
        (refuses(400, 3010, "exceed max len limit!"), errors.TextRefusedError, False),
        (refuses(400, 3011, "illegal input text!"), errors.TextRefusedError, False),
        (refuses(500, 3031, "reason Init Engine Instance failed"), errors.VoiceNotGrantedError, False),
        (refuses(500, 3031, "invalid character 'x' looking for beginning of value"), UpstreamRejectedError, False),
        *((refuses(500, code, ""), UpstreamUnavailableError, True) for code in (3005, 3006, 3030, 3031, 3032, 3040)),
        (refuses(400, 3050, ""), errors.VoiceNotGrantedError, False),
        (raw(raw_answer(502, b"<html>Bad gateway</html>")), UpstreamUnavailableError, True),
        (raw(raw_answer(503, b"<html>Try later</html>")), UpstreamUnavailableError, True),
        (raw(raw_answer(302, b"", Location="http://127.0.0.1:1/")), UpstreamRejectedError, False),
        (raw(raw_answer(200, b"<html>Log in to the hotel's network</html>")), UpstreamUnavailableError, True),
        (says(200, {}), UpstreamUnavailableError, True),
        (raw(raw_answer(200, b"[]")), UpstreamUnavailableError, True),
        (raw(raw_answer(200, b"[" * 100_000)), UpstreamUnavailableError, True),
        (raw(raw_answer(200, b"\xff\xfe\xfd")), UpstreamUnavailableError, True),
        (raw(raw_answer(200, b"")), UpstreamUnavailableError, True),
        (says(500, {"code": "3003", "message": None}), UpstreamUnavailableError, True),
        (says(200, {"code": True, "data": "AAAA"}), UpstreamUnavailableError, True),
    ],
)
async def test_every_failure_is_an_honest_error(
    upstream: ScriptedUpstream, v1: V1, answer: Answer, kind: type[errors.VolcengineError], is_retryable: bool
) -> None:
    upstream.script = [answer]
    call = RecordedCall()
    error = await failure(v1, call=call)

    assert type(error) is kind
    assert error.retryable is is_retryable
    assert call.told == ["ready", "sent", "answered"]
    assert upstream.connection_count == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (speaks(b""), "there is no audio"),
        (speaks(AUDIO, data=None), "there is no audio"),
        (speaks(AUDIO, data=17), "there is no audio"),
        (speaks(AUDIO, data="AAA"), "it is not base64"),
        (speaks(AUDIO, data="你好"), "it is not base64"),
        (speaks(AUDIO, data="AA\nAA"), "it is not base64"),
        (speaks(b"<html>"), "something else than mp3 frames"),
        (speaks(AUDIO[:-1]), "the last mp3 frame is cut"),
        (speaks(AUDIO[: len(AUDIO) // 2], addition={"duration": "1000"}), "it plays 528 ms of 1000 ms"),
        (speaks(mp3(18_000), addition={"duration": "1500"}), "it plays 816 ms of 1500 ms"),
        (speaks(mp3(18_000), addition={"duration": 1_500}), "it plays 816 ms of 1500 ms"),
    ],
)
async def test_audio_that_is_not_whole_is_an_error(
    upstream: ScriptedUpstream, v1: V1, answer: Answer, reason: str
) -> None:
    upstream.script = [answer]

    with pytest.raises(UpstreamUnavailableError, match=f"The upstream's audio was not whole: .*{reason}"):
        await spoken(v1)


@pytest.mark.parametrize(
    "addition",
    [
        None,
        {},
        {"duration": "1056"},
        {"duration": "1300"},  # 90 % less 150 ms is still below what it plays
        {"duration": "10"},
        {"duration": ""},
        {"duration": "-5"},
        {"duration": "soon"},
        {"duration": 1.5},
        {"duration": True},
        {"duration": None},
        [],
        "1000",
    ],
)
async def test_a_stated_duration_is_optional_and_never_more_than_a_check(
    upstream: ScriptedUpstream, v1: V1, addition: Any
) -> None:
    upstream.script = [speaks(AUDIO, addition=addition)]

    assert (await spoken(v1)).duration_ms == 1_056


async def test_the_answer_to_another_request_is_not_taken(upstream: ScriptedUpstream, v1: V1) -> None:
    upstream.script = [speaks(AUDIO, reqid="another"), speaks(AUDIO, reqid=None)]

    assert "answered another request" in str(await failure(v1))
    assert (await spoken(v1)).audio == AUDIO


async def test_each_encoding_is_checked_as_what_it_is(upstream: ScriptedUpstream, v1: V1) -> None:
    upstream.script = [speaks(bytes(16_000), addition={"duration": "1000"})]

    assert (await spoken(v1, TaskItem(None, TEXT, encoding="pcm", sample_rate=8_000))).duration_ms == 1_000
    assert "there is no wav header" in str(await failure(v1, TaskItem(None, TEXT, encoding="wav")))


async def test_an_error_holds_neither_key_nor_text(upstream: ScriptedUpstream, v1: V1) -> None:
    echo = f"{TEXT} {KEY}"
    upstream.script = [
        refuses(400, 3001, echo),
        refuses(403, 3001, f"{echo} [resource_id={echo}] requested resource not granted"),
        says(500, {"code": 3031, "message": echo, "reqid": echo}),
        raw(raw_answer(500, echo.encode())),
        raw(f"HTTP/1.1 {echo}\r\n\r\n".encode(), is_kept=False),
        speaks(AUDIO, data=echo),
        speaks(AUDIO, addition={"duration": echo}, data="AAAA"),
    ]
    told = [await failure(v1) for _ in range(len(upstream.script))]

    for error in told:
        shown = f"{error!r} {json.dumps(error.details)} {error.__cause__!r}"
        assert KEY not in shown
        assert "秘密" not in shown


@pytest.mark.parametrize("part", ["", " ", "a b", "a\r\nX-Other: 1", "钥", "\x00", "a" * 257])
def test_what_could_be_no_login_is_refused_and_not_repeated(part: str) -> None:
    for parts in ((part, KEY), ("1234567890", part), ("", "", part)):
        with pytest.raises(errors.CredentialsError) as refused:
            Login(*parts)
        assert KEY not in str(refused.value)


def test_a_login_does_not_show_its_key() -> None:
    assert repr(LOGIN) == "Login(app_id='1234567890')"
    assert repr(Login(api_key=KEY)) == "Login(app_id='')"
    assert repr(Speech(b"sound", 1, None)) == (
        "Speech(duration_ms=1, log_id=None, kept_as=None, billed_characters=None)"
    )


async def test_an_account_with_only_an_api_key_has_no_v1(upstream: ScriptedUpstream) -> None:
    with pytest.raises(errors.CredentialsError):
        V1(Wire(upstream.url, clock=SystemClock()), Login(api_key=KEY))


async def test_further_wishes_reach_their_fields(upstream: ScriptedUpstream, v1: V1) -> None:
    big, ssml = "zh_female_shuangkuaisisi_moon_bigtts", f"<speak>{TEXT}</speak>"
    await spoken(v1, TaskItem(None, ssml, language="pt-BR", silence_ms=500, text_type="ssml", subtitles="srt"))
    await spoken(v1, TaskItem(None, TEXT, big, language="zh-cn", silence_ms=0, model="seed-tts-1.1"))
    small, big_one = (request.said for request in upstream.requests)

    assert small["audio"]["language"] == "ptbr"
    assert small["request"] | {"silence_duration": 500, "text_type": "ssml", "with_timestamp": 1} == small["request"]
    assert "enable_trailing_silence_audio" not in small["request"]
    assert big_one["audio"]["explicit_language"] == "zh-cn"
    wanted = {"silence_duration": 0, "enable_trailing_silence_audio": True, "model": "seed-tts-1.1"}
    assert big_one["request"] | wanted == big_one["request"]


async def test_the_times_of_words_are_read_when_they_were_asked_for(upstream: ScriptedUpstream, v1: V1) -> None:
    frontend = json.dumps({"words": [{"word": "你", "start_time": 0.025, "end_time": 0.185}], "phonemes": []})
    upstream.script = [speaks(AUDIO, addition={"frontend": frontend})]

    assert (await spoken(v1, TaskItem(None, TEXT, subtitles="json"))).words == (Word("你", 25, 185),)
    assert (await spoken(v1)).words is None
