"""One world in virtual time: machines with event loops and clocks of their own, and what happens between them.

Each machine runs real asyncio code on its own event loop, whose time is that machine's monotonic clock. So a machine
can be frozen, thawed and killed between any two callbacks while the others go on, and every time-out of its code
follows its own wrong clock. Nothing here sleeps: the world jumps to whatever comes next.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_MS = 1_800_000_000_000  # where true time begins, Unix milliseconds
STEPS_AT_ONCE_MAX = 20_000  # callbacks without time passing; more is a loop that waits for nothing
EARLY_S = 1e-6  # a timer this close counts as due, as with the clock resolution of a real loop


class ViolationError(Exception):
    """A law does not hold in this world."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a story."""

    at_ms: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at_ms:10.1f}  {self.who:<9} {self.what}"


class Freeze(Enum):
    """What stands still while a machine is frozen, besides its code."""

    STOPPED = auto()  # nothing else: a stopped process, whose clocks go on
    SUSPENDED = auto()  # the monotonic clock; the wall clock is right again afterwards
    PARKED = auto()  # both clocks, as between two invocations of a function


class World:
    """True time, what is to happen in it, and what did."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.machines: list[Machine] = []
        self.story: list[Event] = []
        self.befell: Counter[str] = Counter()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def unix_ms(self) -> float:
        """What a perfect clock shows."""
        return EPOCH_MS + self.now_ms

    def tell(self, who: str, what: str) -> None:
        """Add a line to the story."""
        self.story.append(Event(self.now_ms, who, what))

    def after(self, delay_ms: float, happen: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now_ms + max(0.0, delay_ms), next(self._numbers), happen))

    def run(self, until: Callable[[], bool], *, end_ms: float) -> None:
        """Let time pass until *until* holds or nothing more can happen before *end_ms*."""
        while not until():
            self._settle()
            if until():
                return
            at_ms = min([self._events[0][0]] if self._events else [end_ms], default=end_ms)
            for machine in self.machines:
                at_ms = min(at_ms, machine.wakes_at_ms())
            if at_ms >= end_ms:
                self.now_ms = end_ms
                return
            self.now_ms = max(self.now_ms, at_ms)
            while self._events and self._events[0][0] <= self.now_ms:
                heapq.heappop(self._events)[2]()
            for machine in self.machines:
                machine.loop.fire_due()

    def _settle(self) -> None:
        """Run all code that is ready now."""
        steps = 0
        is_moving = True
        while is_moving:
            is_moving = False
            for machine in self.machines:
                count = machine.run_ready()
                steps += count
                is_moving |= count > 0
            if steps > STEPS_AT_ONCE_MAX:
                raise ViolationError("I2: code runs for ever without waiting")

    def close(self) -> None:
        """End all that still runs, on every machine, and hear no more of it."""
        for machine in self.machines:
            machine.loop.end_all()


class MachineLoop(asyncio.BaseEventLoop):
    """A machine's event loop; its time is the machine's monotonic clock."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []
        self.is_quiet = False

    def time(self) -> float:
        return self._machine.monotonic_s()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to count: a cancelled timer is dropped when its time comes."""

    def create_task(self, coro: Coroutine[Any, Any, T], **rest: Any) -> asyncio.Task[T]:  # type: ignore[override]
        task: asyncio.Task[T] = super().create_task(coro, **rest)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_quiet:
            error = context.get("exception")
            raise ViolationError(f"bug: {context.get('message')} {error!r}") from error

    def wakes_at_s(self) -> float | None:
        """Return when the next timer is due, on this machine's clock."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def fire_due(self) -> None:
        """Make callbacks ready whose time has come."""
        if not self._machine.is_running:
            return
        now_s = self.time() + EARLY_S
        while self._timers and self._timers[0][0] <= now_s:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled():
                self._soon.append(timer)

    def step(self) -> bool:
        """Run one callback; False when none is ready."""
        while self._soon:
            handle = self._soon.popleft()
            if not handle.cancelled():
                asyncio._set_running_loop(self)
                try:
                    handle._run()
                finally:
                    asyncio._set_running_loop(None)
                return True
        return False

    def end_all(self) -> None:
        """Cancel every task until none is left, whatever they do about it."""
        self.is_quiet = True
        self._machine.revive()
        for _ in range(50):
            running = [task for task in self._tasks if not task.done()]
            if not running:
                break
            for task in running:
                task.cancel()
            while self.step():
                pass
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self.close()


class Machine:
    """One process on a machine: its event loop, its clocks, and whether it runs.

    Args:
        world: Where it stands.
        name: In stories.
        rate: Of its monotonic clock, by which it is too fast.
        boot_ms: What its monotonic clock shows at first.
        wall_error_ms: How far its wall clock is ahead at first.
    """

    def __init__(self, world: World, name: str, *, rate: float, boot_ms: float, wall_error_ms: float) -> None:
        self.world = world
        self.name = name
        self.is_dead = False
        self.frozen: Freeze | None = None
        self.frozen_ms = 0.0  # in all, so far
        self.thawed_at_ms = 0.0
        self._rate = rate
        self._base_true_ms = world.now_ms
        self._base_ms = boot_ms
        self._wall_error_ms = wall_error_ms
        self._frozen_at_ms = 0.0
        self._steps_left: int | None = None
        self._then: Callable[[], None] | None = None
        self.loop = MachineLoop(self)
        world.machines.append(self)

    # --- clocks: this is also the `Clock` of the code under test ----------------

    def monotonic_s(self) -> float:
        return self._monotonic_now_ms() / 1_000

    def monotonic_ms(self) -> int:
        return int(self._monotonic_now_ms())

    def wall_ms(self) -> int:
        return int(self.world.unix_ms + self._wall_error_ms)

    async def sleep(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1_000)

    def set_wall(self, ahead_ms: float) -> None:
        """Set the wall clock, as a person or a time service does."""
        self.world.tell(self.name, f"its wall clock is set to be {ahead_ms / 1_000:.1f} s ahead")
        self._wall_error_ms = ahead_ms

    def _monotonic_now_ms(self) -> float:
        if self.frozen is not None and self.frozen in {Freeze.SUSPENDED, Freeze.PARKED}:
            return self._base_ms
        return self._base_ms + (self.world.now_ms - self._base_true_ms) * self._rate

    # --- life and death -----------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether its code runs."""
        return not self.is_dead and self.frozen is None

    def wakes_at_ms(self) -> float:
        """Return when its next timer is due, in true time; infinite when none is."""
        when_s = self.loop.wakes_at_s() if self.is_running else None
        if when_s is None:
            return float("inf")
        return self._base_true_ms + (when_s * 1_000 - self._base_ms) / self._rate

    def run_ready(self) -> int:
        """Run what is ready, until something stops it; return how many callbacks ran."""
        count = 0
        while self.is_running and count <= STEPS_AT_ONCE_MAX and self.loop.step():
            count += 1
            if self._steps_left is not None:
                self._steps_left -= 1
                if self._steps_left <= 0:
                    self._strike()
        return count

    def strike_after(self, steps: int, then: Callable[[], None]) -> None:
        """Let something befall this machine in the middle of its work: after so many callbacks more."""
        self._steps_left, self._then = steps, then
        if steps <= 0:
            self._strike()

    def _strike(self) -> None:
        then, self._steps_left, self._then = self._then, None, None
        if then is not None and not self.is_dead:
            then()

    def freeze(self, how: Freeze) -> None:
        """Let its code stand still; what arrives waits."""
        if self.is_running:
            self.world.tell(self.name, f"freezes ({how.name.lower()})")
            self._rebase()
            self.frozen, self._frozen_at_ms = how, self.world.now_ms

    def thaw(self, how: Freeze) -> None:
        """Let its code go on, if it is frozen so."""
        if self.frozen is not how or self.is_dead:
            return
        frozen_ms = self.world.now_ms - self._frozen_at_ms
        if self.frozen is Freeze.PARKED:
            self._wall_error_ms -= frozen_ms
        if self.frozen is Freeze.STOPPED:
            self._base_ms += frozen_ms * self._rate
        self._base_true_ms = self.thawed_at_ms = self.world.now_ms
        self.frozen = None
        self.frozen_ms += frozen_ms
        self.world.tell(self.name, f"thaws after {frozen_ms:.0f} ms")
        self.loop.fire_due()

    def _rebase(self) -> None:
        self._base_ms = self._monotonic_now_ms()
        self._base_true_ms = self.world.now_ms

    def kill(self) -> None:
        """Drop all that it does, without any clean-up."""
        if not self.is_dead:
            self.world.tell(self.name, "is killed")
            self.is_dead = True

    def revive(self) -> None:
        """Let its code run once more, so that it can be ended."""
        self.is_dead = False
        self.frozen = None

    def deliver(self, receive: Callable[..., object], *args: Any) -> None:
        """Hand something to its code: at once, when it thaws, or never."""
        if not self.is_dead:
            self.loop.call_soon(receive, *args)
