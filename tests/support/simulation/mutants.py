"""The code under test, broken on purpose: one clause of the protocol left out at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.support.simulation import table as table_module
from tests.support.simulation.actors import RecordingHolder
from tests.support.simulation.table import TableWay
from volcengine_client import answer as answer_module
from volcengine_client.errors import PoolTableError
from volcengine_client.models import TaskResult
from volcengine_client.pool import holder as holder_module
from volcengine_client.pool import plan as plan_module
from volcengine_client.pool import sight as sight_module
from volcengine_client.pool.holder import Lease
from volcengine_client.pool.plan import Outlook
from volcengine_client.pool.sight import Asking, Pool
from volcengine_client.pool.slots import SHUT, Change, PoolState, Slot
from volcengine_client.pool.table import Reply
from volcengine_client.pool.view import View


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break the code: what stands instead of what.

    Attributes:
        parts: Owner, attribute, and what it is replaced by, or how what is there is changed.
    """

    parts: tuple[tuple[Any, str, Any], ...]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        kept = [(owner, name, getattr(owner, name)) for owner, name, _ in self.parts]
        for owner, name, other in self.parts:
            setattr(owner, name, other)
        try:
            yield
        finally:
            for owner, name, before in kept:
                setattr(owner, name, before)


def _changed(owner: Any, name: str, change: Callable[..., Any]) -> tuple[Any, str, Any]:
    """Return a part whose replacement gets the original as its first argument."""
    original = getattr(owner, name)

    def other(*args: Any, **rest: Any) -> Any:
        return change(original, *args, **rest)

    return owner, name, other


# --- what a call may do ---------------------------------------------------------


def _release_undrained(original: Any, holder: RecordingHolder, lease: Lease) -> None:
    lease.answered()
    original(holder, lease)


def _drain_too_short(original: Any, holder: RecordingHolder, lease: Lease) -> None:
    original(holder, lease)
    if lease.number in holder._drained_at_ms:
        holder._drained_at_ms[lease.number] -= holder.pool.times.upstream_call_max_ms // 2


def _leaving_unshut(original: Any, view: View, *, is_in_doubt: bool) -> PoolState:
    after: PoolState = original(view, is_in_doubt=is_in_doubt)
    slots = {number: slot for number, slot in after.slots.items() if slot.holder_id != SHUT or number not in view.shut}
    return replace(after, slots=slots)


# --- what is believed --------------------------------------------------------------


async def _look_and_believe(original: Any, holder: RecordingHolder) -> None:
    await original(holder)
    if holder.pool.snapshot is not None:
        holder._own(holder.pool.snapshot)


async def _write_and_use_again(original: Any, holder: RecordingHolder, view: View, after: PoolState) -> int:
    try:
        wait_ms: int = await original(holder, view, after)
    except PoolTableError:
        holder._owned = dict(view.owned)
        raise
    return wait_ms


async def _send_and_forget(original: Any, holder: RecordingHolder, before: PoolState, after: PoolState) -> Reply:
    try:
        reply: Reply = await original(holder, before, after)
    finally:
        holder._may_join_late = False
    return reply


def _adopt_any(pool: Pool, reply: Reply, asking: Asking) -> None:
    pool._adopt_time(reply.time, asking)
    if reply.state is not None:
        pool.snapshot = reply.state
        pool.seen_at_ms = pool.clock.monotonic_ms()
        pool._note_free_slots(reply.state, pool.seen_at_ms)


def _applied_anyhow(state: PoolState, before: PoolState, after: PoolState) -> PoolState:
    change = Change.between(before, after)
    slots, queue = dict(state.slots), dict(state.queue)
    for number, (_, slot) in change.slots.items():
        slots.pop(number, None) if slot is None else slots.update({number: slot})
    for key, (_, entry) in change.queue.items():
        queue.pop(key, None) if entry is None else queue.update({key: entry})
    limit = change.limit[1] if change.limit else state.limit
    return replace(state, rev=state.rev + 1, slots=slots, queue=queue, limit=limit)


def _applied_without_own_revision(original: Any, state: PoolState, before: PoolState, after: PoolState) -> Any:
    queue = dict(before.queue)
    for key in Change.between(before, after).queue:
        if key in state.queue:
            queue[key] = replace(state.queue[key], revision=0)
    seen = replace(state, queue={**state.queue, **{k: v for k, v in queue.items() if k in state.queue}})
    return original(seen, replace(before, queue=queue), after)


# --- time ----------------------------------------------------------------------------


def _free_at_expiry(slot: Slot | None, *, now_lo_ms: int | None, **_: Any) -> bool:
    return slot is None or (now_lo_ms is not None and now_lo_ms >= slot.expires_at_ms)


def _wall_ms(pool: Pool) -> int:
    return pool.clock.wall_ms()


async def _read_old(original: Any, way: TableWay, pool: str) -> Reply:
    reply: Reply = await original(way, pool)
    past = way.__dict__.setdefault("past", [])
    past.append(reply.state)
    return replace(reply, state=way._chance.choice(past[-4:]))


# --- who gets what ---------------------------------------------------------------------


def _never_take(original: Any, view: View) -> Outlook:
    ahead: Outlook = original(view)
    return replace(ahead, takes=frozenset()) if view.holder_id in view.state.queue else ahead


def _results_by_id(original: Any, outcomes: Any) -> list[TaskResult]:
    return sorted(original(outcomes), key=lambda result: result.task_id)


def _outlook_by_count(original: Any, view: View) -> Outlook:
    ahead: Outlook = original(view)
    height = view.settled.n
    taken = [n for n in range(2 * height) if not plan_module._is_takeable(view, n)]
    room = min(view.missing, height - len(taken))
    free = [n for n in range(2 * height) if n not in taken and n not in view.owned]
    return replace(ahead, takes=frozenset(free[: max(0, room)]))


def _height_by_count(view: View) -> int:
    return 2 * view.settled.n


def _grant(original: Any, view: View, *args: Any, **rest: Any) -> PoolState | None:
    after: PoolState | None = original(view, *args, **rest)
    if after is None:
        return None
    given = [n for n, slot in view.state.slots.items() if slot.holder_id == view.holder_id and n not in after.slots]
    takers = [one.holder_id for one in plan_module.outlook(view).unserved if one.holder_id != view.holder_id]
    lease_at_ms = view.estimate_ms + view.times.lease_ms
    granted = {n: Slot(taker, lease_at_ms) for n, taker in zip(given, takers, strict=False)}
    return replace(after, slots={**after.slots, **granted})


HOLDER = RecordingHolder

MUTANTS = {
    "no drain": Mutant((_changed(HOLDER, "_release", _release_undrained),)),
    "a drain too short": Mutant((_changed(HOLDER, "_release", _drain_too_short),)),
    "leaving without shutting": Mutant((_changed(holder_module, "leaving", _leaving_unshut),)),
    "no call rule": Mutant(((holder_module, "may_start_call", lambda *_, **__: True),)),
    "reclaim without margins": Mutant(
        ((plan_module, "is_free", _free_at_expiry), (sight_module, "is_free", _free_at_expiry))
    ),
    "a write without condition": Mutant(((table_module, "applied", _applied_anyhow),)),
    "no own revision": Mutant((_changed(table_module, "applied", _applied_without_own_revision),)),
    "an old snapshot adopted": Mutant(((Pool, "adopt", _adopt_any),)),
    "a belief taken from a read": Mutant((_changed(HOLDER, "_look", _look_and_believe),)),
    "a slot used again after a lost reply": Mutant((_changed(HOLDER, "_write", _write_and_use_again),)),
    "eventually consistent reads": Mutant((_changed(TableWay, "read", _read_old),)),
    "no tombstone": Mutant((_changed(HOLDER, "_send", _send_and_forget),)),
    "never acting on a free slot": Mutant((_changed(holder_module, "outlook", _never_take),)),
    "the host's wall clock": Mutant(
        ((Pool, "now_lo_ms", _wall_ms), (Pool, "now_hi_ms", _wall_ms), (Pool, "estimate_ms", _wall_ms))
    ),
    "results sorted by id": Mutant((_changed(answer_module.Outcomes, "results", _results_by_id),)),
    "a counter instead of numbers": Mutant(
        (_changed(holder_module, "outlook", _outlook_by_count), (View, "height", property(_height_by_count)))
    ),
    "granting to others": Mutant(
        (
            _changed(holder_module, "next_write", _grant),
            _changed(holder_module, "leaving", _grant),
            _changed(HOLDER, "_look", _look_and_believe),
        )
    ),
    "clocks that stood still": Mutant(((Pool, "_is_steady", lambda *_: True),)),
    "clocks from an earlier invocation": Mutant(((Pool, "begin_invocation", lambda _: None),)),
    "no heed of pauses": Mutant(((HOLDER, "_is_dazed", False), (holder_module, "CLOCK_GAP_MS", 1 << 40))),
}
