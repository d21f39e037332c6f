from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client import errors
from volcengine_client.limits import ATTEMPTS_MAX
from volcengine_client.speech.codes import error_of
from volcengine_client.speech.retry import CAP_MS, wait_before_retry_ms

BUSY = errors.UpstreamUnavailableError("busy")
CROWDED = errors.ConcurrencyExceededError("crowded")
TRANSIENT = [
    BUSY,
    CROWDED,
    errors.UpstreamThrottledError("too fast"),
    errors.UpstreamTimeoutError("too slow"),
]
ALMOST_ONE = 1 - 2**-53


@pytest.mark.parametrize("error", TRANSIENT)
@given(attempt=st.integers(1, 50), chance=st.floats(0, 1, exclude_max=True))
def test_waits_and_attempts_are_bounded(error: errors.VolcengineError, attempt: int, chance: float) -> None:
    wait_ms = wait_before_retry_ms(error, attempt=attempt, chance=chance)

    assert (wait_ms is None) == (attempt >= ATTEMPTS_MAX)
    assert wait_ms is None or 0 <= wait_ms <= CAP_MS


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamRejectedError("no"),
        errors.LoginRejectedError("no"),
        errors.VoiceNotGrantedError("no"),
        errors.TextRefusedError("no"),
        errors.QuotaUsedUpError("no"),
        errors.UpstreamUnavailableError("no", retryable=False),
        errors.LeaseLostError("not the upstream's"),
        errors.NoSlotInTimeError("not the upstream's"),
        errors.AnswerFullError("not the upstream's"),
    ],
)
def test_what_another_attempt_cannot_cure_is_not_tried_again(error: errors.VolcengineError) -> None:
    assert wait_before_retry_ms(error, attempt=1, chance=0.5) is None


def bounds(error: errors.VolcengineError) -> list[int | None]:
    """The longest wait after each attempt."""
    return [wait_before_retry_ms(error, attempt=attempt, chance=ALMOST_ONE) for attempt in range(1, ATTEMPTS_MAX)]


def test_waits_grow_and_a_lone_concurrency_refusal_waits_less() -> None:
    assert bounds(BUSY) == [399, 799, 1_599, 3_199]
    assert bounds(CROWDED) == [200, 600, 1_800, 5_000]


def test_jitter_is_full() -> None:
    assert wait_before_retry_ms(BUSY, attempt=3, chance=0.0) == 0
    assert wait_before_retry_ms(BUSY, attempt=3, chance=0.5) == 800


def test_a_call_refused_for_concurrency_rests_for_half_of_the_bound_at_least() -> None:
    assert [wait_before_retry_ms(CROWDED, attempt=attempt, chance=0.0) for attempt in (1, 2)] == [100, 300]


def test_a_repeated_request_is_tried_again_once() -> None:
    error = error_of(400, 3006, "")

    assert error is not None
    assert wait_before_retry_ms(error, attempt=1, chance=0.5) is not None
    assert wait_before_retry_ms(error, attempt=2, chance=0.5) is None


def test_what_the_upstream_asks_for_is_kept() -> None:
    error = errors.UpstreamThrottledError("later", retry_after_ms=7_000)

    assert wait_before_retry_ms(error, attempt=1, chance=0.5) == 7_000
