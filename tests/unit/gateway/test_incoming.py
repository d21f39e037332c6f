from __future__ import annotations

from typing import Any

import pytest

from volcengine_client.limits import ANSWER_RESERVE_MS, GATEWAY_TIMEOUT_MS, REQUEST_DEADLINE_MS
from volcengine_gateway.incoming import admin_key_in, body_in, method_of, request_id_of, time_left_ms

NOW_MS = 1_767_225_600_000


def left_ms(*, asked_at_ms: int | None, remaining_ms: int = 29_000) -> int:
    return time_left_ms(
        asked_at_ms=asked_at_ms, wall_ms=NOW_MS, remaining_ms=remaining_ms, request_deadline_ms=REQUEST_DEADLINE_MS
    )


def test_a_deadline_counts_from_api_gateways_clock_so_that_a_cold_start_is_included() -> None:
    assert left_ms(asked_at_ms=NOW_MS - 9_000) == REQUEST_DEADLINE_MS - 9_000


def test_lambdas_own_deadline_counts_too() -> None:
    assert left_ms(asked_at_ms=NOW_MS, remaining_ms=5_000) == 5_000 - ANSWER_RESERVE_MS


@pytest.mark.parametrize("asked_at_ms", [None, NOW_MS + 1, NOW_MS - GATEWAY_TIMEOUT_MS - 1, 0, NOW_MS * 2])
def test_a_clock_that_is_plainly_wrong_is_not_believed(asked_at_ms: int | None) -> None:
    assert left_ms(asked_at_ms=asked_at_ms) == REQUEST_DEADLINE_MS


def test_a_request_that_came_too_late_has_no_time_left() -> None:
    assert left_ms(asked_at_ms=NOW_MS - GATEWAY_TIMEOUT_MS) < 0


@pytest.mark.parametrize(
    "event", [{}, {"requestContext": None}, {"requestContext": {"http": []}}, {"requestContext": 3}]
)
def test_any_event_has_a_method_and_an_id(event: dict[str, Any]) -> None:
    assert (method_of(event), request_id_of(event)) == ("?", "?")


def test_an_admin_key_of_spaces_is_none() -> None:
    assert admin_key_in({"admin-api-key": "  "}) is None
    assert admin_key_in({}) is None
    assert admin_key_in({"admin-api-key": " key "}) == "key"


@pytest.mark.parametrize("event", [{}, {"body": None}, {"body": ""}, {"body": "", "isBase64Encoded": True}])
async def test_no_body_is_an_empty_one(event: dict[str, Any]) -> None:
    assert await body_in(event, body_bytes_max=10) == b""
