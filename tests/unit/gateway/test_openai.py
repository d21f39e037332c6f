"""OpenAI's way to ask for speech: translation both ways, and the routes over a scripted upstream."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ADMIN_KEY, SERVER_LOGIN, Bench, ScriptedVoice, Told, event, keyring
from tests.support.jobs import Workshop
from volcengine_client.errors import (
    LoginRejectedError,
    OptionRefusedError,
    QuotaUsedUpError,
    TextRefusedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VoiceNotGrantedError,
    VolcengineError,
)
from volcengine_client.limits import SPEED_MAX, SPEED_MIN
from volcengine_client.models import BatchRequest, BatchResponse, PoolReport, TaskError, TaskItem, TaskResult
from volcengine_client.speech.v1 import Login
from volcengine_gateway.openai import MODELS, VOICES, api_key_in, sound_in, speech_batch_of
from volcengine_gateway.problems import AudioTooLargeError, UnsupportedValueError, answer_of_openai_error
from volcengine_gateway.secret import FixedKeys
from volcengine_gateway.settings import Settings

SPEECH = {"model": "tts-1", "input": "你好", "voice": "alloy"}


def asked(*, project: str | None = None, voices: dict[str, str] | None = None, **instead: Any) -> BatchRequest:
    body = {name: value for name, value in (SPEECH | instead).items() if value is not ...}
    return speech_batch_of(json.dumps(body).encode(), project=project, voices=voices or {})


def task(**instead: Any) -> TaskItem:
    (one,) = asked(**instead).tasks
    return one


async def post(bench: Bench, *, key: str | None = ADMIN_KEY, remaining_ms: int = 29_000, **instead: Any) -> Told:
    shown = {} if key is None else {"Authorization": f"Bearer {key}"}
    request = event("POST", "/v1/audio/speech", body=json.dumps(SPEECH | instead), **shown)
    return await bench.ask(request, remaining_ms=remaining_ms)


# --- what is asked for --------------------------------------------------------------


def test_a_request_is_a_batch_of_one_task() -> None:
    assert asked() == BatchRequest(tasks=[TaskItem(text="你好", voice_type="BV001_streaming")])
    assert asked(project="bookshop").app == "bookshop"


@pytest.mark.parametrize("name", sorted(VOICES))
def test_every_voice_of_openai_is_one_that_each_account_has(name: str) -> None:
    assert task(voice=name).voice_type in {"BV001_streaming", "BV002_streaming"}


@pytest.mark.parametrize("voice", ["BV700_streaming", {"id": "BV700_streaming"}])
def test_any_other_voice_is_an_id(voice: Any) -> None:
    assert task(voice=voice).voice_type == "BV700_streaming"


def test_the_operators_voices_go_first() -> None:
    voices = {"alloy": "BV700_streaming", "narrator": "BV701_streaming"}

    assert task(voices=voices).voice_type == "BV700_streaming"
    assert task(voices=voices, voice="narrator").voice_type == "BV701_streaming"
    assert task(voices=voices, voice="onyx").voice_type == "BV002_streaming"


@pytest.mark.parametrize(
    ("response_format", "encoding", "sample_rate"),
    [
        (..., "mp3", None),
        (None, "mp3", None),
        ("mp3", "mp3", None),
        ("wav", "wav", None),
        ("opus", "ogg_opus", None),
        ("pcm", "pcm", 24_000),
    ],
)
def test_a_format_is_an_encoding(response_format: Any, encoding: str, sample_rate: int | None) -> None:
    one = task(response_format=response_format)

    assert (one.encoding, one.sample_rate) == (encoding, sample_rate)


@pytest.mark.parametrize(("speed", "wanted"), [(..., None), (None, None), (1, None), (1.0, None), (0.25, 0.25)])
def test_the_usual_speed_is_no_speed_so_that_the_same_sound_is_found(speed: Any, wanted: float | None) -> None:
    assert task(speed=speed).speed == wanted


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("response_format", "aac"),
        ("response_format", "flac"),
        ("response_format", "MP3"),
        ("instructions", "Sing."),
        ("stream_format", "sse"),
    ],
)
def test_what_would_sound_otherwise_is_refused_never_left_out(param: str, value: str) -> None:
    wish: dict[str, Any] = {param: value}
    with pytest.raises(UnsupportedValueError) as refused:
        asked(**wish)

    assert refused.value.details["fields"][0]["field"] == param
    assert value not in refused.value.message


def test_what_changes_nothing_is_taken() -> None:
    assert asked(instructions="", stream_format="audio", speed=None) == asked()


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("model", ...),
        ("input", ...),
        ("voice", ...),
        ("input", ""),
        ("input", 7),
        ("input", "x" * 1_000_000),
        ("voice", ""),
        ("voice", {"id": 7}),
        ("voice", {"name": "x"}),
        ("speed", 4.0),
        ("speed", 0.1),
        ("speed", True),
        ("speed", "fast"),
        ("response_format", 7),
        ("pitch", 1),
    ],
)
async def test_a_wrong_field_is_named_as_openai_calls_it(param: str, value: Any) -> None:
    body = {name: given for name, given in (SPEECH | {param: value}).items() if given is not ...}
    bench = Bench()
    told = await bench.ask(
        event("POST", "/v1/audio/speech", body=json.dumps(body), Authorization=f"Bearer {ADMIN_KEY}")
    )

    assert told.status == 400
    assert told.error["param"] == param
    assert told.error["type"] == "invalid_request_error"
    assert told.headers["X-Should-Retry"] == "false"
    assert bench.voice.spoken == []


@pytest.mark.parametrize(("speed", "bound"), [(4.0, SPEED_MAX), (0.1, SPEED_MIN)])
async def test_a_speed_out_of_range_names_its_bound(speed: float, bound: float) -> None:
    told = await post(Bench(), speed=speed)

    assert told.status == 400
    assert f"{bound:g}" in told.error["message"]


async def test_all_wrong_fields_are_in_the_message() -> None:
    told = await post(Bench(), voice="", speed=9)

    assert "voice: " in told.error["message"]
    assert "speed: " in told.error["message"]


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '"text"'])
async def test_a_body_that_is_no_object_has_no_param(body: str) -> None:
    told = await Bench().ask(event("POST", "/v1/audio/speech", body=body, Authorization=f"Bearer {ADMIN_KEY}"))

    assert (told.status, told.error["param"]) == (400, None)


async def test_a_project_that_is_no_app_is_named() -> None:
    request = event(
        "POST", "/v1/audio/speech", body=json.dumps(SPEECH),
        Authorization=f"Bearer {ADMIN_KEY}", OpenAI_Project="my project",
    )  # fmt: skip
    told = await Bench().ask(request)

    assert (told.status, told.error["param"]) == (400, "OpenAI-Project")


# --- who may ask ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer the-key", "the-key"),
        ("bearer  the-key ", "the-key"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic the-key", None),
        ("the-key", None),
        ("", None),
    ],
)
def test_the_key_is_a_bearers(header: str, key: str | None) -> None:
    assert api_key_in({"authorization": header}) == key


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/audio/speech"), ("GET", "/v1/models"), ("GET", "/v1/models/tts-1")]
)
@pytest.mark.parametrize("shown", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {ADMIN_KEY}"}])
async def test_without_the_admin_key_nothing_is_told_or_read(method: str, path: str, shown: dict[str, str]) -> None:
    bench = Bench()
    told = await bench.ask(event(method, path, body="{", **shown))

    assert told.status == 401
    assert (told.error["code"], told.error["type"]) == ("invalid_api_key", "invalid_request_error")
    assert told.headers["WWW-Authenticate"] == "Bearer"
    assert bench.voice.spoken == []


async def test_a_server_that_lets_anyone_takes_any_key() -> None:
    bench = Bench(keys=FixedKeys(keyring(admin_key=None)), settings=Settings(callers_credentials="anyone"))

    assert (await post(bench, key="anything")).status == 200
    assert (await post(bench, key=None)).status == 200


# --- what is answered ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response_format", "content_type"),
    [("mp3", "audio/mpeg"), ("wav", "audio/wav"), ("opus", "audio/ogg"), ("pcm", "audio/pcm")],
)
async def test_audio_is_bytes_with_their_content_type(response_format: str, content_type: str) -> None:
    bench = Bench(voice=ScriptedVoice({}, outcome=lambda _login, _task: b"\x00\xff audio"))
    request = event(
        "POST", "/v1/audio/speech", body=json.dumps(SPEECH | {"response_format": response_format}),
        Authorization=f"Bearer {ADMIN_KEY}",
    )  # fmt: skip
    told = await bench.ask(request)

    assert (told.status, told.headers["Content-Type"]) == (200, content_type)
    assert base64.b64decode(told.body) == b"\x00\xff audio"
    assert told.headers["X-Request-Id"] == "request-1"
    assert told.headers["Cache-Control"] == "no-store"
    assert bench.journal.requests[0].route == "/v1/audio/speech"


def response_of(**result: Any) -> BatchResponse:
    return BatchResponse(results=[TaskResult(task_id="t1", **result)], pool=PoolReport(limit=10, waited_ms=None))


def test_audio_that_has_no_room_nor_anywhere_to_be_kept_is_not_worth_another_try() -> None:
    full = TaskError(code="answer_full", message="x", retryable=True)
    with pytest.raises(AudioTooLargeError) as refused:
        sound_in(response_of(error=full))

    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("error", "status", "param", "is_worth_another_try"),
    [
        (VoiceNotGrantedError("x"), 400, "voice", "false"),
        (TextRefusedError("x"), 400, "input", "false"),
        (OptionRefusedError("x"), 400, None, "false"),
        (QuotaUsedUpError("x"), 502, None, "false"),
        (LoginRejectedError("x"), 502, None, "false"),
        (UpstreamTimeoutError("x", retryable=False), 504, None, "false"),
        (UpstreamTimeoutError("x"), 504, None, "true"),
    ],
)
async def test_an_error_of_the_task_is_the_requests(
    error: VolcengineError, status: int, param: str | None, is_worth_another_try: str
) -> None:
    told = await post(Bench(voice=ScriptedVoice({}, outcome=lambda _login, _task: error)))

    assert (told.status, told.error["param"]) == (status, param)
    assert told.error["type"] == ("invalid_request_error" if status == 400 else "server_error")
    assert (told.error["code"], told.error["request_id"]) == (error.code, "request-1")
    assert told.headers["X-Should-Retry"] == is_worth_another_try


@pytest.mark.looptime
async def test_no_slot_in_time_says_when_to_ask_again() -> None:
    bench = Bench(voice=ScriptedVoice({SERVER_LOGIN.app_id: 1}, speak_ms=20_000), keys=FixedKeys(keyring(n=1)))
    first = asyncio.create_task(post(bench))
    await asyncio.sleep(1)
    second = await post(bench, input="something else", remaining_ms=5_000)
    await first

    assert (second.status, second.error["type"]) == (429, "rate_limit_error")
    assert int(second.headers["Retry-After"]) >= 1
    assert second.headers["X-Should-Retry"] == "true"


async def test_what_is_spoken_by_a_job_still_is_asked_for_again(tmp_path: Path) -> None:
    """I8: the same request later finds it."""
    workshop = Workshop(tmp_path)
    workshop.voice.outcome = lambda _login, _task: UpstreamUnavailableError("x")
    bench = workshop.bench()
    first = await post(bench, remaining_ms=3_600)
    workshop.voice.outcome = lambda _login, task: task.text.encode()
    for message, _ in workshop.messages.sent:
        await workshop.slice(message)
    second = await post(bench)

    assert (first.status, first.headers["Retry-After"]) == (429, "5")
    assert base64.b64decode(second.body).decode() == "你好"


async def test_equal_requests_at_once_are_bought_once(tmp_path: Path) -> None:
    """I8, and beside /generate-batch too."""
    workshop = Workshop(tmp_path, speak_ms=100)
    both = await asyncio.gather(*(post(workshop.bench()) for _ in range(2)))
    batch = await workshop.bench().post({"tasks": [{"text": "你好", "voice_type": "BV001_streaming"}]})

    assert [base64.b64decode(told.body).decode() for told in both] == ["你好", "你好"]
    assert batch.said["results"][0]["bought"] is False
    assert workshop.bought() == {"你好": 1}


@pytest.mark.parametrize(("audio_bytes", "status"), [(30_000, 200), (30_001, 303)])
async def test_audio_over_the_bound_is_elsewhere(tmp_path: Path, audio_bytes: int, status: int) -> None:
    """Found as well as new."""
    workshop = Workshop(tmp_path)
    workshop.voice.outcome = lambda _login, _task: bytes(audio_bytes)
    bench = workshop.bench(audio_bytes_max=30_000)
    new, found = await post(bench), await post(bench)

    assert (new.status, found.status) == (status, status)
    assert workshop.bought() == {"你好": 1}
    if status == 303:
        assert new.body == found.body == ""
        assert await workshop.audio({"audio_url": found.headers["Location"]}) == bytes(audio_bytes)
        assert "Content-Type" not in found.headers


async def test_audio_without_room_is_refused_unbought_where_nothing_is_kept() -> None:
    bench = Bench(settings=Settings(callers_credentials="off", audio_bytes_max=1_000))
    told = await post(bench)

    assert (told.status, told.error["code"], told.error["param"]) == (400, "audio_too_large", "input")
    assert bench.voice.spoken == []


def test_a_bug_is_told_in_openais_shape_too() -> None:
    answer = answer_of_openai_error(VolcengineError("x"), request_id="r")

    assert answer.status == 500
    assert json.loads(answer.body) == {
        "error": {"message": "x", "type": "server_error", "param": None, "code": "internal", "request_id": "r"}
    }


# --- models and other paths --------------------------------------------------------------


async def test_models_are_listed_and_shown() -> None:
    bench = Bench()
    shown = {"Authorization": f"Bearer {ADMIN_KEY}"}
    listed = await bench.ask(event("GET", "/v1/models", **shown))
    one = await bench.ask(event("GET", "/v1/models/gpt-4o-mini-tts", **shown))
    none = await bench.ask(event("GET", "/v1/models/whisper-1", **shown))

    assert [model["id"] for model in listed.said["data"]] == list(MODELS)
    assert listed.said["object"] == "list"
    assert one.said in listed.said["data"]
    assert (none.status, none.error["code"]) == (404, "model_not_found")


async def test_an_unknown_model_speaks_nothing() -> None:
    bench = Bench()
    told = await post(bench, model="whisper-1")

    assert (told.status, told.error["code"], told.error["param"]) == (404, "model_not_found", "model")
    assert bench.voice.spoken == []


async def test_other_paths_and_methods_are_told_in_openais_shape() -> None:
    bench = Bench()
    unknown = await bench.ask(event("POST", "/v1/chat/completions"))
    wrong = await bench.ask(event("GET", "/v1/audio/speech"))
    own = await bench.ask(event("GET", "/nowhere"))

    assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "unknown_url", None)
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST, OPTIONS")
    assert wrong.error["type"] == "invalid_request_error"
    assert own.error["code"] == "unknown_route"


async def test_what_is_no_json_is_told_in_openais_shape() -> None:
    request = event(
        "POST", "/v1/audio/speech", body="{}", Authorization=f"Bearer {ADMIN_KEY}", Content_Type="text/plain"
    )
    told = await Bench().ask(request)

    assert (told.status, told.error["code"]) == (415, "unsupported_media_type")


async def test_no_text_is_in_an_answer_or_the_journal() -> None:
    """I6."""
    bench = Bench(voice=ScriptedVoice({}, outcome=_refuse))
    told = await post(bench, input="canary")

    assert "canary" not in told.body
    assert "canary" not in repr(bench.journal)


def _refuse(_login: Login, _task: TaskItem) -> VolcengineError:
    return TextRefusedError("The upstream can't read this text")
