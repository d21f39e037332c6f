"""What callers send and get: tasks, batches, results."""

from __future__ import annotations

import base64
import re
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs, PydanticCustomError

from volcengine_client.errors import VolcengineError
from volcengine_client.fields import (
    NAME,
    FileName,
    Printable,
    Ratio,
    Shown,
    Spoken,
    encoded_as_named,
    no_boolean,
    refused_field,
)
from volcengine_client.limits import (
    APP_CHARACTERS_MAX,
    CALLBACK_URL_CHARACTERS_MAX,
    CONCURRENCY_MAX,
    CREDENTIAL_CHARACTERS_MAX,
    FILE_NAME_CHARACTERS_MAX,
    JOB_DEADLINE_MAX_S,
    JOB_TASKS_MAX,
    PITCH_MAX,
    PITCH_MIN,
    SILENCE_MAX_MS,
    SPEED_MAX,
    SPEED_MIN,
    SSML_CHARACTERS_MAX,
    TASK_ID_CHARACTERS_MAX,
    TASKS_MAX,
    UPLOAD_BYTES_MAX,
    VOICE_TYPE_CHARACTERS_MAX,
    VOLUME_MAX,
    VOLUME_MIN,
)
from volcengine_client.speech.ssml import ssml_segments_of

APP_PATTERN = re.compile(r"[A-Za-z0-9._-]+")
VOICE_TYPE_DEFAULT = "BV001_streaming"
Subtitles = Literal["srt", "vtt", "json"]
SUBTITLES: tuple[Subtitles, ...] = ("srt", "vtt", "json")  # forms, and endings of files
POSITIONAL = ("task_id", "text", "voice_type", "output_filename")  # the order of arguments by position
_WIRE = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def _text_or_prompt(schema: dict[str, Any]) -> None:
    """Say in JSON Schema that a task has a text under one of its two names."""
    text = schema["properties"]["text"]
    del text["default"]
    schema["properties"]["prompt"] = {**text, "description": "The text, under the name that earlier callers used."}
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["prompt"]}]


@dataclass(config=ConfigDict(**_WIRE, json_schema_extra=_text_or_prompt))
class TaskItem:
    """One text to speak.

    Attributes:
        task_id: The caller's name for the task; may repeat, since results come in input order.
        text: 1 to 100,000 characters; JSON callers may say `prompt` instead. A long one is spoken in segments.
        voice_type: The id of an official or cloned voice.
        output_filename: A bare file name, for the caller's own use; one that ends like another encoding is refused.
        encoding: How the audio is to be encoded; left out, as the file name ends, else mp3.
        sample_rate: Hertz; None leaves the upstream's default, 24,000.
        speed: Ratio, 0.2 to 3; None leaves 1.
        volume: Ratio, 0.1 to 3; None leaves 1.
        pitch: Semitones, -12 to 12; None leaves 0.
        emotion: A style that the voice knows.
        language: What the text is to be read as, in the upstream's words.
        silence_ms: Silence after the text, 0 to 30,000; None leaves the upstream's default.
        text_type: Whether the text is spoken as it stands, or is SSML: one `<speak>` element, each child of which has
            at most 150 characters.
        model: The version of the voice's model; None leaves it to the voice.
        resource_id: The product that speaks, when the voice's id does not say which.
        subtitles: Wanted beside the audio, in this form; None: none.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    task_id: Annotated[str, Field(min_length=1, max_length=TASK_ID_CHARACTERS_MAX), Printable] | None = None
    text: Annotated[str, Field(validate_default=True), Spoken] = field(default="", repr=False)
    voice_type: Annotated[str, Field(min_length=1, max_length=VOICE_TYPE_CHARACTERS_MAX), Printable] = (
        VOICE_TYPE_DEFAULT
    )
    output_filename: (
        Annotated[str, Field(min_length=1, max_length=FILE_NAME_CHARACTERS_MAX), Printable, FileName] | None
    ) = None
    encoding: Literal["mp3", "wav", "pcm", "ogg_opus"] = field(default="mp3", kw_only=True)
    sample_rate: Literal[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000] | None = field(
        default=None, kw_only=True
    )
    speed: Annotated[Ratio, Field(ge=SPEED_MIN, le=SPEED_MAX)] | None = field(default=None, kw_only=True)
    volume: Annotated[Ratio, Field(ge=VOLUME_MIN, le=VOLUME_MAX)] | None = field(default=None, kw_only=True)
    pitch: Annotated[Ratio, Field(ge=PITCH_MIN, le=PITCH_MAX)] | None = field(default=None, kw_only=True)
    emotion: Annotated[str, Field(min_length=1, max_length=64), Printable] | None = field(default=None, kw_only=True)
    language: Annotated[str, Field(pattern=NAME)] | None = field(default=None, kw_only=True)
    silence_ms: Annotated[int, BeforeValidator(no_boolean), Field(ge=0, le=SILENCE_MAX_MS)] | None = field(
        default=None, kw_only=True
    )
    text_type: Literal["plain", "ssml"] = field(default="plain", kw_only=True)
    model: Annotated[str, Field(pattern=NAME)] | None = field(default=None, kw_only=True)
    resource_id: Annotated[str, Field(pattern=NAME)] | None = field(default=None, kw_only=True)
    subtitles: Subtitles | None = field(default=None, kw_only=True)

    @model_validator(mode="before")
    @classmethod
    def _name_all_fields(cls, given: Any) -> Any:
        """Name arguments by position, so that errors tell them; take a prompt for the text, and names' endings."""
        if isinstance(given, ArgsKwargs) and len(given.args) <= len(POSITIONAL):
            named = {**dict(zip(POSITIONAL, given.args, strict=False)), **(given.kwargs or {})}
            return ArgsKwargs((), encoded_as_named(named))
        if not isinstance(given, dict):
            return given
        if "prompt" in given and "text" in given:
            raise refused_field("text", PydanticCustomError("text_twice", "Give text or prompt, not both"))
        return encoded_as_named({("text" if name == "prompt" else name): value for name, value in given.items()})

    @model_validator(mode="after")
    def _sound_ssml(self) -> TaskItem:
        """Refuse SSML that could not be cut where it is too long for a call."""
        if self.text_type == "ssml":
            try:
                ssml_segments_of(self.text, characters_max=SSML_CHARACTERS_MAX)
            except ValueError as exc:
                raise refused_field("text", PydanticCustomError("ssml", "{reason}", {"reason": str(exc)})) from None
        return self


class Credentials(BaseModel):
    """A caller's own account, or only its wish for fewer slots.

    App id and access key come together or not at all; a half pair is a `CredentialsError` of the gateway, not of
    this shape, since it answers 400. An API key may stand alone.

    Attributes:
        volcengine_tts_appid: The app id in the console.
        volcengine_tts_access_key: Its access key, also called access token.
        volcengine_tts_api_key: The key of the newer console, instead of both.
        volcengine_tts_concurrency: How many slots the request holds at most.
    """

    model_config = _WIRE

    volcengine_tts_appid: Annotated[str, Field(max_length=CREDENTIAL_CHARACTERS_MAX), Shown] | None = None
    volcengine_tts_access_key: Annotated[
        Annotated[str, Field(max_length=CREDENTIAL_CHARACTERS_MAX), Shown] | None, Field(repr=False)
    ] = None
    volcengine_tts_api_key: Annotated[
        Annotated[str, Field(max_length=CREDENTIAL_CHARACTERS_MAX), Shown] | None, Field(repr=False)
    ] = None
    volcengine_tts_concurrency: Annotated[int, BeforeValidator(no_boolean), Field(ge=1, le=CONCURRENCY_MAX)] | None = (
        None
    )


class RequestTerms(BaseModel):
    """Who pays for tasks, whose share they take from, and whether what was spoken before will do.

    Attributes:
        credentials: Of an account that is not the gateway's; or only how many slots are wanted.
        account: One of the gateway's accounts; None: its main one.
        app: Whose share of the pool it takes from.
        cache: Whether audio that was spoken before will do.
    """

    model_config = _WIRE

    credentials: Credentials | None = None
    account: Annotated[str, Field(min_length=1, max_length=APP_CHARACTERS_MAX)] | None = None
    app: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=APP_CHARACTERS_MAX)] = "default"
    cache: StrictBool = True


class BatchRequest(RequestTerms):
    """The body of `POST /generate-batch`.

    Attributes:
        tasks: At most 1,000.
    """

    tasks: Annotated[list[TaskItem], Field(max_length=TASKS_MAX)]


class JobTerms(RequestTerms):
    """What is said of a job beside its tasks.

    Attributes:
        deadline_s: Seconds from now after which no call starts any more; None: whenever its turn comes.
        priority: `background` waits behind everything interactive.
        callback_url: Where the job's end is told, by a signed POST; https, in the public internet. None: nowhere.
    """

    deadline_s: Annotated[int, BeforeValidator(no_boolean), Field(ge=1, le=JOB_DEADLINE_MAX_S)] | None = None
    priority: Literal["interactive", "background"] = "background"
    callback_url: Annotated[Annotated[str, Field(max_length=CALLBACK_URL_CHARACTERS_MAX)] | None, Field(repr=False)] = (
        None
    )


class JobRequest(JobTerms, BatchRequest):
    """The body of `POST /jobs`.

    Attributes:
        tasks: 1 to 100,000.
    """

    tasks: Annotated[list[TaskItem], Field(min_length=1, max_length=JOB_TASKS_MAX)]


class UploadedJobRequest(JobTerms):
    """The body of `POST /jobs` for tasks that were uploaded before.

    Attributes:
        upload_id: As the gateway gave it with the upload's address.
    """

    upload_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class UploadRequest(BaseModel):
    """The body of `POST /jobs` that asks for an address to upload tasks to.

    Attributes:
        upload: True.
        bytes: How large the file will be, if that is known; then the address takes no other size.
    """

    model_config = _WIRE

    upload: Literal[True]
    bytes: Annotated[int, BeforeValidator(no_boolean), Field(ge=1, le=UPLOAD_BYTES_MAX)] | None = None


class TaskError(BaseModel):
    """Why a task has no audio.

    Attributes:
        code: One of the codes in `errors.py`.
        message: One sentence for the caller.
        retryable: Whether the same task may succeed later, unchanged.
    """

    code: str
    message: str
    retryable: bool

    @classmethod
    def of(cls, error: VolcengineError) -> TaskError:
        """Tell *error* to the caller."""
        return cls(code=error.code, message=error.message, retryable=error.retryable)


def _is_none(value: object) -> bool:
    return value is None


class TaskResult(BaseModel):
    """What became of a task: audio or an error, never neither (I4).

    Attributes:
        task_id: As the task said.
        audio_base64: The audio file; "" for a failed task.
        audio_url: Where the audio can be fetched when it is not in the answer.
        duration_ms: Length of the audio.
        characters: Characters of the text, as the upstream bills them.
        bought: Whether it was spoken for this task; False: it was found, or there is none.
        pending: It is being spoken still, by the job that the answer names.
        error: Why there is no audio; None when there is, or will be.
        subtitles: Where the task wanted them and the answer has room; None, and not in JSON: not here.
        subtitles_url: Where they can be fetched instead; None, and not in JSON: nowhere.
        warning: What else the caller should know, as that nobody knows the voice; None, and not in JSON: nothing.
    """

    task_id: str
    audio_base64: Annotated[str, Field(repr=False)] = ""
    audio_url: str | None = None
    duration_ms: int | None = None
    characters: int = 0
    bought: bool = False
    pending: bool = False
    error: TaskError | None = None
    subtitles: Annotated[str | None, Field(exclude_if=_is_none, repr=False)] = None
    subtitles_url: Annotated[str | None, Field(exclude_if=_is_none)] = None
    warning: Annotated[str | None, Field(exclude_if=_is_none)] = None

    @model_validator(mode="after")
    def _one_outcome(self) -> TaskResult:
        has_audio = bool(self.audio_base64 or self.audio_url)
        assert has_audio + self.pending + (self.error is not None) == 1, "a result is audio or an error"
        return self

    @property
    def audio(self) -> bytes:
        """The audio file; b"" for a failed task."""
        return base64.b64decode(self.audio_base64)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as it stands in the gateway's answer."""
        return self.model_dump(mode="json")


class PoolReport(BaseModel):
    """How the pool served a batch.

    Attributes:
        limit: Calls that may be in progress in the pool at once.
        waited_ms: From joining the pool to the first slot; None when none came.
    """

    limit: int
    waited_ms: int | None


class Characters(BaseModel):
    """What a batch cost, in characters as the upstream bills them.

    Attributes:
        bought: Spoken for this batch.
        saved: Found, since they were spoken before, or equal to another task's.
    """

    bought: int = 0
    saved: int = 0


class JobPointer(BaseModel):
    """A job, and where to ask for it.

    Attributes:
        job_id: By which it is asked for.
        status_url: Where.
    """

    job_id: str
    status_url: str


class BatchResponse(BaseModel):
    """The body of a 200 answer to `POST /generate-batch`; results in input order (I3).

    Attributes:
        results: One a task.
        pool: How the pool served the batch.
        characters: What it cost.
        job: What goes on with the tasks that are pending; None when none is.
    """

    results: list[TaskResult]
    pool: PoolReport
    characters: Characters = Characters()
    job: JobPointer | None = None
