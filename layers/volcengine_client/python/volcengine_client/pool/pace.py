"""When a participant looks at the table next. Pure.

A look costs read units; a slot that is free beside a waiter costs throughput. So who waits looks seldom while no slot
is expected for it, and often when one is. What is expected follows from the queue: how many calls each holder still
has to make, how long they take, and whose quantum is over when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from volcengine_client.limits import (
    CHANCE_MARGIN_MS,
    CHANCE_MARGIN_SHARE,
    READ_BACKGROUND_MS,
    READ_CROWD_FACTOR,
    READ_FAR_MS,
    READ_HOLDING_FACTOR,
    READ_HOLDING_MS,
    READ_PLACE_MS,
    READ_SLOWEST_MS,
    READ_SPARE_MS,
    READ_TURN_MS,
    READS_A_CALL_MAX,
    TAKE_DELAY_MAX_MS,
    TAKE_DELAY_MS,
)
from volcengine_client.pool.plan import Outlook
from volcengine_client.pool.share import Standing, is_due, load_of, quantum_ms
from volcengine_client.pool.slots import free_at_ms
from volcengine_client.pool.view import View, written_at_ms


def next_read_ms(view: View, ahead: Outlook, *, pace_ms: int, age_ms: int) -> int:
    """Return how long after the newest snapshot the next look is due.

    Args:
        view: What the participant goes by.
        ahead: What it makes of it.
        pace_ms: How often the next in line looks while a slot is expected.
        age_ms: How old the snapshot is.
    """
    holding_ms = READ_HOLDING_MS if len(view.useful) > 1 else READ_SLOWEST_MS
    if view.useful and view.terms.is_background:
        holding_ms = READ_BACKGROUND_MS
    slowest_ms = READ_TURN_MS if _is_turn_over(view, ahead) else holding_ms
    if not view.missing or ahead.behind is None:
        return READ_SPARE_MS if view.idle else slowest_ms
    place, chance_at_ms = prospect(view, ahead)
    turns = max(place, 1 + READ_CROWD_FACTOR * place * (place - 1) // max(1, view.height))
    pace_ms = max(pace_ms, view.usual_call_ms // READS_A_CALL_MAX)
    interval_ms = pace_ms * turns * (READ_HOLDING_FACTOR if view.useful else 1)
    if ahead.leaves:
        interval_ms = min(interval_ms, READ_TURN_MS if view.useful else min(place * TAKE_DELAY_MS, TAKE_DELAY_MAX_MS))
    else:
        interval_ms = max(interval_ms, chance_at_ms - view.now_hi_ms + age_ms)
    if not (view.useful or ahead.leaves):
        slowest_ms = min(slowest_ms + place * READ_PLACE_MS, READ_FAR_MS)
    return min(interval_ms, slowest_ms)


def _is_turn_over(view: View, ahead: Outlook) -> bool:
    """Tell whether another is owed a slot of this participant at its next task boundary."""
    taker = next(iter(ahead.unserved), None)
    if taker is None or taker.holder_id == view.holder_id or not view.useful:
        return False
    is_over = view.served_ms >= quantum_ms(taker)
    return is_over and is_due(_me(view, ahead), taker, load_of(ahead.standings), held_ms=view.served_ms)


def _me(view: View, ahead: Outlook) -> Standing:
    return next(one for one in ahead.standings if one.holder_id == view.holder_id)


def prospect(view: View, ahead: Outlook) -> tuple[int, int]:
    """Return at which place a waiter is, 1 or more, and when a slot may come to it at the earliest.

    A slot that is let go in its own app most likely stays in it; then only its place in its app counts. The instant
    is on the table's clock, and in the past when nothing speaks against now.
    """
    chances = sorted(_chances(view, ahead))
    own = [chance for chance in chances if chance[1] == view.terms.app]
    place, own_place = _places(view, ahead)
    if not chances:
        return place, view.now_hi_ms + READ_FAR_MS  # nobody else holds any
    options = [(_instant(chances, place, view.usual_call_ms), place)]
    if own:
        options.append((_instant(own, own_place, view.usual_call_ms), own_place))
    at_ms, nearest = min(options)
    return nearest, at_ms


def _places(view: View, ahead: Outlook) -> tuple[int, int]:
    """Return the participant's place in the whole line, and among its own app's."""
    before: dict[str, str] = {}
    for one in ahead.unserved:
        if one.holder_id == view.holder_id:
            break
        before[one.holder_id] = one.app
    return len(before) + 1, sum(app == view.terms.app for app in before.values()) + 1


def _instant(chances: Sequence[tuple[int, str]], place: int, call_ms: int) -> int:
    """Return when the slot for *place* may come free; each round of all slots takes a call."""
    beyond = max(0, place - len(chances))
    return chances[min(place, len(chances)) - 1][0] + beyond * call_ms // len(chances)


def _chances(view: View, ahead: Outlook) -> Iterator[tuple[int, str]]:
    """Yield when each slot that others hold may be let go, and in which app; what nobody living holds runs out."""
    me = _me(view, ahead)
    load = load_of(ahead.standings)
    living = {one.holder_id: one for one in ahead.standings}
    for number, slot in view.state.slots.items():
        giver = living.get(slot.holder_id)
        if number >= view.height or giver is me:
            continue
        if giver is None:
            yield free_at_ms(slot, view.times), ""
        else:
            yield _lets_go_at_ms(view, giver, me, load), giver.app


def _lets_go_at_ms(view: View, giver: Standing, taker: Standing, load: Counter[str]) -> int:
    """Return when *giver* may let go of a slot: it owes it, its quantum is over, or its work is done."""
    if is_due(giver, taker, load, held_ms=0):
        return 0
    entry = view.state.queue[giver.holder_id]
    work_ms = entry.left_count * (entry.call_ms or view.usual_call_ms) // giver.held
    done_at_ms = written_at_ms(entry, view.times) + work_ms - work_ms // CHANCE_MARGIN_SHARE - CHANCE_MARGIN_MS
    turn_ms = quantum_ms(taker)
    if is_due(giver, taker, load, held_ms=turn_ms):
        return min(done_at_ms, entry.since_ms + turn_ms)
    return done_at_ms
