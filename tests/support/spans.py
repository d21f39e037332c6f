"""Calls as the upstream saw them in virtual time, and what many of them come to."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True, slots=True)
class Span:
    """A call that the upstream let in; times in milliseconds since the beginning."""

    caller: str
    app: str
    began_ms: float
    ended_ms: float


def now_ms() -> float:
    """Return virtual time since the beginning, milliseconds."""
    return asyncio.get_running_loop().time() * 1_000


def busy_ms(spans: Sequence[Span], *, until_ms: float, since_ms: float = 0) -> dict[str, float]:
    """Return for how long calls of each app were in progress between two moments, summed over calls."""
    total: defaultdict[str, float] = defaultdict(float)
    for span in spans:
        total[span.app] += max(0.0, min(span.ended_ms, until_ms) - max(span.began_ms, since_ms))
    return total


def all_busy_until_ms(spans: Sequence[Span]) -> float:
    """Return until when every app had work that was not begun."""
    last: dict[str, float] = {}
    for span in spans:
        last[span.app] = max(last.get(span.app, 0), span.began_ms)
    return min(last.values())


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index: 1 when all have the same, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def first_ms(spans: Sequence[Span]) -> dict[str, float]:
    """Return when each caller's first call began."""
    first: dict[str, float] = {}
    for span in spans:
        first[span.caller] = min(first.get(span.caller, math.inf), span.began_ms)
    return first


def longest_gap_ms(spans: Sequence[Span], caller: str) -> float:
    """Return the longest time in which a caller with work had no call in progress, its first wait apart."""
    own = [span for span in spans if span.caller == caller]
    idle_from_ms = [max(span.ended_ms for span in own[: count + 1]) for count in range(len(own))]
    return max((later.began_ms - idle_from_ms[index] for index, (_, later) in enumerate(pairwise(own))), default=0)


def longest_call_ms(spans: Sequence[Span]) -> float:
    """Return how long the longest call took."""
    return max(span.ended_ms - span.began_ms for span in spans)


def overlap(spans: Sequence[Span]) -> int:
    """Return the most calls that were in progress at once."""
    steps = sorted([(span.ended_ms, -1) for span in spans] + [(span.began_ms, 1) for span in spans])
    return max(accumulate(step for _, step in steps))
