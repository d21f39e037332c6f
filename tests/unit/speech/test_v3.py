"""One call over v3: what is asked, and what every answer becomes."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.scripted_upstream import (
    Answer,
    RecordedCall,
    ScriptedUpstream,
    cuts,
    hangs,
    objects,
    raw,
    raw_answer,
    says,
    streams,
)
from volcengine_client import errors
from volcengine_client.clock import SystemClock
from volcengine_client.limits import UPSTREAM_ANSWER_BYTES_MAX
from volcengine_client.models import TaskItem
from volcengine_client.speech.account import AccountSpeaker
from volcengine_client.speech.login import Login
from volcengine_client.speech.speech import Speech, Word
from volcengine_client.speech.v3 import V3, Reading
from volcengine_client.speech.wire import Wire

KEY = "the-access-key"
API_KEY = "the-api-key"
TEXT = "你好，秘密。"
VOICE = "zh_female_vv_uranus_bigtts"
TASK = TaskItem("one", TEXT, VOICE, encoding="pcm")
PCM = bytes(range(240)) * 200  # 1,000 ms
SPOKEN = streams(*objects(PCM[:7], PCM[7:]))
DOUBT = ["ready", "sent"]
ENDED = ["ready", "sent", "answered"]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(SPOKEN) as upstream:
        yield upstream


@pytest.fixture
async def wire(upstream: ScriptedUpstream) -> AsyncIterator[Wire]:
    wire = Wire(upstream.url, clock=SystemClock())
    yield wire
    await wire.close()


@pytest.fixture
def v3(wire: Wire) -> V3:
    return V3(wire, Login("1234567890", KEY))


async def spoken(speaker: V3 | AccountSpeaker, task: TaskItem = TASK, call: RecordedCall | None = None) -> Speech:
    return await speaker.speak(task, call=call or RecordedCall(), timeout_ms=5_000)


async def failure(v3: V3, task: TaskItem = TASK, call: RecordedCall | None = None) -> errors.VolcengineError:
    with pytest.raises(errors.VolcengineError) as failed:
        await spoken(v3, task, call)
    return failed.value


def error_object(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "data": None}


async def test_a_task_becomes_audio(v3: V3) -> None:
    call = RecordedCall()

    assert await spoken(v3, call=call) == Speech(PCM, 1_000, "20240726log", billed_characters=6)
    assert call.told == ENDED


async def test_a_call_asks_as_v3_wants_to_be_asked(upstream: ScriptedUpstream, v3: V3) -> None:
    await spoken(v3)
    await spoken(v3)
    first, second = upstream.requests

    assert first.target == "/api/v3/tts/unidirectional"
    assert first.headers["x-api-app-id"] == "1234567890"
    assert first.headers["x-api-access-key"] == KEY
    assert first.headers["x-api-resource-id"] == "seed-tts-2.0"
    assert first.headers["x-control-require-usage-tokens-return"] == "text_words"
    assert first.headers["x-api-request-id"] != second.headers["x-api-request-id"]
    assert not {"x-api-key", "authorization"} & set(first.headers)
    assert first.said == {
        "user": {"uid": "volcengine-concurrent-tts"},
        "req_params": {"text": TEXT, "speaker": VOICE, "audio_params": {"format": "pcm"}},
    }
    assert first.connection == second.connection


@pytest.mark.parametrize("login", [Login(api_key=API_KEY), Login("1234567890", KEY, API_KEY)])
async def test_an_api_key_stands_alone(upstream: ScriptedUpstream, wire: Wire, login: Login) -> None:
    await spoken(V3(wire, login))
    headers = upstream.requests[0].headers

    assert headers["x-api-key"] == API_KEY
    assert not {"x-api-app-id", "x-api-app-key", "x-api-access-key"} & set(headers)


async def test_an_account_speaks_each_voice_over_its_api(upstream: ScriptedUpstream, wire: Wire) -> None:
    speaker = AccountSpeaker(wire, Login("1234567890", KEY, API_KEY))
    upstream.script = [SPOKEN, cuts]
    await spoken(speaker)
    with pytest.raises(errors.UpstreamUnavailableError):
        await spoken(speaker, TaskItem(None, TEXT))

    assert [request.target for request in upstream.requests] == ["/api/v3/tts/unidirectional", "/api/v1/tts"]
    assert upstream.requests[1].headers["authorization"] == f"Bearer;{KEY}"
    assert "x-api-key" not in upstream.requests[1].headers


async def test_a_voice_of_v1_is_this_tasks_error_when_there_is_only_an_api_key(
    upstream: ScriptedUpstream, wire: Wire
) -> None:
    speaker = AccountSpeaker(wire, Login(api_key=API_KEY))

    with pytest.raises(errors.VoiceNotGrantedError, match="an app id and an access key"):
        await spoken(speaker, TaskItem(None, TEXT))
    assert upstream.connection_count == 0
    assert (await spoken(speaker)).audio == PCM


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize("glue", [b"", b"\n"])
async def test_an_answer_is_read_however_it_is_cut(upstream: ScriptedUpstream, v3: V3, size: int, glue: bytes) -> None:
    stream = glue.join(piece.strip() for piece in objects(PCM[:60], PCM[60:100]))
    upstream.script = [streams(*(stream[at : at + size] for at in range(0, len(stream), size)))]

    assert (await spoken(v3)).audio == PCM[:100]


def test_every_cut_of_an_answer_reads_alike() -> None:
    stream = b"".join(objects(PCM[:30], PCM[30:60], others=({"code": 0, "data": None, "sentence": {"text": "好"}},)))
    for cut in range(len(stream) + 1):
        reading = Reading()
        ends = [reading.take(piece) for piece in (stream[:cut], stream[cut:])]

        assert reading.audio == PCM[:60]
        assert reading.last is not None
        assert reading.last["code"] == 20_000_000
        assert any(ends)
        assert len(reading.sentences) == 1


async def test_wav_gets_one_header_of_our_own(upstream: ScriptedUpstream, v3: V3) -> None:
    speech = await spoken(v3, TaskItem(None, TEXT, VOICE, encoding="wav", sample_rate=48_000))

    with wave.open(io.BytesIO(speech.audio)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48_000, 1, 2)
        assert file.readframes(10**6) == PCM
    assert speech.duration_ms == 500
    assert upstream.requests[0].said["req_params"]["audio_params"] == {"format": "pcm", "sample_rate": 48_000}


async def test_the_times_of_words_are_read_when_they_were_asked_for(upstream: ScriptedUpstream, v3: V3) -> None:
    sentences = (
        {"code": 0, "data": None, "sentence": {"words": [{"word": "密", "startTime": 0.5, "endTime": 0.7}]}},
        {"code": 0, "data": None, "sentence": {"words": [{"word": "秘", "startTime": 0.205, "endTime": 0.315}]}},
    )
    upstream.script = [streams(*objects(PCM, others=sentences))]

    assert (await spoken(v3, TaskItem(None, TEXT, VOICE, encoding="pcm", subtitles="vtt"))).words == (
        Word("秘", 205, 315),
        Word("密", 500, 700),
    )
    assert (await spoken(v3)).words is None


@pytest.mark.parametrize("usage", [None, [], {}, {"text_words": "6"}, {"text_words": -1}, {"text_words": True}])
async def test_a_missing_count_of_characters_is_no_error(upstream: ScriptedUpstream, v3: V3, usage: Any) -> None:
    upstream.script = [streams(*objects(PCM, end={"code": 20_000_000, "message": "OK", "usage": usage}))]

    assert (await spoken(v3)).billed_characters is None


async def test_any_code_that_begins_with_a_two_is_success(upstream: ScriptedUpstream, v3: V3) -> None:
    upstream.script = [streams(*objects(PCM, end={"code": 20_000_001, "message": "fine"}))]

    assert (await spoken(v3)).audio == PCM


FAILURES: list[tuple[int, int, str, type[errors.VolcengineError], bool]] = [
    (401, 45_000_010, "Invalid X-Api-Key", errors.LoginRejectedError, False),
    (401, 45_000_010, "load grant: requested grant not found in SaaS storage", errors.LoginRejectedError, False),
    (
        403,
        45_000_030,
        "[resource_id=volc.service_type.10029] requested resource not granted",
        errors.VoiceNotGrantedError,
        False,
    ),
    (403, 45_000_000, "speaker permission denied: get resource id: access denied", errors.VoiceNotGrantedError, False),
    (429, 45_000_292, "quota exceeded for types: concurrency", errors.ConcurrencyExceededError, True),
    (200, 45_000_000, "quota exceeded for types: concurrency", errors.ConcurrencyExceededError, True),
    (429, 45_000_292, "quota exceeded for types: qps", errors.UpstreamThrottledError, True),
    (429, 45_000_292, "quota exceeded for types: text_words_lifetime", errors.QuotaUsedUpError, False),
    (200, 45_000_292, "quota exceeded for types: text_words_lifetime", errors.QuotaUsedUpError, False),
    (400, 40_402_003, "TTSExceededTextLimit:exceed max limit", errors.TextRefusedError, False),
    (400, 45_000_001, "[Invalid argument] InvalidModel", errors.OptionRefusedError, False),
    (400, 45_000_001, "[Invalid argument] EmptyRequest", errors.TextRefusedError, False),
    (200, 45_000_001, "[Invalid argument] speaker not found", errors.VoiceNotGrantedError, False),
    (200, 45_002_000, "TTS invalid speaker", errors.VoiceNotGrantedError, False),
    (200, 45_002_001, "No readable text!", errors.TextRefusedError, False),
    (400, 45_000_000, "payload unmarshal: no", errors.UpstreamRejectedError, False),
    (400, 45_000_000, "single request size too large", errors.TextRefusedError, False),
    (500, 55_000_000, "server error", errors.UpstreamUnavailableError, True),
    (200, 55_000_000, "resource ID is mismatched with speaker related resource", errors.VoiceNotGrantedError, False),
    (500, 55_000_000, "resource ID is mismatched with speaker related resource", errors.VoiceNotGrantedError, False),
    (200, 55_000_001, "session error", errors.UpstreamUnavailableError, True),
    (200, 55_000_031, "busy", errors.UpstreamUnavailableError, True),
    (200, 55_000_009, "Request timeout: connect downstream service timeout", errors.UpstreamUnavailableError, True),
    (401, 45_000_000, "app key not found in header or query", errors.VoiceNotGrantedError, False),
]


@pytest.mark.parametrize("shape", ["plain", "header"])
@pytest.mark.parametrize(("http_status", "code", "message", "kind", "is_retryable"), FAILURES)
async def test_every_failure_is_an_honest_error_in_both_shapes(
    upstream: ScriptedUpstream,
    v3: V3,
    shape: str,
    http_status: int,
    code: int,
    message: str,
    kind: type[errors.VolcengineError],
    is_retryable: bool,
) -> None:
    said = {"code": code, "message": message}
    body: dict[str, Any] = said if shape == "plain" else {"header": {"reqid": "r", **said}}
    upstream.script = [says(http_status, body)]
    call = RecordedCall()
    error = await failure(v3, call=call)

    assert type(error) is kind
    assert error.retryable is is_retryable
    assert error.details["upstream_code"] == code
    assert call.told == ENDED


async def test_an_error_amid_the_audio_is_the_end_of_it(upstream: ScriptedUpstream, v3: V3) -> None:
    upstream.script = [streams(*objects(PCM, end=error_object(55_000_000, "server error")), is_whole=False)]
    call = RecordedCall()
    error = await failure(v3, call=call)

    assert isinstance(error, errors.UpstreamUnavailableError)
    assert call.told == ENDED


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (streams(*objects(PCM)[:-1]), errors.UpstreamUnavailableError),
        (streams(*objects(PCM)[:-1], is_whole=False), errors.UpstreamUnavailableError),
        (streams(b"".join(objects(PCM))[:-9], is_whole=False), errors.UpstreamUnavailableError),
        (streams(), errors.UpstreamUnavailableError),
        (streams(b"{}\n{}\n"), errors.UpstreamUnavailableError),
        (streams(b"<html>Log in to the hotel's network</html>"), errors.UpstreamUnavailableError),
        (streams(b"[" * 100_000), errors.UpstreamUnavailableError),
        (raw(raw_answer(504, b"<html>")), errors.UpstreamTimeoutError),
        (cuts, errors.UpstreamUnavailableError),
    ],
)
async def test_an_answer_without_its_end_leaves_the_call_in_doubt(
    upstream: ScriptedUpstream, v3: V3, answer: Answer, kind: type[errors.VolcengineError]
) -> None:
    """I1: so its slot drains."""
    upstream.script = [answer]
    call = RecordedCall()
    error = await failure(v3, call=call)

    assert type(error) is kind
    assert error.retryable
    assert call.told == DOUBT


@pytest.mark.parametrize("http_status", [302, 400, 404, 500, 502, 503])
async def test_any_other_status_ends_the_call(upstream: ScriptedUpstream, v3: V3, http_status: int) -> None:
    upstream.script = [raw(raw_answer(http_status, b"<html>no</html>"))]
    call = RecordedCall()
    await failure(v3, call=call)

    assert call.told == ENDED


@pytest.mark.parametrize(
    ("audio", "encoding", "reason"),
    [
        (PCM[:-1], "pcm", "the last pcm sample is cut"),
        (PCM[:-1], "wav", "the last pcm sample is cut"),
        (PCM, "mp3", "mp3"),
        (PCM, "ogg_opus", "ogg"),
    ],
)
async def test_audio_that_is_not_whole_is_an_error(
    upstream: ScriptedUpstream, v3: V3, audio: bytes, encoding: Any, reason: str
) -> None:
    upstream.script = [streams(*objects(audio))]
    call = RecordedCall()
    error = await failure(v3, TaskItem(None, TEXT, VOICE, encoding=encoding), call)

    assert "was not whole" in error.message
    assert reason in error.message
    assert error.retryable
    assert call.told == ENDED


async def test_a_spoiled_piece_is_an_error_after_the_end(upstream: ScriptedUpstream, v3: V3) -> None:
    upstream.script = [streams(*objects(PCM, others=({"code": 0, "data": "%%%"},)))]
    call = RecordedCall()
    error = await failure(v3, call=call)

    assert error.message == "The upstream's audio was not whole: a piece is not base64"
    assert call.told == ENDED


async def test_success_without_audio_is_an_error_that_lasts(upstream: ScriptedUpstream, v3: V3) -> None:
    """I4: the voice does not speak the text's language, and every further try would be bought as well."""
    upstream.script = [streams(*objects(b""))]
    error = await failure(v3)

    assert type(error) is errors.TextRefusedError
    assert "gave no audio" in error.message
    assert error.details["log_id"] == "20240726log"


async def test_an_endless_answer_has_a_bound(upstream: ScriptedUpstream, v3: V3) -> None:
    line = b'{"code":0,"data":"' + b"A" * 1_000_000 + b'"}'
    upstream.script = [streams(*[line] * (UPSTREAM_ANSWER_BYTES_MAX // len(line) + 2), is_whole=False)]
    error = await failure(v3)

    assert "too long" in error.message


async def test_cancelling_closes_the_connection_at_once(upstream: ScriptedUpstream, v3: V3) -> None:
    begun = asyncio.Event()

    async def begins(exchange: Any) -> bool:
        await streams(objects(PCM)[0], is_whole=False)(exchange)
        begun.set()
        return await hangs(exchange)

    upstream.script = [begins]
    call = RecordedCall()
    speaking = asyncio.create_task(spoken(v3, call=call))
    await begun.wait()
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking

    await upstream.all_closed.wait()
    assert call.told == DOUBT


async def test_audio_that_was_understood_needs_no_end_of_http(upstream: ScriptedUpstream, v3: V3) -> None:
    """A gateway that keeps the connection open after the last object costs its connection, not the audio."""
    whole = b"".join(objects(PCM))

    async def never_ends(exchange: Any) -> bool:
        await streams(whole, is_whole=False)(exchange)
        return await hangs(exchange)

    upstream.script = [never_ends]
    call = RecordedCall()

    assert (await spoken(v3, call=call)).audio == PCM
    assert call.told == ENDED
    await upstream.all_closed.wait()


async def test_an_error_holds_neither_key_nor_text(upstream: ScriptedUpstream, v3: V3) -> None:
    echo = f"{TEXT} {KEY}"
    upstream.script = [
        says(400, {"code": 45_000_001, "message": echo}),
        says(403, {"header": {"code": 45_000_030, "message": f"[resource_id={echo}] requested resource not granted"}}),
        streams(*objects(PCM, end=error_object(55_000_000, echo))),
        streams(*objects(PCM, others=({"code": 0, "data": echo},))),
        streams(echo.encode()),
        streams(b'{"' + echo.encode() + b"}"),
    ]
    for _ in range(len(upstream.script)):
        error = await failure(v3)
        shown = f"{error!r} {json.dumps(error.details)} {error.__cause__!r}"

        assert KEY not in shown
        assert "秘密" not in shown
