from __future__ import annotations

from typing import Any

import pytest

from volcengine_client.concurrency import Concurrency, concurrency_of


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        (7, Concurrency(7)),
        ("7", Concurrency(7)),
        ({}, Concurrency(10)),
        ({"default": 3}, Concurrency(3)),
        ({"seed-tts-2.0": 20, "default": "5"}, Concurrency(5, {"seed-tts-2.0": 20})),
        ('{"seed-tts-2.0": 20}', Concurrency(10, {"seed-tts-2.0": 20})),
        ({"volc.service_type.10029": 4}, Concurrency(10, {"seed-tts-1.0": 4})),
        ({"volc.tts.default": 4}, Concurrency(10, {"volc.tts.default": 4})),
    ],
)
def test_a_limit_is_a_number_or_a_number_a_product(said: Any, limits: Concurrency) -> None:
    assert concurrency_of(said) == limits
    assert concurrency_of(limits.as_map()) == limits


@pytest.mark.parametrize(
    "said",
    [
        *(0, 1_001, True, 2.5, None, "", "ten", "{", "{]", []),
        *({"a b": 1}, {"a": 0}, {"a": None}, {"a": True}, {3: 1}),
        {str(number): 1 for number in range(21)},
        {"seed-tts-1.0": 1, "volc.service_type.10029": 2},
    ],
)
def test_anything_else_is_told_without_being_repeated(said: Any) -> None:
    with pytest.raises(ValueError, match=r"a whole number between 1 and 1000|one limit a product"):
        concurrency_of(said)
