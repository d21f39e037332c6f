from __future__ import annotations

from collections.abc import Mapping

import pytest

from volcengine_client.limits import BODY_BYTES_MAX, DEFAULT_TIMES, REQUEST_DEADLINE_MS, TEST_TIMES
from volcengine_gateway.settings import (
    ENDPOINT_DEFAULT,
    TALKATIVE,
    SettingsError,
    function_settings,
    server_settings,
)

FUNCTION = {"VOLCENGINE_TTS_SECRET_ID": "the-secret", "VOLCENGINE_TTS_POOL_TABLE": "the-table"}
ACCOUNT = {"VOLCENGINE_TTS_APPID": "1", "VOLCENGINE_TTS_ACCESS_KEY": "k", "ADMIN_API_KEY": "a"}
ELEVEN = ",".join(f"a:{port}" for port in range(1, 12))
SHORT = {
    "VOLCENGINE_TTS_UPSTREAM_CALL_MAX_MS": "6000",
    "VOLCENGINE_TTS_SKEW_MS": "1000",
    "VOLCENGINE_TTS_SEND_MAX_MS": "1000",
    "VOLCENGINE_TTS_RENEW_MS": "1000",
    "VOLCENGINE_TTS_LEASE_MS": "10000",
}


def test_a_function_needs_its_secret_and_its_table_and_no_more() -> None:
    settings = function_settings(FUNCTION)

    assert (settings.secret_id, settings.pool_table) == ("the-secret", "the-table")
    assert settings.endpoint == ENDPOINT_DEFAULT
    assert settings.times == DEFAULT_TIMES
    assert settings.callers_credentials == "with_admin_key"
    assert settings.weights == {}
    assert (settings.request_deadline_ms, settings.body_bytes_max) == (REQUEST_DEADLINE_MS, BODY_BYTES_MAX)


@pytest.mark.parametrize("missing", FUNCTION)
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_setting_is_named_and_an_empty_one_is_missing(missing: str, *, empty: bool) -> None:
    given = {**FUNCTION, missing: ""} if empty else {name: FUNCTION[name] for name in FUNCTION if name != missing}

    with pytest.raises(SettingsError, match=f"{missing} is not set"):
        function_settings(given)


def test_a_server_needs_nothing() -> None:
    settings = server_settings(environment={})

    assert settings.app_id is None
    assert settings.callers_credentials == "anyone"
    assert settings.pool_table is None
    assert settings.concurrency == 10
    assert settings.request_deadline_ms == 600_000


def test_the_environment_goes_before_the_file() -> None:
    file = {**ACCOUNT, "VOLCENGINE_TTS_CONCURRENCY": "4", "UNSET": None}

    settings = server_settings(file, {"VOLCENGINE_TTS_APPID": "2"})

    assert (settings.app_id, settings.access_key, settings.admin_key, settings.concurrency) == ("2", "k", "a", 4)


def test_the_stage_with_small_times_is_read() -> None:
    assert function_settings({**FUNCTION, **SHORT}).times == TEST_TIMES


def test_an_endpoint_loses_its_last_slash() -> None:
    assert (
        server_settings(environment={"VOLCENGINE_TTS_ENDPOINT": "http://127.0.0.1:9/"}).endpoint == "http://127.0.0.1:9"
    )


def test_weights_are_read() -> None:
    settings = function_settings({**FUNCTION, "VOLCENGINE_TTS_APP_WEIGHTS": '{"reader": 3, "b.c-d_e": 100}'})

    assert settings.weights == {"reader": 3, "b.c-d_e": 100}


def test_voices_of_openais_names_are_read_and_the_server_gives_as_much_audio_as_in_a_batch() -> None:
    given = {"VOLCENGINE_TTS_OPENAI_VOICES": '{"alloy": "BV700_streaming"}'}
    server = server_settings(environment={**given, "VOLCENGINE_TTS_ANSWER_BYTES_MAX": "4000"})

    assert function_settings({**FUNCTION, **given}).openai_voices == {"alloy": "BV700_streaming"}
    assert server.openai_voices == {"alloy": "BV700_streaming"}
    assert (server.answer_bytes_max, server.audio_bytes_max) == (4_000, 3_000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VOLCENGINE_TTS_OPENAI_VOICES", "alloy"),
        ("VOLCENGINE_TTS_OPENAI_VOICES", '["alloy"]'),
        ("VOLCENGINE_TTS_OPENAI_VOICES", '{"alloy": 1}'),
        ("VOLCENGINE_TTS_OPENAI_VOICES", '{"alloy": ""}'),
        ("VOLCENGINE_TTS_OPENAI_VOICES", '{"": "BV700_streaming"}'),
        ("VOLCENGINE_TTS_ENDPOINT", "openspeech.bytedance.com"),
        ("VOLCENGINE_TTS_ENDPOINT", "ftp://host"),
        ("VOLCENGINE_TTS_ENDPOINT", "http://"),
        ("VOLCENGINE_TTS_ENDPOINT", "http://host:99999999"),
        ("VOLCENGINE_TTS_ENDPOINT", "http://user:s3cret@host"),
        ("VOLCENGINE_TTS_ENDPOINT", "http://host/?key=s3cret"),
        ("VOLCENGINE_TTS_CALLERS_CREDENTIALS", "everyone"),
        ("VOLCENGINE_TTS_APP_WEIGHTS", "reader=3"),
        ("VOLCENGINE_TTS_APP_WEIGHTS", "[3]"),
        ("VOLCENGINE_TTS_APP_WEIGHTS", '{"reader": 0}'),
        ("VOLCENGINE_TTS_APP_WEIGHTS", '{"reader": 101}'),
        ("VOLCENGINE_TTS_APP_WEIGHTS", '{"reader": true}'),
        ("VOLCENGINE_TTS_APP_WEIGHTS", '{"my reader": 2}'),
        ("VOLCENGINE_TTS_APP_WEIGHTS", "[" * 100_000),
        ("VOLCENGINE_TTS_LEASE_MS", "73999"),
        ("VOLCENGINE_TTS_SKEW_MS", "0"),
        ("VOLCENGINE_TTS_SKEW_MS", "-1"),
        ("VOLCENGINE_TTS_SKEW_MS", "1s"),
        ("VOLCENGINE_TTS_RENEW_MS", "9999999999"),
        ("VOLCENGINE_TTS_CONCURRENCY", "0"),
        ("VOLCENGINE_TTS_CONCURRENCY", "1001"),
        ("VOLCENGINE_TTS_CONCURRENCY", "ten"),
        ("VOLCENGINE_TTS_BODY_BYTES_MAX", "many"),
        ("VOLCENGINE_TTS_ALLOW_ANONYMOUS", "perhaps"),
        ("ADMIN_API_KEY", "s3cret with spaces"),
        ("VOLCENGINE_TTS_ACCESS_KEY", "s3cret" * 50),
        ("VOLCENGINE_TTS_APPID", "nümber"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        server_settings(environment={**ACCOUNT, name: value})

    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"VOLCENGINE_TTS_APPID": "1"}, "belong together"),
        ({"VOLCENGINE_TTS_ACCESS_KEY": "k", "ADMIN_API_KEY": "a"}, "belong together"),
        ({"VOLCENGINE_TTS_APPID": "1", "VOLCENGINE_TTS_ACCESS_KEY": "k"}, "ADMIN_API_KEY is not set"),
        ({"VOLCENGINE_TTS_CALLERS_CREDENTIALS": "with_admin_key"}, "needs an ADMIN_API_KEY"),
        ({"VOLCENGINE_TTS_CALLERS_CREDENTIALS": "off", "ADMIN_API_KEY": "a"}, "needs the server's own"),
    ],
)
def test_a_server_that_is_open_to_everyone_or_to_nobody_does_not_start(given: Mapping[str, str], part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        server_settings(environment=given)


def test_a_server_may_be_open_to_everyone_when_told_so() -> None:
    given = {"VOLCENGINE_TTS_APPID": "1", "VOLCENGINE_TTS_ACCESS_KEY": "k", "VOLCENGINE_TTS_ALLOW_ANONYMOUS": "true"}

    assert server_settings(environment=given).admin_key is None


@pytest.mark.parametrize("name", TALKATIVE)
def test_a_function_refuses_to_start_where_the_log_would_tell_secrets(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        function_settings({**FUNCTION, name: "true"})

    function_settings({**FUNCTION, name: "false"})


def test_no_secret_is_in_what_settings_look_like() -> None:
    settings = server_settings(
        environment={**ACCOUNT, "VOLCENGINE_TTS_ACCESS_KEY": "s3cret-1", "ADMIN_API_KEY": "s3cret-2"}
    )

    assert "s3cret" not in repr(settings)


def test_test_hosts_of_callbacks_are_read_and_there_are_none_unless_named() -> None:
    name = "VOLCENGINE_TTS_CALLBACK_TEST_HOSTS"
    given = {name: " 127.0.0.1:9000,Receiver.test:1, [::1]:65535,"}

    assert server_settings(environment={}).callback_test_hosts == frozenset()
    assert function_settings(FUNCTION).callback_test_hosts == frozenset()
    for settings in (server_settings(environment=given), function_settings(FUNCTION | given)):
        assert settings.callback_test_hosts == {"127.0.0.1:9000", "receiver.test:1", "[::1]:65535"}


@pytest.mark.parametrize("hosts", ["localhost", "http://a:1", "a:0", "a:123456", "a:1/b", "b@a:1", "*:1", ELEVEN])
def test_a_test_host_is_a_host_and_a_port(hosts: str) -> None:
    with pytest.raises(SettingsError, match="VOLCENGINE_TTS_CALLBACK_TEST_HOSTS") as refusal:
        server_settings(environment={"VOLCENGINE_TTS_CALLBACK_TEST_HOSTS": hosts})

    assert hosts not in str(refusal.value)
