"""A pool as its operator sees it: who holds, who waits, where in the line and why. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from volcengine_client.limits import PoolTimes
from volcengine_client.pool.share import line, standings
from volcengine_client.pool.slots import SHUT, Entry, PoolState, is_free


def summary_of(name: str, state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> dict[str, Any]:
    """Return a pool's figures.

    Args:
        name: The pool's.
        state: What the table says.
        now_lo_ms: The earliest that the table's clock can show; None when unknown.
        times: The pool's times.
    """
    cap = state.cap
    return {
        "pool": name,
        "limit": None if state.limit is None else state.limit.n,
        "cap": None
        if cap is None
        else {"n": cap.n if now_lo_ms is None else cap.now(now_lo_ms), "until_ms": cap.until_ms},
        "slots_in_use": slots_in_use(state, now_lo_ms=now_lo_ms, times=times),
        "participants": len(state.queue),
    }


def slots_in_use(state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> int:
    """Return how many slots nobody else may take now: held and shut ones."""
    return sum(not is_free(slot, now_lo_ms=now_lo_ms, times=times) for slot in state.slots.values())


def report_of(name: str, state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> dict[str, Any]:
    """Return a pool's figures, its slots and its participants; those who wait in the order of the line.

    Instants are on the table's clock, Unix milliseconds.
    """
    positions = positions_in(state, now_lo_ms=now_lo_ms)
    held = Counter(slot.holder_id for slot in state.slots.values())
    queue = sorted(state.queue.items(), key=lambda item: (positions.get(item[0], len(positions) + 1), item[1].since_ms))
    return {
        **summary_of(name, state, now_lo_ms=now_lo_ms, times=times),
        "slots": [
            {
                "slot": number,
                "holder": slot.holder_id,
                "expires_at_ms": slot.expires_at_ms,
                "is_shut": slot.holder_id == SHUT,
                "is_free": is_free(slot, now_lo_ms=now_lo_ms, times=times),
            }
            for number, slot in sorted(state.slots.items())
        ],
        "participants": [
            {
                "holder": holder_id,
                "app": entry.app,
                "weight": entry.weight,
                "is_background": entry.is_background,
                "want": entry.want,
                "held": held[holder_id],
                "since_ms": entry.since_ms,
                "position": positions.get(holder_id),
                "why": _why(entry, held=held[holder_id], position=positions.get(holder_id), now_lo_ms=now_lo_ms),
            }
            for holder_id, entry in queue
        ],
    }


def positions_in(state: PoolState, *, now_lo_ms: int | None) -> dict[str, int]:
    """Return who gets the first freed slot, who the second…, counted from 1, each at its first turn."""
    positions: dict[str, int] = {}
    for turn, holder_id in enumerate(line(standings(state, now_lo_ms=now_lo_ms)), start=1):
        positions.setdefault(holder_id, turn)
        if len(positions) == len(state.queue):
            break
    return positions


def _why(entry: Entry, *, held: int, position: int | None, now_lo_ms: int | None) -> str:
    if now_lo_ms is not None and entry.expires_at_ms <= now_lo_ms:
        return "not heard of lately, so it no longer counts"
    if position is None:
        return "has left" if entry.want == 0 else f"has the {held} slots that it wants"
    if position == 1:
        return "next: its app has the least for its weight, and within it this one has the least or waits for longest"
    after = "the interactive ones and " if entry.is_background else ""
    return f"after {after}{position - 1} turns of apps with less for their weight, or of longer waits"
