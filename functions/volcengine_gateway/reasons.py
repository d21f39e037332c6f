"""Why a participant waits, why a slot is not free, why the limit is cut: sentences for the operator. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from volcengine_client.limits import PoolTimes
from volcengine_client.pool.share import counts, line, standings
from volcengine_client.pool.slots import SHUT, Entry, PoolState, Slot, free_at_ms, is_free

APPS_TOLD_MAX = 5  # of those before a waiter; the others are summed up


@dataclass(frozen=True, slots=True)
class Scene:
    """A pool at one moment.

    Attributes:
        state: What the table says.
        now_lo_ms: The earliest that the table's clock can show; None when unknown.
        times: The pool's times.
        turns: Who waits, in the order of their first turns, with the turn, counted from 1.
    """

    state: PoolState
    now_lo_ms: int | None
    times: PoolTimes
    turns: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, state: PoolState, *, now_lo_ms: int | None, times: PoolTimes) -> Scene:
        """Look at a pool, and see who waits where."""
        return cls(state, now_lo_ms, times, turns_in(state, now_lo_ms=now_lo_ms))

    @property
    def limit(self) -> int:
        """The account's limit; 0 when nobody has joined yet."""
        return 0 if self.state.limit is None else self.state.limit.n

    @property
    def height(self) -> int:
        """How many slots may be used now, the cut of the limit applied."""
        return self.state.height(self.limit, self.now_lo_ms)

    def is_free(self, number: int) -> bool:
        """Tell whether anyone may take the slot."""
        return is_free(self.state.slots.get(number), now_lo_ms=self.now_lo_ms, times=self.times)

    def is_gone(self, entry: Entry) -> bool:
        """Tell whether a participant was not heard of for so long that it no longer counts."""
        return not counts(entry, now_lo_ms=self.now_lo_ms)

    def left_for(self, at_ms: int) -> str:
        """Say how long it is until an instant on the table's clock."""
        if self.now_lo_ms is None:
            return "for a time that can't be told"
        return f"for {max(0, -(-(at_ms - self.now_lo_ms) // 1_000))} s"

    def kept(self, slot: Slot) -> str:
        """Say how long it is until anyone may take a slot that nobody renews."""
        return self.left_for(free_at_ms(slot, self.times))


def turns_in(state: PoolState, *, now_lo_ms: int | None) -> dict[str, int]:
    """Return who gets the first freed slot, who the second…, counted from 1, each at its first turn."""
    standing = standings(state, now_lo_ms=now_lo_ms)
    waiter_count = sum(one.want > one.held for one in standing)
    turns: dict[str, int] = {}
    for turn, holder_id in enumerate(line(standing), start=1):
        turns.setdefault(holder_id, turn)
        if len(turns) == waiter_count:
            break
    return turns


def why_cut(scene: Scene) -> str | None:
    """Say why the limit is cut; None when it is not."""
    cap = scene.state.cap
    if cap is None or scene.height >= scene.limit:
        return None
    is_climbing = cap.is_climbing(scene.now_lo_ms)
    how_long = "and climbs back now" if is_climbing else f"{scene.left_for(cap.until_ms)}, then climbs back"
    return (
        f"the limit is cut from {scene.limit} to {scene.height} {how_long}: "
        "calls were refused within it, so somebody else uses the account"
    )


def why_slot(scene: Scene, number: int) -> str:
    """Say who has a slot and until when, or that it is free."""
    slot = scene.state.slots.get(number)
    if slot is None or scene.is_free(number):
        return "free" if number < scene.height else "beyond the limit, so nobody uses it"
    if slot.holder_id == SHUT:
        return f"stays shut {scene.kept(slot)}: a call's end is unknown, or the pool's item was lost and made anew"
    entry = scene.state.queue.get(slot.holder_id)
    if entry is None or scene.is_gone(entry):
        return f"its holder was not heard of lately; kept {scene.kept(slot)}, unless it comes back"
    beyond = "; it is beyond the limit and given up when its call ends" if number >= scene.height else ""
    return f"held by app {entry.app}{beyond}"


def why_participant(scene: Scene, holder_id: str) -> str:
    """Say what a participant waits for and behind whom, or why it does not wait."""
    entry = scene.state.queue[holder_id]
    held_count = len(scene.state.held_by(holder_id))
    if scene.is_gone(entry):
        return "not heard of lately, so it no longer counts"
    if entry.want == 0:
        return "has left"
    if holder_id not in scene.turns:
        return f"has the {held_count} slot{'' if held_count == 1 else 's'} that it wants or may hold"
    return "; ".join(_waits_for(scene, holder_id, entry))


def _waits_for(scene: Scene, holder_id: str, entry: Entry) -> Sequence[str]:
    own = range(min(entry.limit, scene.height))
    free = [number for number in range(scene.height) if scene.is_free(number)]
    place = _place(scene, holder_id)
    if free and not any(number in own for number in free):
        return [f"its own limit of {entry.limit} is used up: slots 0 to {entry.limit - 1} are busy", place]
    if scene.turns[holder_id] <= len(free):
        return [f"{_count(len(free), 'slot')} free: it takes one at its next look"]
    if free:
        return [f"{_count(len(free), 'slot')} free, for those before it: {place}"]
    every = "both" if scene.height == 2 else f"all {scene.height}"
    busy = "the one slot is busy" if scene.height == 1 else f"{every} slots are busy"
    return [f"{busy}: {place}", *_obstacles(scene)]


def _count(count: int, noun: str) -> str:
    return f"1 {noun} is" if count == 1 else f"{count} {noun}s are"


def _place(scene: Scene, holder_id: str) -> str:
    """Say who comes before a waiter, by apps."""
    before = list(scene.turns)[: list(scene.turns).index(holder_id)]
    own = scene.state.queue[holder_id]
    queue = scene.state.queue
    interactive_count = sum(not queue[other].is_background for other in before)
    said = "next in line"
    if before:
        apps = Counter(queue[other].app for other in before).most_common()
        told = [f"{count} of app {app}" for app, count in apps[:APPS_TOLD_MAX]]
        if len(apps) > APPS_TOLD_MAX:
            told.append(f"{sum(count for _, count in apps[APPS_TOLD_MAX:])} of {len(apps) - APPS_TOLD_MAX} other apps")
        said = f"behind {', '.join(told)}"
    if own.is_background and interactive_count:
        return f"background, so behind all interactive ones: {said}"
    return f"background: {said}" if own.is_background else said


def _obstacles(scene: Scene) -> Sequence[str]:
    """Say what keeps slots from everyone: a cut of the limit, shut slots, slots of the vanished."""
    said = []
    cut = why_cut(scene)
    if cut is not None:
        said.append(cut)
    for number in range(scene.height):
        slot = scene.state.slots.get(number)
        if slot is None or scene.is_free(number):
            continue
        entry = scene.state.queue.get(slot.holder_id)
        if slot.holder_id == SHUT or entry is None or scene.is_gone(entry):
            said.append(f"slot {number}: {why_slot(scene, number)}")
    return said[:APPS_TOLD_MAX]
