"""A pool as its operator sees it: who holds, who waits, where in the line and for what. Pure."""

from __future__ import annotations

from typing_extensions import TypedDict

from volcengine_client.limits import PoolTimes
from volcengine_client.pool.slots import SHUT, PoolState, is_free
from volcengine_gateway.reasons import Scene, why_cut, why_participant, why_slot


class CapTold(TypedDict):
    """A passing cut of the limit.

    Attributes:
        n: How many slots may be used now.
        until_ms: Until when it stands so low; then it climbs by one at a time.
    """

    n: int
    until_ms: int


class PoolTold(TypedDict):
    """A pool's figures, as `GET /pools` lists them; instants are on the table's clock, Unix milliseconds.

    Attributes:
        pool: Its name.
        limit: The account's; None before anybody has joined.
        cap: None while the limit is not cut.
        slots_in_use: Held and shut ones.
        participants: How many hold or wait.
    """

    pool: str
    limit: int | None
    cap: CapTold | None
    slots_in_use: int
    participants: int


class SlotTold(TypedDict):
    """One taken or shut slot.

    Attributes:
        slot: Its number.
        holder: Who holds it; "" when it is shut.
        app: The holder's; None when it is shut, or its holder is gone.
        expires_at_ms: When its lease ends, unless it is renewed.
        is_shut: Whether nobody may use it until the end of a call is certain.
        is_free: Whether anyone may take it, though it is not given up.
        why: Who has it and until when, in a sentence.
    """

    slot: int
    holder: str
    app: str | None
    expires_at_ms: int
    is_shut: bool
    is_free: bool
    why: str


class ParticipantTold(TypedDict):
    """One who holds slots or waits for them.

    Attributes:
        holder: Its name, another one for each batch.
        app: Whose share it takes from.
        weight: The app's share against others'.
        is_background: Whether it is served after all that is not.
        want: Slots that it has work for and may hold, those it holds included.
        limit: It uses only slot numbers below this.
        held: How many it holds.
        slots: Which.
        since_ms: When it was last served a slot, or joined.
        waited_ms: How long ago that is; None for one that does not wait, or when the time is unknown.
        position: At which turn it is served, 1 is next; None for one that does not wait.
        why: What it waits for and behind whom, in a sentence.
    """

    holder: str
    app: str
    weight: int
    is_background: bool
    want: int
    limit: int
    held: int
    slots: list[int]
    since_ms: int
    waited_ms: int | None
    position: int | None
    why: str


class WholePoolTold(TypedDict):
    """All of a pool, as `GET /pools/{pool}` tells it: no key, no text, no name of a caller but its app.

    Attributes:
        pool: Its name.
        limit: The account's; None before anybody has joined.
        cap: None while the limit is not cut.
        why_cut: Why the limit is cut, in a sentence; None while it is not.
        slots_in_use: Held and shut ones.
        now_ms: The table's time at the earliest; None when unknown.
        slots: By number.
        participants: Those who wait in the order of the line, then the others.
    """

    pool: str
    limit: int | None
    cap: CapTold | None
    why_cut: str | None
    slots_in_use: int
    now_ms: int | None
    slots: list[SlotTold]
    participants: list[ParticipantTold]


def summary_of(name: str, state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> PoolTold:
    """Return a pool's figures.

    Args:
        name: The pool's.
        state: What the table says.
        now_lo_ms: The earliest that the table's clock can show; None when unknown.
        times: The pool's times.
    """
    return {
        "pool": name,
        "limit": None if state.limit is None else state.limit.n,
        "cap": _cap_of(state, now_lo_ms=now_lo_ms),
        "slots_in_use": slots_in_use(state, now_lo_ms=now_lo_ms, times=times),
        "participants": len(state.queue),
    }


def _cap_of(state: PoolState, *, now_lo_ms: int | None) -> CapTold | None:
    """Return the cut of the limit; None when there is none, or it has climbed back to the limit."""
    if state.cap is None:
        return None
    height = state.cap.n if now_lo_ms is None else state.cap.now(now_lo_ms)
    if state.limit is not None and height >= state.limit.n:
        return None
    return {"n": height, "until_ms": state.cap.until_ms}


def slots_in_use(state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> int:
    """Return how many slots nobody else may take now: held and shut ones."""
    return sum(not is_free(slot, now_lo_ms=now_lo_ms, times=times) for slot in state.slots.values())


def report_of(name: str, state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> WholePoolTold:
    """Return all of a pool: its figures, its slots and its participants."""
    scene = Scene.of(state, now_lo_ms=now_lo_ms, times=times)
    last = len(state.queue) + 1
    order = sorted(
        state.queue, key=lambda holder_id: (scene.turns.get(holder_id, last), state.queue[holder_id].since_ms)
    )
    return {
        "pool": name,
        "limit": None if state.limit is None else state.limit.n,
        "cap": _cap_of(state, now_lo_ms=now_lo_ms),
        "why_cut": why_cut(scene),
        "slots_in_use": slots_in_use(state, now_lo_ms=now_lo_ms, times=times),
        "now_ms": now_lo_ms,
        "slots": [_slot(scene, number) for number in sorted(state.slots)],
        "participants": [_participant(scene, holder_id) for holder_id in order],
    }


def _slot(scene: Scene, number: int) -> SlotTold:
    slot = scene.state.slots[number]
    entry = scene.state.queue.get(slot.holder_id)
    return {
        "slot": number,
        "holder": slot.holder_id,
        "app": None if entry is None else entry.app,
        "expires_at_ms": slot.expires_at_ms,
        "is_shut": slot.holder_id == SHUT,
        "is_free": scene.is_free(number),
        "why": why_slot(scene, number),
    }


def _participant(scene: Scene, holder_id: str) -> ParticipantTold:
    entry = scene.state.queue[holder_id]
    slots = sorted(scene.state.held_by(holder_id))
    position = scene.turns.get(holder_id)
    is_timed = position is not None and scene.now_lo_ms is not None
    return {
        "holder": holder_id,
        "app": entry.app,
        "weight": entry.weight,
        "is_background": entry.is_background,
        "want": entry.want,
        "limit": entry.limit,
        "held": len(slots),
        "slots": slots,
        "since_ms": entry.since_ms,
        "waited_ms": max(0, (scene.now_lo_ms or 0) - entry.since_ms) if is_timed else None,
        "position": position,
        "why": why_participant(scene, holder_id),
    }
