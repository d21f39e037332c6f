from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from infra.stages import CLOUD, LOCAL, POOL_OF_THE_SERVER, STAGES, TEST, Stage, Wheels
from tests.infra.templates import composed, deployed, environment, told
from volcengine_client.limits import DEFAULT_TIMES, TEST_TIMES
from volcengine_gateway import credentials
from volcengine_gateway.settings import function_settings, worker_settings


@pytest.mark.parametrize(
    "change",
    [
        {"function_timeout_ms": 28_000},  # not after the request's deadline
        {"function_timeout_ms": 30_000},  # not before API Gateway's
        {"function_timeout_ms": 28_500},
        {"memory_mib": 128},
        {"memory_mib": 10_241},
        {"reserved_concurrency": 0},
        {"worker_slice_ms": 0},
        {"worker_slice_ms": 105_001},  # less than 15 s before Lambda kills the worker
        {"worker_timeout_ms": 104_000},
        {"worker_timeout_ms": 119_500},
        {"worker_timeout_ms": 130_000},  # not before its message is handed out again
        {"worker_timeout_ms": 901_000, "worker_visibility_ms": 910_000},
        {"worker_visibility_ms": 120_000},
        {"worker_visibility_ms": 129_500},
        {"worker_visibility_ms": 3_601_000},
        {"worker_memory_mib": 143},
        {"worker_memory_mib": 10_241},
        {"worker_concurrency_max": 1},
        {"worker_concurrency_max": 1_001},
        {"worker_attempts_max": 0},
        {"worker_attempts_max": 1_001},
        {"jobs_kept_days": 0},
        {"jobs_kept_days": 30},  # as long as audio
        {"speech_kept_days": 3_651},
        {"throttle_rate_per_s": 0},
        {"throttle_burst_requests": 0},
        {"throttle_burst_requests": 201},  # more than a pool's queue holds
        {"log_retention_days": 0},
        {"architecture": "x86_64"},  # with wheels for arm64
        {"domain_name": "tts.example.com"},
        {"certificate_arn": "arn:aws:acm:eu-west-1:111122223333:certificate/1"},
        {"cors_origins": ("*",)},
        {"cors_origins": ("http://example.com",)},
        {"upstream_endpoint": "http://example.com"},
        {"upstream_endpoint": "https://user@example.com"},
        {"callback_test_hosts": ("127.0.0.1:9000",)},  # in the cloud
        {"name": "test", "callback_test_hosts": ("127.0.0.1",)},
        {"name": "test", "callback_test_hosts": ("http://127.0.0.1:9000",)},
        {"app_weights": {"app": 0}},
        {"app_weights": {"app": 101}},
        {"app_weights": {"an app": 1}},
        {"openai_voices": {"alloy": ""}},
        {"openai_voices": {"alloy": "x" * 129}},
        {"openai_voices": {f"voice-{number}": "BV700_streaming" for number in range(50)}},  # no room for it
        {"name": "Cloud Stage"},
    ],
)
def test_a_stage_that_would_break_a_law_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        replace(CLOUD, **change)


def test_times_whose_lease_does_not_cover_a_call_are_refused() -> None:
    with pytest.raises(AssertionError):
        replace(CLOUD.pool_times, lease_ms=73_999)


def test_where_times_are_small_a_worker_is_left_the_time_of_the_longest_call() -> None:
    replace(TEST, worker_slice_ms=8_000, worker_timeout_ms=15_000)

    with pytest.raises(AssertionError):
        replace(TEST, worker_slice_ms=8_001, worker_timeout_ms=15_000)


def test_the_cloud_stage_has_the_times_that_the_pool_was_proven_with() -> None:
    assert CLOUD.pool_times == DEFAULT_TIMES
    assert LOCAL.pool_times == DEFAULT_TIMES
    assert TEST.pool_times == TEST_TIMES


def test_only_the_cloud_stage_keeps_its_data() -> None:
    assert {name for name, stage in STAGES.items() if stage.is_data_kept} == {"cloud"}


def test_no_stage_has_a_domain_or_origins_of_its_own() -> None:
    assert all(stage.domain_name == stage.certificate_arn == "" for stage in STAGES.values())
    assert all(stage.cors_origins == () for stage in STAGES.values())


def test_local_and_test_differ_by_name_and_times_only() -> None:
    differing = {field.name for field in fields(Stage) if getattr(LOCAL, field.name) != getattr(TEST, field.name)}

    assert differing == {"name", "pool_times", "worker_slice_ms", "worker_timeout_ms", "worker_visibility_ms"}


def test_the_cloud_gets_wheels_of_its_runtime_and_the_local_stack_those_of_this_python() -> None:
    assert CLOUD.wheels == Wheels("3.13", "arm64", "manylinux_2_28")
    assert LOCAL.wheels.python_version == f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_the_gateway_understands_what_a_stage_tells_it(
    stage: Stage, templates: Mapping[str, Mapping[str, Any]]
) -> None:
    settings = function_settings(told(templates[stage.name]))

    assert settings.times == stage.pool_times
    assert settings.callers_credentials == stage.callers_credentials
    assert settings.weights == stage.app_weights
    assert settings.openai_voices == stage.openai_voices
    assert settings.endpoint == "https://openspeech.bytedance.com"


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_the_worker_understands_what_a_stage_tells_it(stage: Stage, templates: Mapping[str, Mapping[str, Any]]) -> None:
    settings = worker_settings(told(templates[stage.name], "worker"))

    assert settings.slice_ms == stage.worker_slice_ms
    assert settings.times == stage.pool_times
    assert settings.jobs.jobs_kept_days == stage.jobs_kept_days
    assert settings.jobs.speech_kept_days == stage.speech_kept_days


def test_the_upstream_of_a_deployment_comes_from_the_context() -> None:
    template = deployed("local", upstream_endpoint="http://127.0.0.1:9000")

    for door in ("api", "worker"):
        assert environment(template, door)["VOLCENGINE_TTS_ENDPOINT"] == "http://127.0.0.1:9000"


def test_test_hosts_of_callbacks_come_from_the_context_and_reach_both_functions() -> None:
    template = deployed("test", callback_test_hosts="127.0.0.1:9000,localhost:9001")
    hosts = {"127.0.0.1:9000", "localhost:9001"}

    assert function_settings(told(template)).callback_test_hosts == hosts
    assert worker_settings(told(template, "worker")).callback_test_hosts == hosts


@pytest.mark.parametrize("stage", ["cloud", "sam"])
def test_a_stage_in_the_cloud_has_no_test_hosts_from_the_context_either(stage: str) -> None:
    with pytest.raises(AssertionError):
        deployed(stage, callback_test_hosts="127.0.0.1:9000")


def test_an_upstream_without_encryption_is_refused_from_the_context_too() -> None:
    with pytest.raises(AssertionError):
        deployed("cloud", upstream_endpoint="http://example.com")


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(KeyError, match="clowd"):
        deployed("clowd")


def test_direct_clients_are_let_into_the_pool_that_the_gateway_uses() -> None:
    assert POOL_OF_THE_SERVER == credentials.SERVER_POOL


def test_voices_of_openais_names_reach_the_gateway() -> None:
    voices = {"alloy": "BV700_streaming"}

    assert function_settings(told(composed(replace(CLOUD, openai_voices=voices)))).openai_voices == voices


def test_weights_reach_both_doors() -> None:
    weights = {"radio": 3, "web": 1}
    template = composed(replace(CLOUD, app_weights=weights))

    for door in ("api", "worker"):
        assert json.loads(environment(template, door)["VOLCENGINE_TTS_APP_WEIGHTS"]) == weights
