"""The record: who calls, how many at once, and how busy the slots were. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STEPS_MAX = 20_000  # changes of the number in flight that a gauge remembers
CALLS_MAX = 20_000  # calls that the record remembers one by one
TEXTS_MAX = 50_000  # texts that a gauge counts
REQIDS_MAX = 200_000  # request ids that the upstream remembers

Step = tuple[int, int]  # at_ms, in flight from then on


def slot_ms_between(steps: Sequence[Sequence[int]], from_ms: int, to_ms: int) -> int:
    """Return how many slot-milliseconds were used between two instants.

    Divided by `limit * (to_ms - from_ms)` it says how busy the slots were.

    Args:
        steps: The `steps` of a gauge: an instant, and the number in flight from then on, in order of time.
        from_ms: Instant on the scale of the steps.
        to_ms: Instant on the scale of the steps, not before *from_ms*.
    """
    assert from_ms <= to_ms
    used, ends = 0, [at_ms for at_ms, _ in steps[1:]] + [to_ms]
    for (at_ms, in_flight), end_ms in zip(steps, ends, strict=False):
        used += in_flight * max(0, min(end_ms, to_ms) - max(at_ms, from_ms))
    return used


@dataclass(slots=True)
class Call:
    """One request that passed the login, as the record keeps it.

    Attributes:
        outcome: `speaking`, then `spoken`, the reason of a refusal, the name of a fault, or `abandoned` when it was
            dropped because its caller had gone.
        began_at_ms: When the request had come.
        ended_at_ms: When its answer was ready; None while it is under way.
        is_delivered: Whether good audio was given to a caller that was still there.
    """

    app_id: str
    resource: str
    reqid: str
    text: str
    voice_type: str
    began_at_ms: int
    ended_at_ms: int | None = None
    outcome: str = "speaking"
    is_delivered: bool = False


@dataclass(slots=True)
class Gauge:
    """What one account did with one product since the last reset.

    Attributes:
        in_flight: Calls counted at this moment.
        peak: The most that were ever counted at once.
        limit: As it was for the last call.
        calls: Requests that passed the login.
        refusals: Requests that were refused, by reason; not those of injected faults.
        faults: Calls that went wrong on purpose, by fault; also `work_max` and `abandoned`.
        bought: Syntheses that were finished, whether or not anybody still listened.
        delivered: Of these, those whose whole audio was given to a caller that was still there.
        characters: Characters bought.
        texts: Calls, bought and delivered, by text.
        slot_ms: Slot-milliseconds used up to the last change.
        steps: The number in flight over time.
        starts: When the calls of the last second began.
    """

    in_flight: int = 0
    peak: int = 0
    limit: int = 0
    calls: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    bought: int = 0
    delivered: int = 0
    characters: int = 0
    texts: dict[str, Counter[str]] = field(default_factory=dict)
    slot_ms: int = 0
    first_call_at_ms: int | None = None
    last_end_at_ms: int | None = None
    steps: deque[Step] = field(default_factory=lambda: deque(maxlen=STEPS_MAX))
    starts: deque[int] = field(default_factory=deque)

    def take(self, now_ms: int) -> None:
        """Count one more in flight."""
        self._step(now_ms, 1)
        self.peak = max(self.peak, self.in_flight)
        self.starts.append(now_ms)

    def release(self, now_ms: int) -> None:
        """Count one less in flight."""
        assert self.in_flight > 0
        self._step(now_ms, -1)
        self.last_end_at_ms = now_ms

    def starts_in_last_second(self, now_ms: int) -> int:
        """Return how many calls began within the last second."""
        while self.starts and self.starts[0] <= now_ms - 1_000:
            self.starts.popleft()
        return len(self.starts)

    def calls_of(self, text: str) -> int:
        """Return how often a text was asked for."""
        counts = self.texts.get(text)
        return counts["calls"] if counts else 0

    def count_call(self, call: Call, *, limit: int) -> None:
        """Count a request, whatever will become of it."""
        self.limit = limit
        self.calls += 1
        if self.first_call_at_ms is None:
            self.first_call_at_ms = call.began_at_ms
        self._count_text(call.text, "calls")

    def count_refusal(self, call: Call, reason: str, *, is_injected: bool, now_ms: int) -> None:
        """Count a request that was not let in."""
        (self.faults if is_injected else self.refusals)[reason] += 1
        call.outcome, call.ended_at_ms = reason, now_ms

    def count_end(self, call: Call, *, fault: str | None, is_bought: bool, now_ms: int) -> None:
        """Count a call whose work is done."""
        call.outcome, call.ended_at_ms = fault or ("spoken" if is_bought else "failed"), now_ms
        if fault:
            self.faults[fault] += 1
        if is_bought:
            self.bought += 1
            self.characters += len(call.text)
            self._count_text(call.text, "bought")

    def count_delivery(self, call: Call) -> None:
        """Count a call whose whole audio reached a caller that was still there."""
        call.is_delivered = True
        self.delivered += 1
        self._count_text(call.text, "delivered")

    def _count_text(self, text: str, what: str) -> None:
        if text in self.texts or len(self.texts) < TEXTS_MAX:
            self.texts.setdefault(text, Counter())[what] += 1

    def since_reset(self, now_ms: int) -> Gauge:
        """Return a fresh gauge that still counts what is in flight."""
        fresh = Gauge(in_flight=self.in_flight, peak=self.in_flight, limit=self.limit)
        fresh.steps.append((now_ms, self.in_flight))
        return fresh

    def slot_ms_until(self, now_ms: int) -> int:
        """Return the slot-milliseconds used from the reset to now."""
        return self.slot_ms + (self.in_flight * (now_ms - self.steps[-1][0]) if self.steps else 0)

    def report(self, now_ms: int) -> dict[str, Any]:
        """Return everything as JSON; `slot_ms` up to now."""
        return {
            **{name: getattr(self, name) for name in ("in_flight", "peak", "limit", "calls", "bought", "delivered")},
            "characters": self.characters,
            "refusals": dict(self.refusals),
            "faults": dict(self.faults),
            "slot_ms": self.slot_ms_until(now_ms),
            "first_call_at_ms": self.first_call_at_ms,
            "last_end_at_ms": self.last_end_at_ms,
            "steps": list(self.steps),
            "texts": {text: dict(counts) for text, counts in self.texts.items()},
        }

    def _step(self, now_ms: int, change: int) -> None:
        if self.steps:
            self.slot_ms += self.in_flight * (now_ms - self.steps[-1][0])
        self.in_flight += change
        self.steps.append((now_ms, self.in_flight))


class Record:
    """Everything the upstream saw since the last reset.

    Attributes:
        gauges: By app id and resource.
        strangers: Requests that were refused before their account was known, by reason.
        calls: The last calls, one by one.
    """

    def __init__(self, now_ms: int) -> None:
        self.since_ms = now_ms
        self.gauges: dict[tuple[str, str], Gauge] = {}
        self.strangers: Counter[str] = Counter()
        self.calls: deque[Call] = deque(maxlen=CALLS_MAX)
        self._reqids: dict[str, None] = {}

    def gauge(self, app_id: str, resource: str) -> Gauge:
        """Return the one gauge of an account and a product."""
        return self.gauges.setdefault((app_id, resource), Gauge())

    def is_new(self, reqid: str) -> bool:
        """Remember a request id, and say whether it was never seen."""
        if reqid in self._reqids:
            return False
        self._reqids[reqid] = None
        if len(self._reqids) > REQIDS_MAX:
            del self._reqids[next(iter(self._reqids))]
        return True

    def reset(self, now_ms: int) -> None:
        """Forget everything but what is in flight."""
        self.since_ms = now_ms
        self.gauges = {key: gauge.since_reset(now_ms) for key, gauge in self.gauges.items() if gauge.in_flight}
        self.strangers.clear()
        self.calls.clear()
        self._reqids.clear()

    def report(self, now_ms: int) -> dict[str, Any]:
        """Return everything as JSON, by app id and resource."""
        accounts: dict[str, dict[str, Any]] = {}
        for (app_id, resource), gauge in self.gauges.items():
            accounts.setdefault(app_id, {})[resource] = gauge.report(now_ms)
        return {"now_ms": now_ms, "since_ms": self.since_ms, "strangers": dict(self.strangers), "accounts": accounts}
