from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from volcengine_client.errors import AnswerFullError, TextRefusedError
from volcengine_client.limits import (
    APP_CHARACTERS_MAX,
    CONCURRENCY_MAX,
    FILE_NAME_CHARACTERS_MAX,
    TASK_ID_CHARACTERS_MAX,
    TASKS_MAX,
    TEXT_CHARACTERS_MAX,
)
from volcengine_client.models import (
    BatchRequest,
    BatchResponse,
    Credentials,
    PoolReport,
    TaskError,
    TaskItem,
    TaskResult,
)

TASK: TypeAdapter[TaskItem] = TypeAdapter(TaskItem)
SECRET = "S3CR3T"


def _refused(said: Any, adapter: TypeAdapter[Any] = TASK) -> list[tuple[Any, ...]]:
    """Return the places of all that is wrong with *said*."""
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(said)
    return [error["loc"] for error in caught.value.errors(include_url=False, include_input=False)]


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_is_made_by_position_as_it_always_was() -> None:
    assert TaskItem("id", "text", "BV001_streaming", output_filename=None) == TaskItem(
        task_id="id", text="text", voice_type="BV001_streaming"
    )


def test_a_task_needs_only_a_text() -> None:
    task = TaskItem(text="hello")

    assert (task.task_id, task.voice_type, task.encoding) == (None, "BV001_streaming", "mp3")
    assert (task.speed, task.volume, task.pitch, task.sample_rate, task.emotion) == (None,) * 5


def test_a_text_may_be_called_prompt_in_json() -> None:
    assert TASK.validate_python({"prompt": "hello"}) == TaskItem(text="hello")


def test_text_and_prompt_together_are_refused() -> None:
    assert _refused({"text": "a", "prompt": "b"}) == [("text",)]


@pytest.mark.parametrize("text", ["", " ", "\n\t ", None, 5, ["a"], "\ud800"])
def test_a_text_that_is_none_is_refused(text: Any) -> None:
    assert _refused({"text": text}) == [("text",)]


def test_ssml_is_sound_and_no_child_of_it_too_long_for_a_call() -> None:
    assert TaskItem(text="<speak>" + "Hello. " * 100 + "</speak>", text_type="ssml")
    broken = ("hello", "<speak>hello", "<p>hello</p>", "<!DOCTYPE speak><speak/>", f"<speak><s>{'a' * 150}</s></speak>")
    for ssml in broken:
        assert _refused({"text": ssml, "text_type": "ssml"}) == [("text",)]
        assert TaskItem(text=ssml)


def test_a_missing_text_is_refused() -> None:
    assert _refused({}) == [("text",)]


def test_a_text_has_as_many_characters_as_it_may_whatever_their_size() -> None:
    assert TaskItem(text="a" * TEXT_CHARACTERS_MAX)
    assert TaskItem(text="好" * TEXT_CHARACTERS_MAX)
    assert _refused({"text": "a" * (TEXT_CHARACTERS_MAX + 1)}) == [("text",)]
    assert _refused({"text": "好" * (TEXT_CHARACTERS_MAX + 1)}) == [("text",)]


def test_an_error_never_shows_what_was_said() -> None:
    """I6."""
    with pytest.raises(ValidationError) as caught:
        TaskItem(text=SECRET * 1_000, voice_type="")

    assert SECRET not in str(caught.value)
    assert SECRET not in repr(TaskItem(text=SECRET))


def test_an_unknown_field_is_refused() -> None:
    assert _refused({"text": "a", "pich": 1}) == [("pich",)]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("task_id", ["a", "x" * TASK_ID_CHARACTERS_MAX, "号 1"], ["", "x" * (TASK_ID_CHARACTERS_MAX + 1), "a\nb", 5]),
        ("voice_type", ["S_abc", "v" * 128], ["", "v" * 129, "a\x00", None]),
        ("encoding", ["mp3", "wav", "pcm", "ogg_opus"], ["MP3", "flac", None]),
        ("sample_rate", [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, None], [0, 11_025, "x"]),
        ("speed", [0.2, 3, 3.0, None], [0.19, 3.01, True, float("nan"), float("inf"), "fast"]),
        ("volume", [0.1, 3], [0.09, 3.01, False, float("nan")]),
        ("pitch", [-12, 0, 12.0], [-12.1, 12.1, True, float("-inf")]),
        ("emotion", ["happy", None], ["", "x" * 65, "a\tb"]),
        ("language", ["zh-cn", "en", None], ["", "x" * 65, "a b", 5]),
        ("silence_ms", [0, 30_000, None], [-1, 30_001, True, "long", 1.5]),
        ("text_type", ["plain"], ["SSML", None]),
        ("model", ["seed-tts-2.0-expressive", None], ["", "x" * 65, "a\r\nb", "a/b"]),
        ("resource_id", ["volc.service_type.10029", None], ["", "x" * 65, "a\n", "模"]),
        ("subtitles", ["srt", "vtt", "json", None], ["ass", True]),
        ("output_filename", ["a.mp3", "说明.wav", ".".join("ab"), "x" * FILE_NAME_CHARACTERS_MAX, None], []),
    ],
)
def test_a_field_takes_its_range_and_nothing_else(field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(TASK.validate_python({"text": "a", field: value}), field) == value
    for value in bad:
        assert [place[0] for place in _refused({"text": "a", field: value})] == [field], value


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "a\\b",
        "..",
        "a..b",
        "c:x",
        ".hidden",
        "end.",
        " a",
        "a ",
        "con",
        "CON.mp3",
        "nul.",
        "Com1",
        "lpt9.wav",
        "a\x00b",
        "a\nb",
        "x" * (FILE_NAME_CHARACTERS_MAX + 1),
    ],
)
def test_a_file_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    assert _refused({"text": "a", "output_filename": name}) == [("output_filename",)]


@pytest.mark.parametrize("name", ["console.mp3", "com.mp3", "lpt.mp3", "auxiliary", "a.con"])
def test_a_file_name_that_only_begins_like_a_reserved_one_is_taken(name: str) -> None:
    assert TaskItem(text="a", output_filename=name).output_filename == name


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("a.wav", "wav"), ("a.MP3", "mp3"), ("说明.pcm", "pcm"), ("a.b.ogg", "ogg_opus"), ("a.Opus", "ogg_opus")],
)
def test_a_file_name_says_the_encoding_when_nothing_else_does(name: str, encoding: str) -> None:
    assert TaskItem("id", "text", "BV001_streaming", name).encoding == encoding
    assert TaskItem(text="text", output_filename=name, encoding=encoding).encoding == encoding
    assert TASK.validate_python({"prompt": "text", "output_filename": name}).encoding == encoding


@pytest.mark.parametrize("name", ["a", "a.audio", "a.mp3.txt", "mp3", "Chapter 1. The end", None])
def test_a_file_name_that_says_no_encoding_fits_all(name: str | None) -> None:
    assert TaskItem(text="text", output_filename=name).encoding == "mp3"
    assert TaskItem(text="text", output_filename=name, encoding="wav").encoding == "wav"


@pytest.mark.parametrize(
    ("name", "encoding"), [("a.wav", "mp3"), ("a.WAV", "mp3"), ("a.mp3", "ogg_opus"), ("a.opus", "pcm")]
)
def test_a_file_name_that_says_another_encoding_is_refused(name: str, encoding: Any) -> None:
    assert _refused({"text": "a", "output_filename": name, "encoding": encoding}) == [("output_filename",)]
    with pytest.raises(ValueError, match=f"File name ends like .*, but encoding is {encoding}"):
        TaskItem("id", "text", output_filename=name, encoding=encoding)


def test_an_encoding_that_is_none_is_told_of_whatever_the_file_name_is() -> None:
    assert _refused({"text": "a", "output_filename": "a.wav", "encoding": "flac"}) == [("encoding",)]
    assert _refused({"text": "a", "output_filename": "a.wav", "encoding": []}) == [("encoding",)]
    assert _refused({"text": "a", "output_filename": ["a.wav"], "encoding": "mp3"}) == [("output_filename",)]


# --- requests ---------------------------------------------------------------------------------------------------------


def _request(**fields: Any) -> dict[str, Any]:
    return {"tasks": [{"text": "a"}], **fields}


def test_every_wrong_field_of_a_request_is_named() -> None:
    said = _request(tasks=[{"text": "a"}, {"text": "", "speed": 9}], app="a b", credentials={"volcengine_tts_appid": 5})
    places = _refused(said, TypeAdapter(BatchRequest))

    assert set(places) == {
        ("tasks", 1, "text"),
        ("tasks", 1, "speed"),
        ("app",),
        ("credentials", "volcengine_tts_appid"),
    }


def test_a_request_may_have_no_task_and_not_too_many() -> None:
    assert BatchRequest.model_validate({"tasks": []}).tasks == []
    assert _refused(_request(tasks=[{"text": "a"}] * (TASKS_MAX + 1)), TypeAdapter(BatchRequest)) == [("tasks",)]


@pytest.mark.parametrize("app", ["a", "A.b_c-9", "x" * APP_CHARACTERS_MAX])
def test_an_app_has_a_plain_name(app: str) -> None:
    assert BatchRequest.model_validate(_request(app=app)).app == app


@pytest.mark.parametrize("app", ["", "a b", "a/b", "é", "a\n", "x" * (APP_CHARACTERS_MAX + 1), None])
def test_an_app_with_another_name_is_refused(app: Any) -> None:
    assert _refused(_request(app=app), TypeAdapter(BatchRequest)) == [("app",)]


def test_an_app_is_default_when_none_is_named() -> None:
    assert BatchRequest.model_validate(_request()).app == "default"


@pytest.mark.parametrize("concurrency", [1, CONCURRENCY_MAX, None])
def test_a_concurrency_takes_its_range(concurrency: int | None) -> None:
    assert Credentials(volcengine_tts_concurrency=concurrency).volcengine_tts_concurrency == concurrency


@pytest.mark.parametrize("concurrency", [0, CONCURRENCY_MAX + 1, 2.5, True])
def test_a_concurrency_out_of_range_is_refused(concurrency: Any) -> None:
    assert _refused({"volcengine_tts_concurrency": concurrency}, TypeAdapter(Credentials)) == [
        ("volcengine_tts_concurrency",)
    ]


def test_an_access_key_is_never_shown() -> None:
    """I6."""
    credentials = Credentials(volcengine_tts_appid="1", volcengine_tts_access_key=SECRET)
    assert SECRET not in repr(credentials)
    assert SECRET not in str(credentials)
    with pytest.raises(ValidationError) as caught:
        Credentials.model_validate({"volcengine_tts_access_key": SECRET + "\n"})

    assert SECRET not in str(caught.value)


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_result_is_audio_or_an_error() -> None:
    """I4: never silence, never both."""
    error = TaskError.of(TextRefusedError("no"))
    TaskResult(task_id="a", audio_base64="eA==")
    TaskResult(task_id="a", audio_url="https://example.com/a.mp3")
    TaskResult(task_id="a", error=error)

    with pytest.raises(ValidationError):
        TaskResult.model_validate({"task_id": "a", "audio_base64": "eA==", "error": error.model_dump()})
    with pytest.raises(ValidationError):
        TaskResult.model_validate({"task_id": "a"})


def test_a_result_gives_its_audio_as_bytes() -> None:
    assert TaskResult(task_id="a", audio_base64=base64.b64encode(b"\x00audio").decode()).audio == b"\x00audio"
    assert TaskResult(task_id="a", error=TaskError.of(TextRefusedError("no"))).audio == b""


def test_a_result_does_not_print_its_audio() -> None:
    assert "eA==" not in repr(TaskResult(task_id="a", audio_base64="eA=="))


def test_a_result_as_a_dict_is_what_the_gateway_answers() -> None:
    result = TaskResult(task_id="a", characters=3, error=TaskError.of(AnswerFullError("full")))

    assert result.to_dict() == {
        "task_id": "a",
        "audio_base64": "",
        "audio_url": None,
        "duration_ms": None,
        "characters": 3,
        "bought": False,
        "pending": False,
        "error": {"code": "answer_full", "message": "full", "retryable": True},
    }


def test_a_result_is_audio_or_an_error_or_still_to_come() -> None:
    """I4."""
    assert TaskResult(task_id="a", pending=True).audio == b""
    with pytest.raises(ValidationError):
        TaskResult(task_id="a", pending=True, audio_base64="eA==")


def test_a_response_survives_json() -> None:
    response = BatchResponse(
        results=[TaskResult(task_id="a", audio_base64="eA==")], pool=PoolReport(limit=10, waited_ms=None)
    )

    assert BatchResponse.model_validate_json(response.model_dump_json()) == response


def test_an_argument_by_position_is_named_in_its_error() -> None:
    with pytest.raises(ValueError, match="output_filename"):
        TaskItem("id", "text", "BV001_streaming", "../x")


def test_bytes_that_were_no_utf_8_are_refused_even_when_somebody_has_replaced_them() -> None:
    with pytest.raises(ValueError, match="U\\+FFFD"):
        TaskItem("id", "hello \ufffd world")


@pytest.mark.parametrize("name", ["con .mp3", "COM¹.mp3", "CONIN$", "a?.mp3", "<a>.mp3", "a|b.mp3", "a\u202e3pm.exe"])
def test_a_file_name_that_some_system_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="File name"):
        TaskItem("id", "text", output_filename=name)
