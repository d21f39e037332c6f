"""Every row of the upstream's codes, as documented and as seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client import errors
from volcengine_client.speech.codes import checked_log_id, error_of

CONCURRENCY = "quota exceeded for types: concurrency"
LIFETIME = "quota exceeded for types: text_words_lifetime"
ENGINE = "Fail to feed text, reason Init Engine Instance failed"

ROWS = [
    # Logins.
    (401, 3001, "authenticate request: load grant: requested grant not found", errors.LoginRejectedError, False),
    (401, 3001, "invalid auth token", errors.LoginRejectedError, False),
    (401, 3001, "missing Authorization header", errors.LoginRejectedError, False),
    (
        401,
        3001,
        "authenticate request: authentication signature from request: invalid authorization method requested:",
        errors.LoginRejectedError,
        False,
    ),
    (401, 3001, "", errors.LoginRejectedError, False),
    (401, None, "", errors.LoginRejectedError, False),
    # Voices.
    (403, 3001, "[resource_id=volc.tts.default] requested resource not granted", errors.VoiceNotGrantedError, False),
    (403, 3001, "extract request resource id: get resource id: access denied", errors.VoiceNotGrantedError, False),
    (403, 3001, "", errors.VoiceNotGrantedError, False),
    (500, 3031, ENGINE, errors.VoiceNotGrantedError, False),
    (200, 3031, ENGINE, errors.VoiceNotGrantedError, False),
    (400, 3050, "", errors.VoiceNotGrantedError, False),
    (500, 3050, "voice not found", errors.VoiceNotGrantedError, False),
    # Too many in progress: the three forms, and the code alone.
    (429, 3003, CONCURRENCY, errors.ConcurrencyExceededError, True),
    (429, 3001, CONCURRENCY, errors.ConcurrencyExceededError, True),
    (200, 3003, CONCURRENCY, errors.ConcurrencyExceededError, True),
    (500, 3003, "", errors.ConcurrencyExceededError, True),
    (429, None, CONCURRENCY, errors.ConcurrencyExceededError, True),
    # Too many a second, and too many altogether.
    (429, 3001, "quota exceeded for types: qps", errors.UpstreamThrottledError, True),
    (429, 3003, "quota exceeded for types: qps", errors.UpstreamThrottledError, True),
    (429, None, "", errors.UpstreamThrottledError, True),
    (429, 3001, "", errors.UpstreamThrottledError, True),
    (429, 3001, LIFETIME, errors.QuotaUsedUpError, False),
    (429, 3003, LIFETIME, errors.QuotaUsedUpError, False),
    (200, 3001, "quota exceeded for types: audio_duration_lifetime", errors.QuotaUsedUpError, False),
    (429, 3001, "quota exceeded for types: something_else", errors.QuotaUsedUpError, False),
    # Texts.
    (400, 3010, "exceed max len limit!", errors.TextRefusedError, False),
    (400, 3011, "illegal input text!", errors.TextRefusedError, False),
    (200, 3010, "", errors.TextRefusedError, False),
    (200, 3011, "", errors.TextRefusedError, False),
    # The request itself.
    (400, 3001, "invalid operation", errors.OptionRefusedError, False),
    (200, 3001, "", errors.OptionRefusedError, False),
    (
        500,
        3031,
        "invalid character '}' looking for beginning of value",
        errors.UpstreamRejectedError,
        False,
    ),
    # The engine.
    (500, 3005, "", errors.UpstreamUnavailableError, True),
    (400, 3006, "", errors.UpstreamUnavailableError, True),
    (500, 3030, "", errors.UpstreamUnavailableError, True),
    (500, 3031, "", errors.UpstreamUnavailableError, True),
    (500, 3032, "", errors.UpstreamUnavailableError, True),
    (500, 3040, "", errors.UpstreamUnavailableError, True),
    (200, 3005, "", errors.UpstreamUnavailableError, True),
    # v3's own, beside those that test_v3.py sees on the wire.
    (400, 45_000_001, "[Invalid argument] InvalidDialect", errors.OptionRefusedError, False),
    (429, 45_000_000, CONCURRENCY, errors.ConcurrencyExceededError, True),
    (429, 45_000_292, "", errors.UpstreamThrottledError, True),
    (200, 45_000_292, "quota exceeded for types: audio_duration_lifetime", errors.QuotaUsedUpError, False),
    (403, 45_000_030, "", errors.VoiceNotGrantedError, False),
    (200, 55_000_030, "unavailable", errors.UpstreamUnavailableError, True),
    (200, 55_000_000, "synthesis processing timeout", errors.UpstreamUnavailableError, True),
    (200, 55_000_000, "client send timeout", errors.UpstreamUnavailableError, True),
    # Gateways in between, and what is no answer of v1.
    (502, None, "", errors.UpstreamUnavailableError, True),
    (503, None, "", errors.UpstreamUnavailableError, True),
    (504, None, "", errors.UpstreamTimeoutError, True),
    (500, None, "", errors.UpstreamUnavailableError, True),
    (408, None, "", errors.UpstreamUnavailableError, True),
    (404, None, "", errors.UpstreamRejectedError, False),
    (403, None, "", errors.UpstreamRejectedError, False),
    (302, None, "", errors.UpstreamRejectedError, False),
    (200, None, "", errors.UpstreamUnavailableError, True),
    (200, 0, "", errors.UpstreamUnavailableError, True),
    (500, 3000, "Success", errors.UpstreamUnavailableError, True),
]


@pytest.mark.parametrize(("http_status", "code", "message", "kind", "is_retryable"), ROWS)
def test_each_refusal_has_its_error(
    http_status: int, code: int | None, message: str, kind: type[errors.VolcengineError], is_retryable: bool
) -> None:
    error = error_of(http_status, code, message)

    assert type(error) is kind
    assert error.retryable is is_retryable


def test_success_is_no_error() -> None:
    assert error_of(200, 3000, "Success") is None


def test_a_refusal_is_told_apart_however_its_message_is_written() -> None:
    assert type(error_of(429, 3001, CONCURRENCY.upper())) is errors.ConcurrencyExceededError
    assert type(error_of(429, 3001, f"rpc error: {CONCURRENCY}, try later")) is errors.ConcurrencyExceededError
    assert type(error_of(429, 3001, f"{LIFETIME},concurrency")) is errors.QuotaUsedUpError


def test_the_needed_resource_is_named_by_the_upstream_or_else_by_the_voice() -> None:
    by_upstream = error_of(
        403, 3001, "[resource_id=volc.service_type.10029] requested resource not granted", resource="volc.tts.default"
    )
    by_voice = error_of(403, 3001, "get resource id: access denied", resource="volc.tts.default")
    by_nobody = error_of(403, 3001, "get resource id: access denied")

    assert "it needs resource volc.service_type.10029 (" in str(by_upstream)
    assert "it needs resource volc.tts.default (" in str(by_voice)
    assert "resource" not in str(by_nobody)


def test_an_error_says_what_the_upstream_said_in_numbers_only() -> None:
    error = error_of(500, 3031, "could not read 你好", log_id="20240726ABC")

    assert error is not None
    assert str(error) == "The upstream failed over this text (upstream code 3031, HTTP 500, log id 20240726ABC)"
    assert error.details == {"upstream_code": 3031, "http_status": 500, "log_id": "20240726ABC"}


@pytest.mark.parametrize("log_id", ["", "a b", "<b>", "你好", "x" * 65, "a\n", None])
def test_what_does_not_look_like_a_log_id_is_dropped(log_id: str | None) -> None:
    assert checked_log_id(log_id) is None
    assert "log_id" not in error_of(500, 3031, "", log_id=log_id).details  # type: ignore[union-attr]


messages = st.text() | st.sampled_from([CONCURRENCY, LIFETIME, ENGINE]).flatmap(lambda m: st.text().map(m.__add__))


codes_of_v3 = st.integers(19_999_990, 60_000_010) | st.sampled_from([20_000_000, 29_999_999, 45_000_292, 55_000_000])
some_codes = st.none() | st.integers() | st.integers(2_990, 3_060) | codes_of_v3


@given(st.integers(100, 999), some_codes, messages, st.none() | st.text())
def test_any_answer_is_success_or_an_error_that_quotes_nothing(
    http_status: int, code: int | None, message: str, log_id: str | None
) -> None:
    error = error_of(http_status, code, f"{message} 秘密", log_id=log_id)

    is_success = code is not None and (code == 3000 or 20_000_000 <= code < 30_000_000)
    assert (error is None) == (is_success and 200 <= http_status < 300)
    assert error is None or "秘密" not in f"{error} {error.details}"


@given(st.integers(min_value=10**10), st.text(min_size=1))
def test_a_number_that_is_no_code_is_not_repeated(code: int, message: str) -> None:
    error = error_of(500, code * 10**5_000, message)

    assert error is not None
    assert "upstream_code" not in error.details
