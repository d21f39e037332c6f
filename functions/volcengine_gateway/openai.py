"""OpenAI's way to ask for speech, and how it is told what came of it. Pure: translation both ways.

A request becomes a batch of one task, so that the pool, what is kept, and the deadline are the same as everywhere.
What would change the sound and can't be done is refused, never left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from typing_extensions import TypedDict

from volcengine_client.errors import AnswerFullError, InvalidRequestError, NoSlotInTimeError, class_of
from volcengine_client.fields import Printable, Ratio, Spoken
from volcengine_client.limits import SPEED_MAX, SPEED_MIN, VOICE_TYPE_CHARACTERS_MAX
from volcengine_client.models import BatchRequest, BatchResponse, TaskItem
from volcengine_gateway.problems import AudioTooLargeError, UnknownModelError, UnsupportedValueError, invalid

PREFIX = "/v1/"  # of every path of OpenAI's
AUTHORIZATION, BEARER = "authorization", "bearer"
PROJECT = "openai-project"  # the client's `project=`: whose share it takes from
OWN_MODEL = "volcengine-tts"
# Whoever asks for one of these gets our only model: the voice alone decides how it is spoken.
MODELS = (OWN_MODEL, "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15")
MODELS_SINCE_S = 1_767_225_600  # Unix time; the shape wants one
ENCODINGS = {"mp3": "mp3", "opus": "ogg_opus", "wav": "wav", "pcm": "pcm"}
PCM_RATE: Literal[24_000] = 24_000  # hertz, 16 bits, one channel, as OpenAI says
PENDING_AGAIN_MS = 5_000  # after which a caller is to ask again for what is spoken meanwhile

# The voices that every account has: BV001 is a woman's, BV002 a man's.
WOMEN = ("alloy", "coral", "marin", "nova", "sage", "shimmer")
MEN = ("ash", "ballad", "cedar", "echo", "fable", "onyx", "verse")
VOICES: Mapping[str, str] = dict.fromkeys(WOMEN, "BV001_streaming") | dict.fromkeys(MEN, "BV002_streaming")

# In JSON Schema: a text, a voice's name, and that name in an object.
SPOKEN = {"type": "string", **Spoken.schema}
NAMED = {"type": "string", "minLength": 1, "maxLength": VOICE_TYPE_CHARACTERS_MAX, **Printable.schema}
IDENTIFIED = {"type": "object", "properties": {"id": NAMED}, "required": ["id"], "additionalProperties": False}

# What OpenAI calls the fields of a batch.
_PARAMS = {"text": "input", "voice_type": "voice", "encoding": "response_format", "app": "OpenAI-Project"}


def _voice_id(voice: Any) -> Any:
    return voice["id"] if isinstance(voice, dict) and set(voice) == {"id"} else voice


def _of(*known: str) -> Any:
    """Say in JSON Schema which values can be done; the code says it in OpenAI's words."""
    return WithJsonSchema({"type": "string", "enum": list(known)})


class SpeechRequest(BaseModel):
    """The body of `POST /v1/audio/speech`; a field that is null counts as missing.

    Attributes:
        model: Any of these names is our only model; the voice alone decides how it is spoken.
        input: The text, as in a task.
        voice: One of OpenAI's names, one that the operator added, or a voice's id; as itself, or as `{"id": …}`.
        response_format: How the audio is encoded; mp3 when it is left out.
        speed: Ratio.
        instructions: No voice here takes any.
        stream_format: The file comes as a whole.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    model: Annotated[str, _of(*MODELS)]
    input: Annotated[str, WithJsonSchema(SPOKEN)]
    voice: Annotated[str, BeforeValidator(_voice_id), WithJsonSchema({"anyOf": [NAMED, IDENTIFIED]})]
    response_format: Annotated[str, _of(*ENCODINGS)] | None = None
    speed: Annotated[Ratio, WithJsonSchema({"type": "number", "minimum": SPEED_MIN, "maximum": SPEED_MAX})] | None = (
        None
    )
    instructions: Annotated[str, _of("")] | None = None
    stream_format: Annotated[str, _of("audio")] | None = None


class ModelTold(TypedDict):
    """A model, as OpenAI tells of one.

    Attributes:
        id: Its name.
        object: What this is.
        created: Unix time.
        owned_by: Who made it.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsTold(TypedDict):
    """All models.

    Attributes:
        object: What this is.
        data: They.
    """

    object: Literal["list"]
    data: list[ModelTold]


@dataclass(frozen=True, slots=True)
class Sound:
    """A file of audio: itself, or where it is to be fetched.

    Attributes:
        audio: The file; b"" when there was no room for it.
        url: Its address then; "" otherwise.
    """

    audio: bytes
    url: str


def api_key_in(headers: Mapping[str, str]) -> str | None:
    """Return the key that was shown as OpenAI's; None when none was."""
    scheme, _, key = headers.get(AUTHORIZATION, "").strip().partition(" ")
    return (key.strip() or None) if scheme.lower() == BEARER else None


def speech_batch_of(body: bytes, *, project: str | None, voices: Mapping[str, str]) -> BatchRequest:
    """Return the batch of one task that a body asks for.

    Args:
        body: JSON.
        project: What the header says; becomes the app.
        voices: The operator's, by the name that callers use; they go before `VOICES`. Any other name is a voice's id.

    Raises:
        InvalidRequestError: It is not JSON, or a field has a wrong shape, range or length.
        UnknownModelError: No model has this name.
        UnsupportedValueError: It wants what can't be done here.
    """
    try:
        asked = SpeechRequest.model_validate_json(body)
        _require_possible(asked)
        task = TaskItem(
            text=asked.input,
            voice_type=voices.get(asked.voice) or VOICES.get(asked.voice, asked.voice),
            encoding=_encoding_of(asked.response_format),
            sample_rate=PCM_RATE if asked.response_format == "pcm" else None,
            speed=None if asked.speed == 1 else asked.speed,  # so that what was spoken without it is found
        )
        return BatchRequest(tasks=[task], **({"app": project} if project else {}))
    except ValidationError as exc:
        # Without its cause, which quotes the body.
        raise _renamed(invalid(exc)) from None


def _require_possible(asked: SpeechRequest) -> None:
    model_of(asked.model)
    if asked.instructions:
        raise _unsupported("instructions", "no voice here takes instructions; leave them out")
    if asked.stream_format not in {None, "audio"}:
        raise _unsupported("stream_format", "only audio is supported")


def _encoding_of(response_format: str | None) -> Any:
    encoding = ENCODINGS.get(response_format or "mp3")
    if encoding is None:
        raise _unsupported("response_format", f"only {', '.join(ENCODINGS)} are supported")
    return encoding


def _unsupported(param: str, message: str) -> InvalidRequestError:
    return UnsupportedValueError.of_field(param, f"{param}: {message}")


def _renamed(error: InvalidRequestError) -> InvalidRequestError:
    """Name every field as OpenAI does, all of them in the message, since the shape has room for one name only."""
    fields = [(_PARAMS.get(told["field"], told["field"]), told["message"]) for told in error.details["fields"]]
    return InvalidRequestError.of_field(fields[0][0], "; ".join(f"{name}: {message}" for name, message in fields))


def sound_in(response: BatchResponse) -> Sound:
    """Return what became of a batch of one task.

    Raises:
        NoSlotInTimeError: It is being spoken by a job still; the same request will find it.
        AudioTooLargeError: The answer has no room for it, and nothing was bought.
        VolcengineError: Any other error of the task.
    """
    (result,) = response.results
    if result.pending:
        message = "No slot came in time; it is being spoken now, ask again for it"
        raise NoSlotInTimeError(message, retry_after_ms=PENDING_AGAIN_MS)
    if result.error is not None:
        if result.error.code == AnswerFullError.code:
            raise AudioTooLargeError.of_field("input", "The audio may be larger than an answer here; send less text")
        raise class_of(result.error.code)(result.error.message, retryable=result.error.retryable)
    return Sound(result.audio, result.audio_url or "")


def models() -> ModelsTold:
    """Return the names under which the model may be asked for, as OpenAI lists them."""
    return {"object": "list", "data": [model_of(name) for name in MODELS]}


def model_of(name: str) -> ModelTold:
    """Return one of them.

    Raises:
        UnknownModelError: There is none of this name.
    """
    if name not in MODELS:
        raise UnknownModelError.of_field("model", f"model: no such model here; try {OWN_MODEL}")
    return {"id": name, "object": "model", "created": MODELS_SINCE_S, "owned_by": "volcengine"}
