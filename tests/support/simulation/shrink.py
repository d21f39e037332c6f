"""A failing schedule made shorter, so that its story can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.support.simulation.schedule import Plan
from tests.support.simulation.table import CALM
from tests.support.simulation.upstream import Mood


def shortest(plan: Plan, is_broken: Callable[[Plan], bool]) -> Plan:
    """Return the plan without all that the breach does not need, as far as leaving out one thing at a time shows."""
    assert is_broken(plan)
    has_shrunk = True
    while has_shrunk:
        has_shrunk = False
        for smaller in _smaller(plan):
            if is_broken(smaller):
                plan, has_shrunk = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for index in range(len(plan.batches)):
        yield replace(plan, batches=plan.batches[:index] + plan.batches[index + 1 :])
    for index in range(len(plan.strikes)):
        yield replace(plan, strikes=plan.strikes[:index] + plan.strikes[index + 1 :])
    for index, machine in enumerate(plan.machines):
        calm = replace(machine, weather=CALM, drift_ppm=0.0, wall_error_ms=0.0)
        if calm != machine:
            yield replace(plan, machines=(*plan.machines[:index], calm, *plan.machines[index + 1 :]))
    if plan.mood != Mood():
        yield replace(plan, mood=Mood())
    if plan.date_error_ms:
        yield replace(plan, date_error_ms=0.0)
    for index, batch in enumerate(plan.batches):
        if len(batch.task_ids) > 1:
            fewer = replace(batch, task_ids=batch.task_ids[:-1])
            yield replace(plan, batches=(*plan.batches[:index], fewer, *plan.batches[index + 1 :]))
