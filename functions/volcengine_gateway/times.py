"""The pool's times, by the names of their settings. Pure."""

from __future__ import annotations

from collections.abc import Callable

from volcengine_client.limits import DEFAULT_TIMES, PoolTimes

NAMES = {
    "upstream_call_max_ms": "VOLCENGINE_TTS_UPSTREAM_CALL_MAX_MS",
    "skew_ms": "VOLCENGINE_TTS_SKEW_MS",
    "send_max_ms": "VOLCENGINE_TTS_SEND_MAX_MS",
    "renew_ms": "VOLCENGINE_TTS_RENEW_MS",
    "lease_ms": "VOLCENGINE_TTS_LEASE_MS",
}


def times_of(given: Callable[[str, int], int], wrong: type[ValueError]) -> PoolTimes:
    """Return the times that settings say.

    Args:
        given: Returns the value of a setting, or the default that it is told.
        wrong: What is raised.

    Raises:
        ValueError: They don't fit each other; the message names the settings.
    """
    times = {key: given(name, getattr(DEFAULT_TIMES, key)) for key, name in NAMES.items()}
    if times["lease_ms"] < sum(times.values()) - times["lease_ms"]:
        others = ", ".join(name for key, name in NAMES.items() if key != "lease_ms")
        raise wrong(f"{NAMES['lease_ms']} should be at least the sum of {others}")
    return PoolTimes(**times)
