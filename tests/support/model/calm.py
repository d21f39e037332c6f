"""From every state, when nothing goes wrong any more: is somebody served, and how soon? (I2)"""

from __future__ import annotations

from tests.support.model.search import Model, State
from tests.support.model.shape import IN, LEAVING

STEPS_MAX = 500  # of one participant after the other; more go round in a circle


class Calm:
    """What becomes of the states of a model when nothing goes wrong any more.

    Args:
        model: One whose states were searched.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._next: dict[tuple[int, int, int], tuple[int, int] | None] = {}
        self._ticks: dict[State, int] = {}

    def longest_ticks(self) -> int:
        """Return after how many ticks at most a living participant has a slot, from any state in which one lives."""
        model = self._model
        states = (model.unpacked(number) for number in model.states)
        living = (state for state in states if any(model.parts[one].phase == IN for one in state[1:]))
        return max(self._ticks_until_served(state) for state in living)

    def _ticks_until_served(self, state: State) -> int:
        way: list[tuple[State, int]] = []
        while state not in self._ticks:
            after, ticks = self._step(state)
            if after == state:
                self._ticks[state] = 0
                break
            way.append((state, ticks))
            assert len(way) < STEPS_MAX, "a living participant is served in the end"
            state = after
        ticks = self._ticks[state]
        for before, more in reversed(way):
            ticks += more
            self._ticks[before] = ticks
        return ticks

    def _step(self, state: State) -> tuple[State, int]:
        """Return what happens next, and how many ticks that takes; the state itself when somebody is served."""
        model = self._model
        if any(model.moves.holds_slot(who, model.parts[one]) for who, one in enumerate(state[1:])):
            return state, 0
        for who, one in enumerate(state[1:]):
            if model.parts[one].phase not in {IN, LEAVING}:
                continue
            after = self._own_step(who, state[0], one)
            if after is not None and after != (state[0], one):
                return (after[0], *state[1 : 1 + who], after[1], *state[2 + who :]), 0
        return model.later(state), 1

    def _own_step(self, who: int, table: int, part: int) -> tuple[int, int] | None:
        key = (who, table, part)
        if key not in self._next:
            after = self._model.moves.calm(who, self._model.tables[table], self._model.parts[part])
            self._next[key] = after and (self._model.table(after[0]), self._model.part(after[1]))
        return self._next[key]
