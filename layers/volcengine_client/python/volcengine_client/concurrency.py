"""Pure: how many calls an account allows at once, in all or by product, as people write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from volcengine_client.limits import CONCURRENCY_DEFAULT, CONCURRENCY_MAX, PRODUCTS_MAX
from volcengine_client.speech.route import counted_as

OTHERS = "default"  # the key of all products that are not named
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Concurrency:
    """An account's limits.

    Attributes:
        usual: Of all products that have none of their own, together.
        by_product: Of each that has, by the name under which its calls are counted.
    """

    usual: int = CONCURRENCY_DEFAULT
    by_product: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Calls in all."""
        return self.usual + sum(self.by_product.values())

    def as_map(self) -> dict[str, int]:
        """Return it as a person would write it."""
        return {OTHERS: self.usual, **self.by_product}


def concurrency_of(value: Any) -> Concurrency:
    """Read a number, or a map from product to number; either may be text, as environments and consoles have it.

    In a map, `default` stands for every product without a number of its own.

    Raises:
        ValueError: It is neither, or a number is not from 1 to 1,000. The message says what it should be, not what
            it was.
    """
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong() from None
    if not isinstance(value, Mapping):
        return Concurrency(_number(value))
    if len(value) > PRODUCTS_MAX or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in value):
        raise _wrong()
    limits = {counted_as(name): _number(limit) for name, limit in value.items()}
    if len(limits) < len(value):
        raise ValueError("one limit a product, under one of its names")
    return Concurrency(limits.pop(OTHERS, CONCURRENCY_DEFAULT), limits)


def _number(value: Any) -> int:
    text = str(value).strip()
    if not isinstance(value, (int, str)) or isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,6}", text):
        raise _wrong()
    if not 1 <= int(text) <= CONCURRENCY_MAX:
        raise _wrong()
    return int(text)


def _wrong() -> ValueError:
    return ValueError(f"a whole number between 1 and {CONCURRENCY_MAX}, or such numbers by product, as a JSON object")
