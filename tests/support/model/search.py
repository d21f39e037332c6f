"""Every state that a model can reach, breadth first, so that the first breach found has the shortest story."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, permutations

from tests.support.model.decide import NAMES, Clauses
from tests.support.model.moves import Moves
from tests.support.model.shape import (
    HOPELESS,
    LEFT,
    SHUT,
    VANISHED,
    Part,
    Size,
    Slot,
    Table,
    lapsed,
    later,
    made,
    mentions,
    normal,
    part_lapsed,
    part_later,
    part_renamed,
    renamed,
    without_hopeless,
)

BITS = 20  # of a state's number, for each of its parts
State = tuple[int, ...]  # the number of the table's state, then of each participant's
Step = tuple[int, str, State, str]  # who, what happens, the state after it, the law that it breaks


@dataclass
class Finding:
    """What a search came to.

    Attributes:
        state_count: How many states were seen, those that differ only in the participants' names counted once.
        is_exhausted: Whether there are no others.
        breach: The law that is broken; empty: none.
        story: How it came to that, a line a step.
    """

    state_count: int
    seconds: float  # of the processor
    is_exhausted: bool = False
    breach: str = ""
    story: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = [f"{number:3}. {line}" for number, line in enumerate(self.story, start=1)]
        end = "exhausted" if self.is_exhausted else "not exhausted"
        head = f"{self.state_count:,} states, {end}, {self.seconds:.0f} s: {self.breach or 'no law is broken'}"
        return "\n".join([head, *told])


class Model:
    """A space of states. States of the table and of participants have numbers, so that what is known is kept once."""

    def __init__(self, size: Size, clauses: Clauses | None = None) -> None:
        self.size = size
        self.moves = Moves(size, clauses or Clauses())
        self.tables: list[Table] = []
        self.parts: list[Part] = []
        self._table_numbers: dict[Table, int] = {}
        self._part_numbers: dict[Part, int] = {}
        self._steps: dict[tuple[int, int, int], list[tuple[str, int, int, str]]] = {}
        self._later_tables: dict[int, int] = {}
        self._later_parts: dict[int, int] = {}
        others = permutations(range(size.participants)) if not size.terms else [tuple(range(size.participants))]
        self._orders = list(others)
        self._renamed_tables: list[dict[int, int]] = [{} for _ in self._orders]
        self._renamed_parts: list[dict[int, int]] = [{} for _ in self._orders]
        self._counted: list[int] = []
        self._delayed: list[int] = []
        self._asks: list[bool] = []
        self._made: list[int] = []
        self._made_numbers: dict[frozenset[tuple[int, Slot]], int] = {}
        self._pruned: dict[tuple[int, ...], int] = {}
        self._newcomer = self.part(size.newcomer)

    def table(self, table: Table) -> int:
        """Return the number of a table's state."""
        number = self._table_numbers.setdefault(table, len(self.tables))
        if number == len(self.tables):
            self.tables.append(table)
        return number

    def part(self, part: Part) -> int:
        """Return the number of a participant's state."""
        known = self._part_numbers.get(part)
        if known is not None:
            return known
        form = normal(part, self.size)
        number = self._part_numbers.setdefault(form, len(self.parts))
        assert number < 1 << BITS
        if number == len(self.parts):
            self.parts.append(form)
            self._asks.append(bool(form.request or form.late))
            self._made.append(self._made_numbers.setdefault(made(form), len(self._made_numbers)))
            self._delayed.append(_delayed(form))
            self._counted.append(sum(1 << n for n, call in enumerate(form.calls) if call.left))
        self._part_numbers[part] = number
        return number

    @property
    def first(self) -> State:
        """Nobody has come yet."""
        return (self.table(self.size.empty), *(self._newcomer for _ in range(self.size.participants)))

    # --- steps -------------------------------------------------------------------

    def steps(self, state: State) -> Iterator[Step]:
        """Yield all that can happen next."""
        table = state[0]
        for who in range(self.size.participants):
            for story, table_after, part_after, breach in self.own_steps(who, table, state[1 + who]):
                yield who, story, (table_after, *state[1 : 1 + who], part_after, *state[2 + who :]), breach
            if self._is_forgotten(who, state):
                yield who, "is replaced by a newcomer", _with(state, who, self._newcomer), ""
        yield -1, "a tick passes", self.later(state), ""
        if self.size.has_refusals:
            yield -1, "the time of the cap is over", self._without_cap(state), ""
        if self.size.has_losses:
            yield -1, "the item is lost, and made anew with every slot shut", self._rebuilt(state), ""

    def own_steps(self, who: int, table: int, part: int) -> list[tuple[str, int, int, str]]:
        """Return all that one participant or its requests can do next."""
        known = self._steps.get((who, table, part))
        if known is None:
            moves = self.moves.of(who, self.tables[table], self.parts[part])
            known = [(one.story, self.table(one.table), self.part(one.part), one.breach) for one in moves]
            known = [one for one in known if one[1:3] != (table, part) or one[3]]
            self._steps[who, table, part] = known
        return known

    def later(self, state: State) -> State:
        """Return the state a tick later."""
        if state[0] not in self._later_tables:
            self._later_tables[state[0]] = self.table(later(self.tables[state[0]], self.size))
        for part in state[1:]:
            if part not in self._later_parts:
                self._later_parts[part] = self.part(part_later(self.parts[part], self.size))
        return (self._later_tables[state[0]], *(self._later_parts[part] for part in state[1:]))

    def _without_cap(self, state: State) -> State:
        """Return the state after a time that is long for a cap; nothing else needs to have become older for it."""
        table = self.table(lapsed(self.tables[state[0]]))
        return (table, *(self.part(part_lapsed(self.parts[part])) for part in state[1:]))

    def _rebuilt(self, state: State) -> State:
        """Return the state after one that knew the item has found it gone (`Pool.open`); the others know nothing."""
        table = self.table(self.moves.decisions.rebuilt(self.tables[state[0]]))
        return (table, *(self.part(self.parts[part]._replace(entry=0, age=0)) for part in state[1:]))

    def _is_forgotten(self, who: int, state: State) -> bool:
        """Tell whether nothing in the world is left of one that is gone, but for requests that may be lost."""
        part = self.parts[state[1 + who]]
        if part.phase not in {LEFT, VANISHED} or part.entry or any(call.left for call in part.calls):
            return False
        if any(slot and slot[0] == who for slot in self.tables[state[0]].slots):
            return False
        return not any(mentions(self.parts[one], who) for at, one in enumerate(state[1:]) if at != who)

    def pruned(self, state: State) -> State:
        """Return the state without writes that can only fail."""
        if not self.size.drops_dead_writes:
            return state
        for who, part in enumerate(state[1:]):
            if not self._asks[part]:
                continue
            key = (state[0], part, *(self._made[one] for one in state[1:]))
            left = self._pruned.get(key)
            if left is None:
                made_by_all = frozenset().union(*(made(self.parts[one]) for one in state[1:]))
                left = self.part(without_hopeless(self.parts[part], self.tables[state[0]], made_by_all, self.size))
                self._pruned[key] = left
            if left != part:
                return self.pruned(_with(state, who, left))
        return state

    # --- alike states --------------------------------------------------------------

    def canonical(self, state: State) -> tuple[State, int]:
        """Return the one form of all states that differ in names only, and which order gives it."""
        best, place = state, 0
        for order in range(1, len(self._orders)):
            other = self.in_order(state, order)
            if other < best:
                best, place = other, order
        return best, place

    def in_order(self, state: State, order: int) -> State:
        """Return the state with the participants named anew: who was *i* becomes the order's *i*-th number."""
        names = self._orders[order]
        tables, parts = self._renamed_tables[order], self._renamed_parts[order]
        if state[0] not in tables:
            tables[state[0]] = self.table(renamed(self.tables[state[0]], names))
        moved = [0] * len(names)
        for who, part in enumerate(state[1:]):
            if part not in parts:
                parts[part] = self.part(part_renamed(self.parts[part], names))
            moved[names[who]] = parts[part]
        return (tables[state[0]], *moved)

    # --- laws ----------------------------------------------------------------------

    def breach(self, state: State) -> str:
        """Return which law a state breaks; empty: none."""
        taken = 0
        for part in state[1:]:
            if taken & self._counted[part]:
                return "I1: the upstream counts two calls on one slot"
            taken |= self._counted[part]
        return self._stuck(state)

    def _stuck(self, state: State) -> str:
        """I2: no slot is tied to one who is gone for longer than it may be, or who left in order."""
        for slot in self.tables[state[0]].slots:
            if not slot or slot[0] == SHUT:
                continue
            part = self.parts[state[1 + slot[0]]]
            if part.phase == LEFT and not self.size.has_repeats:
                return "I2: a slot is tied to one that has left in order"
            if part.phase == VANISHED and self.size.counts_absence:
                longest = self.size.times.lease_ms + max(0, *self.size.estimates) - part.absence
                if slot[1] > max(longest, self.size.floor):
                    return "I2: a slot is tied to a vanished participant for longer than a lease"
        return ""

    # --- the search ------------------------------------------------------------------

    def search(self, state_max: int = 100_000_000) -> Finding:
        """See every state, or find the first breach."""
        started = time.process_time()
        first = self.canonical(self.first)[0]
        seen = {self._packed(first): 0}
        states = [self._packed(first)]
        parents = array("q", [-1])
        self.seen, self.states, self.parents = seen, states, parents
        delayed = self._delayed.__getitem__
        at = 0
        while at < len(states) and len(states) < state_max:
            state = self.unpacked(states[at])
            for _, _, after, broken in self.steps(state):
                if sum(map(delayed, after[1:])) > self.size.delayed_max:
                    continue
                form = self._packed(self.canonical(self.pruned(after))[0])
                is_new = form not in seen
                if is_new:
                    seen[form] = len(states)
                    states.append(form)
                    parents.append(at)
                breach = broken or (self.breach(after) if is_new else "")
                if breach:
                    story = self._story(at, form, breach)
                    return Finding(len(states), time.process_time() - started, breach=breach, story=story)
            at += 1
        return Finding(len(states), time.process_time() - started, is_exhausted=at == len(states))

    def _packed(self, state: State) -> int:
        number = 0
        for part in state:
            number = number << BITS | part
        return number

    def unpacked(self, number: int) -> State:
        """Return the state that is written as one number."""
        parts = []
        for _ in range(1 + self.size.participants):
            parts.append(number & (1 << BITS) - 1)
            number >>= BITS
        return tuple(reversed(parts))

    def _story(self, at: int, last: int, breach: str) -> list[str]:
        """Tell the way to a breach, each participant under one name throughout."""
        way = [last]
        while at >= 0:
            way.append(self.states[at])
            at = self.parents[at]
        way.reverse()
        names = list(NAMES[: self.size.participants])
        lines: list[str] = []
        for before, after in pairwise(way):
            is_last = len(lines) == len(way) - 2
            who, story, order = self._step_between(self.unpacked(before), after, breach if is_last else "")
            lines.append(story if who < 0 else f"{names[who]}{'' if story.startswith(chr(39)) else ' '}{story}")
            moved = names.copy()
            for number, name in enumerate(names):
                moved[self._orders[order][number]] = name
            names = moved
        return lines

    def _step_between(self, before: State, after: int, breach: str) -> tuple[int, str, int]:
        for who, story, state, broken in self.steps(before):
            form, order = self.canonical(self.pruned(state))
            if self._packed(form) == after and (not breach or breach in {broken, self.breach(state)}):
                return who, story, order
        raise AssertionError("a state that was reached has a way to it")


def _with(state: State, who: int, part: int) -> State:
    return (*state[: 1 + who], part, *state[2 + who :])


def _delayed(part: Part) -> int:
    """Return how much of a participant is late: requests and replies on their way, and the snapshot that it goes by."""
    is_under_way = part.request is not None and part.request.entry[1] != HOPELESS
    goes_by_old = part.reply is not None or part.snapshot is not None  # a slow reply tells of an old state too
    return len(part.late) + is_under_way + goes_by_old + (part.old is not None)
