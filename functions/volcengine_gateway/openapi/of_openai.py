"""The routes for OpenAI's clients."""

from __future__ import annotations

from http import HTTPStatus

from volcengine_client.errors import (
    AdminKeyError,
    InvalidRequestError,
    OptionRefusedError,
    SecretError,
    StoreError,
    TextRefusedError,
    VoiceNotGrantedError,
)
from volcengine_client.limits import APP_CHARACTERS_MAX
from volcengine_gateway.jobs.store import AUDIO_TYPES
from volcengine_gateway.openai import MODELS_SINCE_S, OWN_MODEL, ModelsTold, ModelTold, SpeechRequest
from volcengine_gateway.openapi.operation import (
    BODY,
    IDEMPOTENCY_KEY,
    PAYING,
    SPEAKING,
    Example,
    Operation,
    Parameter,
    Reply,
)
from volcengine_gateway.problems import AudioTooLargeError, UnknownModelError, UnknownRouteError, UnsupportedValueError

TAG = "OpenAI"
TASKS_OWN = (VoiceNotGrantedError, TextRefusedError, OptionRefusedError)
MODEL = {"id": OWN_MODEL, "object": "model", "created": MODELS_SINCE_S, "owned_by": "volcengine"}


def operations() -> tuple[Operation, ...]:
    """Return what is said of them."""
    return (_speech(), _models(), _model())


def _speech() -> Operation:
    return Operation(
        method="post",
        path="/v1/audio/speech",
        name="create_speech",
        tag=TAG,
        summary="Speak one text, as OpenAI's clients ask for it.",
        description=(
            "Give such a client this address with `/v1` as its base URL, and the admin key as its API key. The answer "
            "is the file itself, or 303 to it when it is too large. What can't be done is refused, never left out."
        ),
        login="bearer",
        parameters=(
            IDEMPOTENCY_KEY,
            Parameter(
                "header",
                "OpenAI-Project",
                "Whose share of the pool it takes from; a client's `project`.",
                {"type": "string", "pattern": "^[A-Za-z0-9._-]*$", "maxLength": APP_CHARACTERS_MAX},
                "bookshop",
            ),
        ),
        requests=(SpeechRequest,),
        replies={
            HTTPStatus.OK: Reply("The file.", (bytes,), (), tuple(sorted(set(AUDIO_TYPES.values())))),
            HTTPStatus.SEE_OTHER: Reply("Where the file is.", (), ("Location",)),
        },
        errors=(
            *PAYING,
            *BODY,
            *SPEAKING,
            *TASKS_OWN,
            UnknownModelError,
            UnsupportedValueError,
            AudioTooLargeError,
            StoreError,
        ),
        is_openai=True,
        examples=(
            Example(
                name="one_text",
                summary="One text as mp3",
                body={"model": "tts-1", "input": "你好，世界。", "voice": "alloy"},
            ),
            Example(
                name="another_file",
                summary="Another file, and a voice by its id",
                headers={"OpenAI-Project": "bookshop"},
                body={
                    "model": OWN_MODEL,
                    "input": "慢一点。",
                    "voice": "BV002_streaming",
                    "response_format": "wav",
                    "speed": 0.8,
                },
            ),
        ),
    )


def _models() -> Operation:
    return Operation(
        method="get",
        path="/v1/models",
        name="list_models",
        tag=TAG,
        summary="List the names under which the one model may be asked for.",
        login="bearer",
        replies={HTTPStatus.OK: Reply("All of them.", (ModelsTold,))},
        errors=(AdminKeyError, SecretError),
        is_openai=True,
        examples=(Example(name="all", summary="All of them", answer={"object": "list", "data": [MODEL]}),),
    )


def _model() -> Operation:
    return Operation(
        method="get",
        path="/v1/models/{model}",
        name="show_model",
        tag=TAG,
        summary="Tell of one model.",
        login="bearer",
        parameters=(Parameter("path", "model", "Its name.", {"type": "string"}, OWN_MODEL),),
        replies={HTTPStatus.OK: Reply("It.", (ModelTold,))},
        errors=(AdminKeyError, SecretError, UnknownModelError, UnknownRouteError, InvalidRequestError),
        is_openai=True,
        examples=(Example(name="one", summary="Our own", path={"model": OWN_MODEL}, answer=MODEL),),
    )
