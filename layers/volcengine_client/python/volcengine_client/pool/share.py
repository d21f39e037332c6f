"""Who is entitled to the next slot. Pure.

Weighted max-min: the next slot goes to the app that holds the least for its weight, within it to the participant
that holds the least, among equals to the one unserved for longest; interactive before background (I7).
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from volcengine_client.limits import FIRST_QUANTUM_MS, QUANTUM_MS, SWAP_QUANTUM_MS
from volcengine_client.pool.slots import Entry, PoolState

LOAD_UNIT = 27_720  # divisible by every weight up to 12, so that equal loads compare as equal


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts of one participant when a slot is given."""

    holder_id: str
    app: str
    weight: int
    held: int
    want: int
    bound: int
    since_ms: int
    is_background: bool
    is_new: bool


def standings(state: PoolState, *, now_lo_ms: int | None) -> list[Standing]:
    """Return the standing of every participant that was heard of recently."""
    held = Counter(slot.holder_id for slot in state.slots.values())
    return [
        standing_of(holder_id, entry, held=held[holder_id], bound=state.height(entry.limit, now_lo_ms))
        for holder_id, entry in state.queue.items()
        if counts(entry, now_lo_ms=now_lo_ms)
    ]


def counts(entry: Entry, *, now_lo_ms: int | None) -> bool:
    """Tell whether a participant was heard of recently; without knowledge of the time everyone was."""
    return now_lo_ms is None or now_lo_ms < entry.expires_at_ms


def load_of(standing: Iterable[Standing]) -> Counter[str]:
    """Return how many slots each app holds."""
    load: Counter[str] = Counter()
    for one in standing:
        load[one.app] += one.held
    return load


def standing_of(holder_id: str, entry: Entry, *, held: int, bound: int) -> Standing:
    """Return the standing of the participant with *entry*."""
    return Standing(
        holder_id=holder_id,
        app=entry.app,
        weight=entry.weight,
        held=held,
        want=entry.want,
        bound=bound,
        since_ms=entry.since_ms,
        is_background=entry.is_background,
        is_new=entry.is_new,
    )


def line(standing: Sequence[Standing]) -> Iterator[str]:
    """Yield holder ids in the order in which freed slots go to them, until all that they want is met."""
    load = load_of(standing)
    weight: Counter[str] = Counter()
    waiting: dict[tuple[str, bool], list[tuple[int, int, str]]] = defaultdict(list)
    missing: dict[str, int] = {}
    for one in standing:
        weight[one.app] = max(weight[one.app], one.weight)
        missing[one.holder_id] = one.want - one.held
        if one.want > one.held:
            waiting[one.app, one.is_background].append((one.held, one.since_ms, one.holder_id))
    for group in waiting.values():
        heapq.heapify(group)
    while waiting:
        app, is_background = min(
            waiting, key=lambda key: (key[1], load[key[0]] * LOAD_UNIT // weight[key[0]], waiting[key][0][1:])
        )
        group = waiting[app, is_background]
        held, since_ms, holder_id = heapq.heappop(group)
        yield holder_id
        load[app] += 1
        missing[holder_id] -= 1
        if missing[holder_id]:
            heapq.heappush(group, (held + 1, since_ms, holder_id))
        elif not group:
            del waiting[app, is_background]


def quantum_ms(taker: Standing) -> int:
    """Return how long a giver may keep a slot that *taker*, its equal once it has it, waits for."""
    if taker.held:
        return SWAP_QUANTUM_MS
    return FIRST_QUANTUM_MS if taker.is_new else QUANTUM_MS


def is_due(giver: Standing, taker: Standing, load: Mapping[str, int], *, held_ms: int) -> bool:
    """Tell whether *giver* owes *taker* a slot at its next task boundary.

    A transfer that makes the smaller share larger is owed at once. One that only swaps the two is owed when the
    giver's quantum is over, so that equals take turns and nobody flutters.

    Args:
        giver: One who holds at least one slot.
        taker: The next in line.
        load: Slots held by app.
        held_ms: For how long the giver has held the slot.
    """
    if giver.is_background != taker.is_background:
        return giver.is_background
    if giver.app == taker.app:
        gain = (giver.held - 1) - taker.held
    else:
        gain = (load[giver.app] - 1) * taker.weight - load[taker.app] * giver.weight
    return gain > 0 or (gain == 0 and held_ms >= quantum_ms(taker))
