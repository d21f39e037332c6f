"""Pure: how long until the next attempt."""

from __future__ import annotations

from volcengine_client.errors import ConcurrencyExceededError, UpstreamError, UpstreamThrottledError, VolcengineError
from volcengine_client.limits import ATTEMPTS_MAX

BASE_MS = 400  # the first wait is below this, each further bound is twice the last
GROWTH = 2
CONCURRENCY_BASE_MS = 200  # a lone refusal is the upstream's count lagging behind: ask again soon, but not at once
CONCURRENCY_GROWTH = 3  # several are somebody else's calls: give them time
CAP_MS = 5_000  # no wait is longer

REQUEST_REPEATED = 3006  # the upstream's code for a request id seen before
REQUEST_REPEATED_ATTEMPTS_MAX = 2  # a new id cures it, or nothing does

assert CONCURRENCY_BASE_MS < BASE_MS <= CAP_MS
assert REQUEST_REPEATED_ATTEMPTS_MAX <= ATTEMPTS_MAX


def wait_before_retry_ms(error: VolcengineError, *, attempt: int, chance: float) -> int | None:
    """Return how long to wait before a call is tried again; None when it should not be.

    Full jitter: the wait is anywhere between nothing and a bound that grows with the attempts, so that callers who
    were refused together don't come back together.

    Args:
        error: Why the last attempt failed. Only the upstream's own errors are tried again here: a lost lease, a full
            answer and the like are for others to cure.
        attempt: Attempts made so far, from 1.
        chance: A number of [0, 1) drawn for this wait.
    """
    assert attempt >= 1
    assert 0 <= chance < 1
    if not error.retryable or not isinstance(error, (UpstreamError, UpstreamThrottledError)):
        return None
    is_repeated = error.details.get("upstream_code") == REQUEST_REPEATED
    if attempt >= (REQUEST_REPEATED_ATTEMPTS_MAX if is_repeated else ATTEMPTS_MAX):
        return None
    if isinstance(error, ConcurrencyExceededError):
        base_ms, growth = CONCURRENCY_BASE_MS, CONCURRENCY_GROWTH
    else:
        base_ms, growth = BASE_MS, GROWTH
    bound_ms = min(CAP_MS, base_ms * growth ** (attempt - 1))
    share = (1 + chance) / 2 if isinstance(error, ConcurrencyExceededError) else chance
    return max(int(share * bound_ms), error.retry_after_ms or 0)
