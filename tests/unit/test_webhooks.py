"""Signatures of callbacks: a receiver can tell the gateway's from anything else."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client import verify
from volcengine_client.limits import WEBHOOK_TOLERANCE_S
from volcengine_client.webhooks import SIGNATURES_MAX, signed_headers

KEY = b"the-key-of-callbacks"
BODY = b'{"job_id": "6f", "state": "done"}'
NOW_S = 1_767_225_600
HEADERS = signed_headers(BODY, webhook_id="6f-done", key=KEY, now_s=NOW_S)


def test_a_signed_callback_is_the_gateways() -> None:
    assert verify(HEADERS, BODY, KEY, NOW_S)
    assert verify(HEADERS, BODY, KEY.decode(), NOW_S)


def test_the_signature_is_what_is_written_down() -> None:
    wanted = hmac.new(KEY, b"1767225600." + BODY, sha256).hexdigest()

    assert {
        "Webhook-Id": "6f-done",
        "Webhook-Timestamp": "1767225600",
        "Webhook-Signature": f"v1={wanted}",
    } == HEADERS


@given(body=st.binary(max_size=200), key=st.binary(min_size=1, max_size=80), now_s=st.integers(0, 2**36))
def test_whatever_was_signed_is_known_again(body: bytes, key: bytes, now_s: int) -> None:
    assert verify(signed_headers(body, webhook_id="a", key=key, now_s=now_s), body, key, now_s)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": BODY + b" "},
        {"body": b""},
        {"key": b"another-key"},
        {"headers": HEADERS | {"Webhook-Timestamp": str(NOW_S + 1)}},
        {"headers": HEADERS | {"Webhook-Timestamp": f"0{NOW_S}"}},
        {"headers": HEADERS | {"Webhook-Timestamp": f"{NOW_S} "}},
        {"headers": HEADERS | {"Webhook-Timestamp": "\uff11" * 10}},
        {"headers": HEADERS | {"Webhook-Timestamp": "9" * 5_000}},
        {"headers": HEADERS | {"Webhook-Timestamp": ""}},
        {"headers": HEADERS | {"Webhook-Signature": HEADERS["Webhook-Signature"][:-1]}},
        {"headers": HEADERS | {"Webhook-Signature": HEADERS["Webhook-Signature"].upper()}},
        {"headers": HEADERS | {"Webhook-Signature": HEADERS["Webhook-Signature"].replace("v1=", "v2=")}},
        {"headers": HEADERS | {"Webhook-Signature": HEADERS["Webhook-Signature"].removeprefix("v1=")}},
        {"headers": HEADERS | {"Webhook-Signature": "v1=\ud800"}},
        {"headers": HEADERS | {"Webhook-Signature": "v1="}},
        {"headers": HEADERS | {"Webhook-Signature": ""}},
        {"headers": {}},
    ],
)
def test_anything_else_is_not_the_gateways(changed: dict[str, object]) -> None:
    told: dict[str, object] = {"headers": HEADERS, "body": BODY, "key": KEY, "now_s": NOW_S}

    assert not verify(**(told | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(("age_s", "is_taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_an_old_callback_is_not_taken_nor_one_of_the_future(age_s: int, is_taken: bool) -> None:
    assert WEBHOOK_TOLERANCE_S == 300
    assert verify(HEADERS, BODY, KEY, NOW_S + age_s) is is_taken


def test_a_receiver_may_tolerate_less() -> None:
    assert not verify(HEADERS, BODY, KEY, NOW_S + 6, tolerance_s=5)


def test_names_of_headers_may_come_in_any_case() -> None:
    for change in (str.lower, str.upper):
        assert verify({change(name): value for name, value in HEADERS.items()}, BODY, KEY, NOW_S)


def test_one_right_signature_among_some_is_enough() -> None:
    """A key can be changed without a callback being lost."""
    right, wrong = HEADERS["Webhook-Signature"], "v1=" + "0" * 64

    assert verify(HEADERS | {"Webhook-Signature": f"v2=other, {wrong}, {right}"}, BODY, KEY, NOW_S)
    assert not verify(HEADERS | {"Webhook-Signature": ",".join([wrong] * SIGNATURES_MAX + [right])}, BODY, KEY, NOW_S)


def test_an_empty_key_is_refused_on_both_sides() -> None:
    with pytest.raises(ValueError, match="empty"):
        verify(HEADERS, BODY, "", NOW_S)
    with pytest.raises(ValueError, match="empty"):
        signed_headers(BODY, webhook_id="a", key=b"", now_s=NOW_S)
