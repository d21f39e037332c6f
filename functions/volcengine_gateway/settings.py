"""Settings of the gateway: with `client.py`, the only reader of the environment.

A bad setting is an error at the start, which names the setting and says what it should be; never its value, which
may be a secret (I6).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from volcengine_client.concurrency import Concurrency, concurrency_of
from volcengine_client.limits import (
    ANSWER_BYTES_MAX,
    APP_CHARACTERS_MAX,
    AUDIO_BYTES_MAX,
    BODY_BYTES_MAX,
    CONCURRENCY_DEFAULT,
    CREDENTIAL_CHARACTERS_MAX,
    DEFAULT_TIMES,
    REQUEST_DEADLINE_MS,
    SERVER_ANSWER_BYTES_MAX,
    SERVER_BODY_BYTES_MAX,
    SERVER_REQUEST_DEADLINE_MS,
    VOICE_TYPE_CHARACTERS_MAX,
    PoolTimes,
)
from volcengine_gateway.times import times_of

CallersCredentials = Literal["anyone", "with_admin_key", "off"]

ENDPOINT_DEFAULT = "https://openspeech.bytedance.com"
WEIGHT_MAX = 100
SLICE_MS = 90_000  # for how long a worker speaks in one invocation
DAY_MS = 86_400_000
DAYS_MAX = 3_650
JOBS_KEPT_DAYS = 7
SPEECH_KEPT_DAYS = 30
DATA_FOLDER = "volcengine-tts-data"
TEST_HOSTS_MAX = 10
TEST_HOST = re.compile(r"([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\]):[1-9][0-9]{0,4}")
TIME_MAX_MS = 3_600_000  # no single time of a pool is longer than an hour
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
VISIBLE = re.compile(r"[!-~]+")  # what can stand in a header
VOICE = re.compile(rf"[!-~]{{1,{VOICE_TYPE_CHARACTERS_MAX}}}")
APP = re.compile(rf"[A-Za-z0-9._-]{{1,{APP_CHARACTERS_MAX}}}")

# These make Powertools print events, answers or errors, which hold credentials and texts (I6).
TALKATIVE = (
    "POWERTOOLS_DEV",
    "POWERTOOLS_DEBUG",
    "POWERTOOLS_LOGGER_LOG_EVENT",
    "POWERTOOLS_TRACER_CAPTURE_RESPONSE",
    "POWERTOOLS_TRACER_CAPTURE_ERROR",
)


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it and says what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What both doors are told.

    Attributes:
        endpoint: Base URL of the upstream, without a slash at its end.
        times: The times by which everyone in a pool lives.
        callers_credentials: Who may bring credentials of their own in a request.
        weights: Shares of apps against each other; an app that is not named has 1.
        pool_table: The DynamoDB table of the pools; None keeps them in this process.
        request_deadline_ms: From a request's arrival to its answer.
        body_bytes_max: The largest body that is taken.
        answer_bytes_max: The largest answer that is given.
        audio_bytes_max: The largest audio that is an answer by itself; larger is fetched by its address.
        openai_voices: The voice behind a name that clients of OpenAI's use.
        callback_test_hosts: `host:port` of each host to which callbacks may go without TLS, and on this machine.
    """

    endpoint: str = ENDPOINT_DEFAULT
    times: PoolTimes = DEFAULT_TIMES
    callers_credentials: CallersCredentials
    weights: Mapping[str, int] = field(default_factory=dict)
    pool_table: str | None = None
    request_deadline_ms: int = REQUEST_DEADLINE_MS
    body_bytes_max: int = BODY_BYTES_MAX
    answer_bytes_max: int = ANSWER_BYTES_MAX
    audio_bytes_max: int = AUDIO_BYTES_MAX
    openai_voices: Mapping[str, str] = field(default_factory=dict)
    callback_test_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Where jobs are kept, and for how long.

    Attributes:
        table: The DynamoDB table.
        bucket: Of the texts and the audio.
        queue_url: Of the messages to workers.
        jobs_kept_days: How long a job is kept.
        speech_kept_days: How long audio is kept after it was spoken.
        dead_letters_url: Of the queue of messages that no worker came through with; None: this function keeps none.
    """

    table: str
    bucket: str
    queue_url: str
    jobs_kept_days: int
    speech_kept_days: int
    dead_letters_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSettings(Settings):
    """What a Lambda function is told; the account itself lies in the secret.

    Attributes:
        secret_id: Name or ARN of that secret.
        pool_table: As above, but never None.
        jobs: Where jobs are kept; None: there are none.
    """

    secret_id: str
    pool_table: str
    jobs: JobSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(FunctionSettings):
    """What the worker's Lambda function is told.

    Attributes:
        jobs: As above, but never None.
        slice_ms: For how long it speaks in one invocation.
    """

    jobs: JobSettings
    slice_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(Settings):
    """What the self-hosted server is told.

    Attributes:
        app_id: The server's own account; None when it has no such pair.
        access_key: None exactly when `app_id` is.
        api_key: The same account's API key; None: none. Without either only callers bring credentials.
        concurrency: Calls that the account allows at once.
        product_concurrency: The same of products that are counted by themselves.
        admin_key: What callers must show to use the server's account; None: nothing.
        webhook_key: Signs callbacks; None: a key that follows from the admin key.
        data_folder: Where jobs and their audio are.
        jobs_kept_days: How long a job is kept.
        speech_kept_days: How long audio is kept after it was spoken.
    """

    app_id: str | None = None
    access_key: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    concurrency: int = CONCURRENCY_DEFAULT
    product_concurrency: Mapping[str, int] = field(default_factory=dict)
    admin_key: str | None = field(default=None, repr=False)
    webhook_key: str | None = field(default=None, repr=False)
    data_folder: str = DATA_FOLDER
    jobs_kept_days: int = JOBS_KEPT_DAYS
    speech_kept_days: int = SPEECH_KEPT_DAYS


def function_settings(environment: Mapping[str, str] | None = None) -> FunctionSettings:
    """Read what the Lambda function is told.

    Args:
        environment: Instead of the process's own.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    given = _Given(os.environ if environment is None else environment)
    for name in TALKATIVE:
        if given.boolean(name):
            raise SettingsError(f"{name} would write requests or answers to the log; unset it")
    return FunctionSettings(
        endpoint=given.endpoint(),
        times=given.times(),
        callers_credentials=given.callers_credentials("with_admin_key"),
        weights=given.weights(),
        openai_voices=given.openai_voices(),
        pool_table=given.required("VOLCENGINE_TTS_POOL_TABLE"),
        callback_test_hosts=given.callback_test_hosts(),
        secret_id=given.required("VOLCENGINE_TTS_SECRET_ID"),
        jobs=given.jobs(),
    )


def worker_settings(environment: Mapping[str, str] | None = None) -> WorkerSettings:
    """Read what the worker's Lambda function is told.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    shared = function_settings(environment)
    if shared.jobs is None:
        raise SettingsError("VOLCENGINE_TTS_JOB_TABLE is not set")
    given = _Given(os.environ if environment is None else environment)
    slice_ms = given.integer("VOLCENGINE_TTS_SLICE_MS", SLICE_MS, most=TIME_MAX_MS)
    told = {one.name: getattr(shared, one.name) for one in fields(shared)}
    return WorkerSettings(**told, slice_ms=slice_ms)


def server_settings(
    file: Mapping[str, str | None] | None = None, environment: Mapping[str, str] | None = None
) -> ServerSettings:
    """Read what the self-hosted server is told.

    Args:
        file: What `.env` says; the environment goes before it.
        environment: Instead of the process's own.

    Raises:
        SettingsError: A setting is missing or wrong, or anyone could use the account without having been let.
    """
    said = {name: value for name, value in (file or {}).items() if value is not None}
    given = _Given({**said, **(os.environ if environment is None else environment)})
    answer_bytes_max = given.integer("VOLCENGINE_TTS_ANSWER_BYTES_MAX", SERVER_ANSWER_BYTES_MAX)
    concurrency = given.concurrency()
    settings = ServerSettings(
        endpoint=given.endpoint(),
        times=given.times(),
        callers_credentials=given.callers_credentials("anyone"),
        weights=given.weights(),
        pool_table=given.text("VOLCENGINE_TTS_POOL_TABLE"),
        request_deadline_ms=given.integer(
            "VOLCENGINE_TTS_REQUEST_DEADLINE_MS", SERVER_REQUEST_DEADLINE_MS, most=TIME_MAX_MS
        ),
        body_bytes_max=given.integer("VOLCENGINE_TTS_BODY_BYTES_MAX", SERVER_BODY_BYTES_MAX),
        answer_bytes_max=answer_bytes_max,
        audio_bytes_max=answer_bytes_max // 4 * 3,  # as much as fits into a batch's answer, in base64
        openai_voices=given.openai_voices(),
        app_id=given.credential("VOLCENGINE_TTS_APPID"),
        access_key=given.credential("VOLCENGINE_TTS_ACCESS_KEY"),
        api_key=given.credential("VOLCENGINE_TTS_API_KEY"),
        concurrency=concurrency.usual,
        product_concurrency=concurrency.by_product,
        admin_key=given.credential("ADMIN_API_KEY"),
        webhook_key=given.credential("VOLCENGINE_TTS_WEBHOOK_KEY"),
        callback_test_hosts=given.callback_test_hosts(),
        data_folder=given.text("VOLCENGINE_TTS_DATA") or DATA_FOLDER,
        jobs_kept_days=given.jobs_kept_days(),
        speech_kept_days=given.speech_kept_days(),
    )
    _assure_someone_may_speak(settings, is_anonymous_allowed=given.boolean("VOLCENGINE_TTS_ALLOW_ANONYMOUS"))
    return settings


def _assure_someone_may_speak(settings: ServerSettings, *, is_anonymous_allowed: bool) -> None:
    """Refuse settings that open the account to everyone unasked, or the server to nobody."""
    if (settings.app_id is None) != (settings.access_key is None):
        raise SettingsError("VOLCENGINE_TTS_APPID and VOLCENGINE_TTS_ACCESS_KEY belong together: set both or neither")
    has_account = settings.app_id is not None or settings.api_key is not None
    if has_account and settings.admin_key is None and not is_anonymous_allowed:
        raise SettingsError(
            "ADMIN_API_KEY is not set, so anyone who reaches this server could use its account: "
            "set it, or allow that with VOLCENGINE_TTS_ALLOW_ANONYMOUS=true"
        )
    if settings.callers_credentials == "with_admin_key" and settings.admin_key is None:
        raise SettingsError("VOLCENGINE_TTS_CALLERS_CREDENTIALS=with_admin_key needs an ADMIN_API_KEY")
    if settings.callers_credentials == "off" and not has_account:
        raise SettingsError(
            "VOLCENGINE_TTS_CALLERS_CREDENTIALS=off needs the server's own VOLCENGINE_TTS_APPID or _API_KEY"
        )


class _Given:
    """The environment, read by name and kind; an empty value counts as missing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise SettingsError(f"{name} is not set")
        return value

    def credential(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not (len(value) <= CREDENTIAL_CHARACTERS_MAX and VISIBLE.fullmatch(value)):
            raise SettingsError(
                f"{name} should be at most {CREDENTIAL_CHARACTERS_MAX} visible ASCII characters, without spaces"
            )
        return value

    def integer(self, name: str, default: int, *, most: int = 2**31 - 1) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,10}", value) or not 1 <= int(value) <= most:
            raise SettingsError(f"{name} should be an integer between 1 and {most}")
        return int(value)

    def concurrency(self) -> Concurrency:
        name = "VOLCENGINE_TTS_CONCURRENCY"
        try:
            return concurrency_of(self.text(name) or CONCURRENCY_DEFAULT)
        except ValueError as exc:
            raise SettingsError(f"{name} should be {exc}") from None

    def boolean(self, name: str) -> bool:
        value = (self.text(name) or "false").lower()
        if value not in TRUE | FALSE:
            raise SettingsError(f"{name} should be true or false")
        return value in TRUE

    def endpoint(self) -> str:
        name = "VOLCENGINE_TTS_ENDPOINT"
        value = self.text(name) or ENDPOINT_DEFAULT
        try:
            url = urlsplit(value)
            is_base_url = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
        except ValueError:
            is_base_url = False
        if not is_base_url or url.query or url.fragment or "@" in url.netloc:
            raise SettingsError(f"{name} should be a base URL such as {ENDPOINT_DEFAULT}")
        return value.rstrip("/")

    def callers_credentials(self, default: CallersCredentials) -> CallersCredentials:
        name = "VOLCENGINE_TTS_CALLERS_CREDENTIALS"
        value = self.text(name) or default
        for choice in get_args(CallersCredentials):
            if value == choice:
                return choice  # type: ignore[no-any-return]  # get_args forgets what it was asked
        raise SettingsError(f"{name} should be one of {', '.join(get_args(CallersCredentials))}")

    def weights(self) -> Mapping[str, int]:
        return self._object("VOLCENGINE_TTS_APP_WEIGHTS", _is_weight, f"app to an integer between 1 and {WEIGHT_MAX}")

    def openai_voices(self) -> Mapping[str, str]:
        return self._object("VOLCENGINE_TTS_OPENAI_VOICES", _is_voice, "a name of OpenAI's to the id of a voice")

    def _object(self, name: str, is_right: Callable[[str, Any], bool], what: str) -> Mapping[str, Any]:
        try:
            given = json.loads(self.text(name) or "{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict) or not all(is_right(key, value) for key, value in given.items()):
            raise SettingsError(f"{name} should be a JSON object from {what}")
        return given

    def callback_test_hosts(self) -> frozenset[str]:
        name = "VOLCENGINE_TTS_CALLBACK_TEST_HOSTS"
        hosts = frozenset(host.strip().lower() for host in (self.text(name) or "").split(",") if host.strip())
        if len(hosts) > TEST_HOSTS_MAX or not all(map(TEST_HOST.fullmatch, hosts)):
            raise SettingsError(f"{name} should be at most {TEST_HOSTS_MAX} host:port, separated by commas")
        return hosts

    def jobs(self) -> JobSettings | None:
        if self.text("VOLCENGINE_TTS_JOB_TABLE") is None:
            return None
        return JobSettings(
            table=self.required("VOLCENGINE_TTS_JOB_TABLE"),
            bucket=self.required("VOLCENGINE_TTS_BUCKET"),
            queue_url=self.required("VOLCENGINE_TTS_JOB_QUEUE"),
            jobs_kept_days=self.jobs_kept_days(),
            speech_kept_days=self.speech_kept_days(),
            dead_letters_url=self.text("VOLCENGINE_TTS_DEAD_LETTERS"),
        )

    def jobs_kept_days(self) -> int:
        return self.integer("VOLCENGINE_TTS_JOBS_KEPT_DAYS", JOBS_KEPT_DAYS, most=DAYS_MAX)

    def speech_kept_days(self) -> int:
        days = self.integer("VOLCENGINE_TTS_SPEECH_KEPT_DAYS", SPEECH_KEPT_DAYS, most=DAYS_MAX)
        if days <= self.jobs_kept_days():
            raise SettingsError("VOLCENGINE_TTS_SPEECH_KEPT_DAYS should be more than VOLCENGINE_TTS_JOBS_KEPT_DAYS")
        return days

    def times(self) -> PoolTimes:
        return times_of(lambda name, default: self.integer(name, default, most=TIME_MAX_MS), SettingsError)


def _is_weight(app: str, weight: object) -> bool:
    return bool(APP.fullmatch(app)) and type(weight) is int and 1 <= weight <= WEIGHT_MAX


def _is_voice(name: str, voice_type: object) -> bool:
    return bool(VOICE.fullmatch(name)) and isinstance(voice_type, str) and bool(VOICE.fullmatch(voice_type))
