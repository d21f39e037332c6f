"""The stages: every number of a deployment, with its unit, and how the numbers relate."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from volcengine_client.limits import (
    ANSWER_BYTES_MAX,
    APP_CHARACTERS_MAX,
    BODY_BYTES_MAX,
    DEFAULT_TIMES,
    FUNCTION_TIMEOUT_MS,
    GATEWAY_TIMEOUT_MS,
    QUEUE_MAX,
    REQUEST_DEADLINE_MS,
    TEST_TIMES,
    VOICE_TYPE_CHARACTERS_MAX,
    PoolTimes,
)

MIB = 1024 * 1024
RUNTIME_MEMORY_MIB = 128  # the interpreter with every library loaded takes 66 on x86-64, Python 3.11
ANSWER_COPIES = 6  # audio, base64, results, JSON text, JSON bytes, the runtime's own copy
BODY_COPIES = 4  # event, text, parsed JSON, models
LAMBDA_PYTHON = "3.13"
WITH_TEST_HOSTS = frozenset({"local", "test"})  # stages whose callbacks may stay on this machine
TEST_HOST = re.compile(r"([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\]):[1-9][0-9]{0,4}")
POOL_OF_THE_SERVER = "server"  # the key of the pool item that direct clients may join
VOICE = re.compile(rf"[!-~]{{1,{VOICE_TYPE_CHARACTERS_MAX}}}")
OPENAI_VOICES_BYTES_MAX = 1_500
RETENTION_DAYS = (1, 7, 30, 90, 365)
WORKER_END_MS = 15_000  # kept after a slice: what it began is stored, and the rest is handed on
MESSAGES_KEPT_DAYS = 4  # in the queue of the jobs
DEAD_LETTERS_KEPT_DAYS = 14  # counted from when they were first sent; SQS keeps nothing longer
LOST_VISIBILITY_MS = 60_000  # after which a lost message is handed out again whose function never took it
LOST_TAKES_MAX = 1_000  # how often, most of a day; SQS takes no more
LOST_CONCURRENCY_MAX = 2  # functions at once that take lost messages; Lambda takes no fewer

Architecture = Literal["arm64", "x86_64"]
CallersCredentials = Literal["anyone", "with_admin_key", "off"]
System = Literal["manylinux_2_28", "apple-darwin"]
MACHINE_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE_ARCHITECTURE: Architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"


@dataclass(frozen=True, slots=True)
class Wheels:
    """Which compiled packages a function needs.

    Attributes:
        python_version: As `3.13`.
        architecture: Of the processor.
        system: The oldest that must load them; Lambda's Python 3.13 has glibc 2.34.
    """

    python_version: str
    architecture: Architecture
    system: System = "manylinux_2_28"

    @classmethod
    def of_the_cloud(cls, architecture: Architecture) -> Wheels:
        """Return what Lambda's runtime loads on *architecture*."""
        return cls(LAMBDA_PYTHON, architecture)

    @classmethod
    def of_this_machine(cls) -> Wheels:
        """Return what the Python that runs this process loads."""
        system: System = "apple-darwin" if sys.platform == "darwin" else "manylinux_2_28"
        return cls(MACHINE_PYTHON, MACHINE_ARCHITECTURE, system)

    @property
    def are_of_this_python(self) -> bool:
        """Whether this process makes bytecode that the function's Python reads."""
        return self.python_version == MACHINE_PYTHON


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One deployment. Stages differ by these fields and by nothing else.

    Attributes:
        name: The last part of the stack's name.
        throttle_rate_per_s: Requests a second that API Gateway lets through, over all callers.
        throttle_burst_requests: Requests at one moment that it lets through.
        cors_origins: Pages whose scripts may call the API; empty: none.
        domain_name: The API's own host name; "": the one that API Gateway gives.
        certificate_arn: The certificate of `domain_name`, in the stack's region.
        callers_credentials: Who may bring an upstream account of its own.
        app_weights: The shares of the applications that don't have weight 1.
        openai_voices: The id of the voice behind a name that clients of OpenAI's use, beside the default ones.
        architecture: Of the function.
        wheels: Compiled packages for it.
        function_timeout_ms: After which Lambda kills the function.
        memory_mib: Of the function; its share of a processor grows with it (1,769 MiB are a whole one).
        reserved_concurrency: Functions at once, taken out of the account's; None: as many as the account has left.
        worker_slice_ms: For how long a worker speaks in one invocation; then it hands on what is left of its job.
        worker_timeout_ms: After which Lambda kills the worker.
        worker_visibility_ms: After which a message is handed out again whose worker never ended it.
        worker_memory_mib: Of the worker.
        worker_concurrency_max: Workers at once, which are also as many participants of the pools.
        worker_attempts_max: How often a message is handed out before it counts as lost.
        jobs_kept_days: From a job's beginning until it is forgotten, with its texts and results.
        speech_kept_days: From when audio was stored until it is deleted.
        log_level: Of the function.
        log_retention_days: Of the function's log and the access log.
        pool_times: The times by which everyone in the pools lives.
        upstream_endpoint: Base address of the upstream; "": the real one.
        callback_test_hosts: `host:port` of each to which callbacks may go without TLS, and on this machine; for tests.
        is_data_kept: The table is protected from deletion, and it, the secret and the logs outlive the stack.
    """

    name: str
    throttle_rate_per_s: int = 50
    throttle_burst_requests: int = 100
    cors_origins: tuple[str, ...] = ()
    domain_name: str = ""
    certificate_arn: str = ""
    callers_credentials: CallersCredentials = "with_admin_key"
    app_weights: Mapping[str, int] = field(default_factory=dict)
    openai_voices: Mapping[str, str] = field(default_factory=dict)
    architecture: Architecture = "arm64"
    wheels: Wheels
    function_timeout_ms: int = FUNCTION_TIMEOUT_MS
    memory_mib: int = 1_024
    reserved_concurrency: int | None = None
    worker_slice_ms: int = 90_000
    worker_timeout_ms: int = 120_000
    worker_visibility_ms: int = 130_000
    worker_memory_mib: int = 512
    worker_concurrency_max: int = 5
    worker_attempts_max: int = 5
    jobs_kept_days: int = 7
    speech_kept_days: int = 30
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_retention_days: int = 30
    pool_times: PoolTimes = DEFAULT_TIMES
    upstream_endpoint: str = ""
    callback_test_hosts: tuple[str, ...] = ()
    is_data_kept: bool = True

    def __post_init__(self) -> None:
        """Hold the relations without which a deployment would break a law under load."""
        assert re.fullmatch(r"[a-z][a-z0-9]*", self.name)
        self._assert_in_time()
        self._assert_work_in_time()
        self._assert_work_is_bounded()
        self._assert_loads_and_fits()
        self._assert_who_may_ask()

    @property
    def stack_name(self) -> str:
        """The name of the deployed stack."""
        return f"VolcengineConcurrentTts-{self.name}"

    def _assert_in_time(self) -> None:
        # An answer leaves before Lambda kills the function, and that happens before API Gateway gives up (I5).
        assert REQUEST_DEADLINE_MS < self.function_timeout_ms < GATEWAY_TIMEOUT_MS
        assert self.function_timeout_ms % 1_000 == 0, "Lambda counts whole seconds"
        # A killed function's slots come back only after its last call could have ended (I1).
        times = self.pool_times
        assert times.lease_ms >= times.upstream_call_max_ms + times.skew_ms + times.send_max_ms + times.renew_ms
        assert self.log_retention_days in RETENTION_DAYS

    def _assert_work_in_time(self) -> None:
        # What a slice began is stored, and the rest handed on, before Lambda kills the worker, or it would be bought
        # again (I8). That takes seconds when S3 and the tables are slow; where a stage's times are small throughout,
        # so that a recovery can be watched, as long as its longest call is enough.
        call_max_ms = self.pool_times.send_max_ms + self.pool_times.upstream_call_max_ms
        assert 0 < self.worker_slice_ms <= self.worker_timeout_ms - min(WORKER_END_MS, call_max_ms)
        # A message is handed out again only when its worker is dead: two would speak the same slice.
        assert self.worker_timeout_ms < self.worker_visibility_ms
        assert self.worker_timeout_ms <= 900_000, "Lambda gives no more"
        assert self.worker_visibility_ms <= 3_600_000, "a dead worker's job should not wait longer"
        assert self.function_timeout_ms < LOST_VISIBILITY_MS, "the same for a lost message"
        assert self.worker_timeout_ms % 1_000 == self.worker_visibility_ms % 1_000 == 0, "both count whole seconds"

    def _assert_work_is_bounded(self) -> None:
        assert 2 <= self.worker_concurrency_max <= 1_000, "Lambda's own bounds for a queue"
        assert 1 <= self.worker_attempts_max <= 1_000, "SQS's own bounds"
        # A worker holds at least a job that came in one request.
        assert self.worker_memory_mib * MIB >= RUNTIME_MEMORY_MIB * MIB + BODY_COPIES * BODY_BYTES_MAX
        assert self.worker_memory_mib <= 10_240, "Lambda gives no more"
        # A job may take over audio that was stored before it and outlives it.
        assert 1 <= self.jobs_kept_days < self.speech_kept_days <= 3_650

    def _assert_loads_and_fits(self) -> None:
        held_bytes = ANSWER_COPIES * ANSWER_BYTES_MAX + BODY_COPIES * BODY_BYTES_MAX
        assert self.memory_mib * MIB >= RUNTIME_MEMORY_MIB * MIB + held_bytes
        assert self.memory_mib <= 10_240, "Lambda gives no more"
        assert self.wheels.architecture == self.architecture, "the function could not load its packages"
        assert self.reserved_concurrency is None or self.reserved_concurrency >= 1

    def _assert_who_may_ask(self) -> None:
        # A burst that API Gateway lets through finds room in one pool's queue.
        assert self.throttle_rate_per_s >= 1
        assert 1 <= self.throttle_burst_requests <= QUEUE_MAX
        assert bool(self.domain_name) == bool(self.certificate_arn), "a domain needs a certificate"
        assert all(is_safe_address(origin) for origin in self.cors_origins)
        # The account's key travels to the upstream: never in clear text over a network (I6).
        assert not self.upstream_endpoint or is_safe_address(self.upstream_endpoint)
        # In the cloud nobody may have the gateway call its own network.
        assert not self.callback_test_hosts or self.name in WITH_TEST_HOSTS
        assert all(map(TEST_HOST.fullmatch, self.callback_test_hosts))
        assert all(re.fullmatch(rf"[A-Za-z0-9._-]{{1,{APP_CHARACTERS_MAX}}}", app) for app in self.app_weights)
        assert all(1 <= weight <= 100 for weight in self.app_weights.values())
        # The whole environment of a function has at most 4 KB.
        assert len(json.dumps(dict(self.openai_voices))) <= OPENAI_VOICES_BYTES_MAX
        assert all(map(VOICE.fullmatch, (*self.openai_voices, *self.openai_voices.values())))


def is_safe_address(address: str) -> bool:
    """Say whether *address* is a base address where a key travels encrypted, or stays on this machine."""
    host = r"(https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))"
    return re.fullmatch(rf"{host}(:[0-9]{{1,5}})?", address) is not None


CLOUD = Stage(name="cloud", wheels=Wheels.of_the_cloud("arm64"))

# The functions of the local stack are processes of this machine's own Python, and only this machine can call them.
LOCAL = Stage(
    name="local",
    architecture=MACHINE_ARCHITECTURE,
    wheels=Wheels.of_this_machine(),
    throttle_rate_per_s=1_000,
    throttle_burst_requests=QUEUE_MAX,
    callers_credentials="anyone",
    log_retention_days=1,
    is_data_kept=False,
)

# The same with times so small that a recovery can be watched.
TEST = replace(
    LOCAL,
    name="test",
    pool_times=TEST_TIMES,
    worker_slice_ms=8_000,
    worker_timeout_ms=15_000,
    worker_visibility_ms=17_000,
)

# The same in Lambda's own container, for `sam local invoke`.
SAM = replace(LOCAL, name="sam", wheels=Wheels.of_the_cloud(MACHINE_ARCHITECTURE))

assert MESSAGES_KEPT_DAYS < DEAD_LETTERS_KEPT_DAYS

STAGES: Mapping[str, Stage] = {stage.name: stage for stage in (CLOUD, LOCAL, TEST, SAM)}
