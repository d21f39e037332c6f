"""One schedule, played to its end under the laws."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.support.simulation.actors import ACTORS, Actor, RecordingHolder
from tests.support.simulation.laws import Batch, Laws
from tests.support.simulation.schedule import BatchPlan, Chaos, Plan, Strike
from tests.support.simulation.table import CALM, SimulatedTable, Weather
from tests.support.simulation.upstream import Mood, SimulatedUpstream
from tests.support.simulation.world import Event, Freeze, Machine, ViolationError, World
from volcengine_client import batch as batch_module
from volcengine_client.limits import QUEUE_MAX, TICK_MS
from volcengine_client.pool import plan as plan_module
from volcengine_client.pool import share as share_module
from volcengine_client.pool import sight as sight_module
from volcengine_client.pool.holder import Holder
from volcengine_client.pool.slots import Limit, is_free

# Times here are small.
CALL_TIME_FIRST_MS = 700  # how long a call is thought to take before any was seen
QUANTUM_MS = 500  # how long a holder keeps a slot that an equal waits for
CALM_MS = 150_000  # within which all must be served once nothing is wrong any more
PROBE_PACE_MS = 50  # how often the next in line looks then
AUDIT_MS = 250  # how often it is looked for slots that nobody uses though somebody waits
UNUSED_MS = 3_000  # how long that may be


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a schedule."""

    seed: int
    breaches: tuple[str, ...]
    story: tuple[Event, ...]
    call_count: int
    virtual_ms: float
    befell: Counter[str]


class Stage:
    """The world of one plan, set up."""

    def __init__(self, plan: Plan, *, has_proof: bool = True, newcomers_weather: Weather = CALM) -> None:
        self.plan = plan
        self.newcomers_weather = newcomers_weather
        self.world = World()
        self.laws = Laws(
            self.world,
            times=plan.times,
            date_error_ms=plan.date_error_ms,
            pause_error_ms=plan.pause_error_ms,
            queue_max=plan.queue_max,
            has_proof=has_proof,
        )
        self.table = SimulatedTable(
            self.world, self.laws, resolution_ms=plan.resolution_ms, date_error_ms=plan.date_error_ms
        )
        self.upstream = SimulatedUpstream(self.world, self.laws, Random(f"up {plan.seed}"), times=plan.times)
        self.upstream.mood = plan.mood
        self.upstream.allowed = plan.allowed
        self.actors = [Actor(self, number) for number in range(len(plan.machines))]
        self.is_calm = False
        self._unused_since: dict[str, float] = {}

    def play(self) -> None:
        """Play all of the plan, then let it become calm, and see that everyone is served."""
        world, plan = self.world, self.plan
        for strike in plan.strikes:
            world.after(strike.at_ms, lambda strike=strike: self._strike(strike))  # type: ignore[misc]
        world.after(plan.faults_end_ms, self._calm_down)
        for actor in self.actors:
            actor.begin()
        end_ms = plan.faults_end_ms + CALM_MS
        world.run(lambda: bool(self.laws.breaches) or (self.is_calm and self._is_all_over()), end_ms=end_ms)
        if not self.laws.breaches and not self._is_all_over():
            names = [batch.name for batch in self.laws.batches if not self._is_settled(batch)]
            self.laws.breach(f"I2: {names} are not served {CALM_MS} ms after all faults ended")
        if not self.laws.breaches:
            self._probe()

    def _is_all_over(self) -> bool:
        return all(actor.is_over for actor in self.actors)

    @staticmethod
    def _is_settled(batch: Batch) -> bool:
        return batch.is_over or batch.machine.is_dead

    def _strike(self, strike: Strike) -> None:
        self.world.befell[strike.kind.name] += 1
        actor = self.actors[strike.machine]
        machine = actor.machine
        match strike.kind:
            case Chaos.FREEZE:
                machine.strike_after(strike.steps, lambda: self._freeze(machine, strike))
            case Chaos.KILL:
                machine.strike_after(strike.steps, machine.kill)
            case Chaos.CANCEL:
                machine.strike_after(strike.steps, actor.cancel)
            case Chaos.WALL if machine.frozen is None and self.world.now_ms - machine.thawed_at_ms > TICK_MS:
                # Set by as much in the moment of a suspension it would hide it, and nothing on the machine could tell.
                machine.set_wall(strike.amount)
            case Chaos.OUTAGE:
                self.table.is_out = True
                self.world.tell("the world", "the table goes out")
                self.world.after(strike.duration_ms, self._end_outage)
            case Chaos.CUT:
                actor.way.is_cut = True
                self.world.tell(machine.name, "its way to the table is cut")
                self.world.after(strike.duration_ms, actor.mend)
            case Chaos.FOREIGN:
                self.world.tell("the world", f"somebody else has {strike.amount} calls")
                self.upstream.mood = replace(self.upstream.mood, foreign_count=strike.amount)

    def _freeze(self, machine: Machine, strike: Strike) -> None:
        if machine.is_running and not self.is_calm:
            machine.freeze(strike.how)
            self.world.after(strike.duration_ms, lambda: machine.thaw(strike.how))

    def _end_outage(self) -> None:
        self.table.is_out = False

    def _calm_down(self) -> None:
        """Make right all that is wrong; clocks stay as they are."""
        self.world.tell("the world", "all faults end")
        self.is_calm = True
        self.table.is_out = False
        self.upstream.mood = Mood()
        for actor in self.actors:
            actor.way.weather = CALM
            actor.way.is_cut = False
            actor.machine.strike_after(1 << 40, lambda: None)
            if actor.machine.frozen is Freeze.STOPPED and not actor.is_between:
                actor.machine.thaw(Freeze.STOPPED)
        self.world.after(AUDIT_MS, self._audit)

    def _audit(self) -> None:
        """I2, I7: no slot stays unused beside one who waits for it."""
        self.world.after(AUDIT_MS, self._audit)
        seen = set(self._unused())
        self._unused_since = {key: self._unused_since.get(key, self.world.now_ms) for key in seen}
        for key, since_ms in self._unused_since.items():
            if self.world.now_ms - since_ms > UNUSED_MS and not self.laws.breaches:
                self.laws.breach(f"I2: {key} for {self.world.now_ms - since_ms:.0f} ms")

    def _unused(self) -> Iterator[str]:
        state = self.table.state
        if state is None or state.limit is None:
            return
        now_ms = int(self.world.unix_ms - self.plan.date_error_ms - self.plan.resolution_ms)
        living = [
            holder for machine, holder in self.laws.holders.values() if machine.is_running and not holder._is_leaving
        ]
        idle = {n for holder in living for n in state.held_by(holder.holder_id) if _is_idle(holder, n)}
        free = {n for n in range(state.limit.n) if is_free(state.slots.get(n), now_lo_ms=now_ms, times=self.plan.times)}
        is_full = len(state.queue) >= self.plan.queue_max
        for holder in living:
            if is_full and holder.holder_id not in state.queue:
                continue  # it has to wait outside
            if holder._next_waiter() is not None and holder.pool.is_open:
                view = holder._view()
                for number in sorted(free | idle):
                    if view.missing and number < view.height and number not in holder._drained_at_ms:
                        yield f"slot {number} stays unused beside {holder.holder_id}"

    def _probe(self) -> None:
        """I2, I7: after all this a newcomer gets every slot there is, and yields to the next newcomer."""
        state = self.table.state
        if state is None or state.limit is None:
            return
        limit, long_ms = state.limit, float(self.plan.times.upstream_call_max_ms)
        self.upstream.mood = Mood(call_ms=300, spread=0)
        first = self._newcomer("first", limit, task_count=50 * limit.n)
        bound_ms = self.plan.times.recovery_ms + QUANTUM_MS + 2 * long_ms
        self._run_until(lambda: self._has_all(first) or first.is_over, bound_ms)
        if self.table.state is not None and self.table.state.cap is not None:  # one of before may have come late, too
            self._run_until(lambda: self._has_all(first) or first.is_over, bound_ms + 12_000 * limit.n)
        if not self._has_all(first) and not first.is_over:
            self._breach(f"I2: a newcomer has not got all {limit.n} slots after {bound_ms:.0f} ms")
        if self.plan.queue_max < QUEUE_MAX:
            return  # then a newcomer of the same app may have to wait outside
        last = self._newcomer("last", limit, task_count=1, weather=self.newcomers_weather)
        bound_ms = QUANTUM_MS + 3_000
        self._run_until(lambda: last.is_over, bound_ms)
        if self.laws.has_haunted:
            self._run_until(lambda: last.is_over, bound_ms + self.plan.times.recovery_ms)
        if not last.is_over:
            self._breach(f"I7: a newcomer with one task is not served within {bound_ms} ms")

    def _has_all(self, actor: Actor) -> bool:
        """Tell whether one machine holds every slot; a write from before, come late, may have set another limit."""
        state = self.table.state
        assert state is not None
        assert state.limit is not None
        holders = [key for key, (machine, _) in self.laws.holders.items() if machine is actor.machine]
        return sum(len(state.held_by(key)) for key in holders) >= state.limit.n

    def _run_until(self, is_done: Callable[[], bool], bound_ms: float) -> None:
        self.world.run(lambda: bool(self.laws.breaches) or is_done(), end_ms=self.world.now_ms + bound_ms)

    def _breach(self, law: str) -> None:
        if not self.laws.breaches:
            self.laws.breach(law)

    def _newcomer(self, name: str, limit: Limit, *, task_count: int, weather: Weather = CALM) -> Actor:
        """Let one more machine come, with one batch, in calm."""
        number = len(self.plan.machines)
        machine = replace(self.plan.machines[0], is_function=False, weather=weather, pace_ms=PROBE_PACE_MS)
        batch = BatchPlan(
            name=name,
            machine=number,
            at_ms=0,
            task_ids=tuple(f"t{n}" for n in range(task_count)),
            limit=limit,
            hold_max=limit.n,
            app="x",
            weight=1,
            is_background=False,
            deadline_ms=None,
            answer_bytes_max=None,
        )
        self.plan = replace(self.plan, machines=(*self.plan.machines, machine), batches=(*self.plan.batches, batch))
        actor = Actor(self, number)
        actor.begin()
        return actor


def _is_idle(holder: Holder, number: int) -> bool:
    return number not in holder._busy and number not in holder._drained_at_ms and holder._next_waiter() is None


@contextmanager
def _staged(plan: Plan) -> Iterator[None]:
    """Let every participant be known to the laws, all chance come from the seed, and times be small."""
    parts = (
        (batch_module, "Holder", RecordingHolder),
        (sight_module, "CALL_TIME_FIRST_MS", CALL_TIME_FIRST_MS),
        (share_module, "FIRST_QUANTUM_MS", QUANTUM_MS),
        (share_module, "QUANTUM_MS", QUANTUM_MS),
        (plan_module, "QUEUE_MAX", plan.queue_max),
    )
    kept = [getattr(owner, name) for owner, name, _ in parts]
    before = random.getstate()
    random.seed(plan.seed)
    for owner, name, value in parts:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(parts, kept, strict=True):
            setattr(owner, name, value)
        random.setstate(before)


def run(
    plan: Plan,
    mutant: AbstractContextManager[Any] | None = None,
    *,
    has_proof: bool = True,
    newcomers_weather: Weather = CALM,
) -> Outcome:
    """Play a plan; with a *mutant*, on code that was broken on purpose."""
    with _staged(plan), mutant or nullcontext():
        stage = Stage(plan, has_proof=has_proof, newcomers_weather=newcomers_weather)
        try:
            stage.play()
        except (ViolationError, AssertionError) as error:
            if not stage.laws.breaches:
                stage.laws.breach(f"bug: {error!r}")
        finally:
            stage.world.close()
            ACTORS.clear()  # they know their machines, which would live for ever
    return Outcome(
        plan.seed,
        tuple(stage.laws.breaches),
        tuple(stage.world.story),
        sum("sends" in event.what for event in stage.world.story),
        stage.world.now_ms,
        stage.world.befell,
    )
