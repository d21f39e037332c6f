"""The laws of the pool (DESIGN, section 4), watched from beside the system at every event."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.simulation.upstream import Attempt
from tests.support.simulation.world import Machine, World
from volcengine_client.errors import UpstreamTimeoutError, VolcengineError
from volcengine_client.limits import ATTEMPTS_MAX, QUEUE_MAX, PoolTimes
from volcengine_client.models import BatchResponse, TaskItem
from volcengine_client.pool.holder import Holder
from volcengine_client.pool.slots import SHUT, Entry, PoolState, Slot
from volcengine_client.speech.speech import Speech

LATE_MS = 30  # how late an answer may be for rounding and the end of tasks
SLACK_MS = 20  # of checks on the table's time: drift, and milliseconds cut off


@dataclass(eq=False)
class Batch:
    """A batch as its caller sees it."""

    name: str
    machine: Machine
    tasks: Sequence[TaskItem]
    began_at_ms: float
    deadline_at_ms: int | None  # on the machine's clock
    frozen_ms_before: float
    speeches: dict[str, Speech] = field(default_factory=dict)
    is_over: bool = False


@dataclass(eq=False)
class Telling:
    """What is known of one text's attempts."""

    attempt_count: int = 0
    is_trying: bool = False
    is_final: bool = False  # spoken, or refused for good


class Laws:
    """Whoever breaks a law is written down; the first breach ends the run.

    Attributes:
        breaches: What was found.
        gone: Participants that have left in order.
        holders: Every participant that ever was, by id, and the machine it lives on.
    """

    def __init__(
        self,
        world: World,
        *,
        times: PoolTimes,
        date_error_ms: float,
        pause_error_ms: float,
        queue_max: int,
        has_proof: bool = True,
    ) -> None:
        self.has_proof = has_proof
        self.breaches: list[str] = []
        self.holders: dict[str, tuple[Machine, Holder]] = {}
        self.gone: set[str] = set()
        self._haunted: set[str] = set()  # whom a repeated join brought back, and what was late with it
        self.batches: list[Batch] = []
        self.item: PoolState | None = None
        self.under_way: list[Attempt] = []
        self._world = world
        self._times = times
        self._date_error_ms = date_error_ms
        self._queue_max = queue_max
        self._slow_error_ms = date_error_ms + pause_error_ms + SLACK_MS
        self._limits: list[tuple[float, int]] = []  # since when, how high
        self._tellings: dict[str, Telling] = {}

    @property
    def has_haunted(self) -> bool:
        """Whether a repeated join brought back one that had left: it may hold slots until its old leases end."""
        return bool(self._haunted & self.gone)

    def breach(self, law: str) -> None:
        """Write a breach down."""
        self._world.tell("the laws", f"BREACH {law}")
        self.breaches.append(law)

    def _hold(self, claim: bool, law: str) -> None:
        if not claim:
            self.breach(law)

    def _prove(self, claim: bool, step: str) -> None:
        """Hold what the protocol's proof rests on; it may break unseen long before a law does."""
        if not claim and self.has_proof:
            self.breach(f"proof: {step}")

    # --- calls ------------------------------------------------------------------

    def call_may_start(self, text: str) -> None:
        """I8: nothing is bought that was bought, nor twice at once."""
        telling = self._tellings.setdefault(text, Telling())
        self._hold(not telling.is_trying, f"I8: {text} is spoken twice at once")
        self._hold(not telling.is_final, f"I8: {text} is bought again after its end")
        telling.is_trying = True

    def call_ended(self, text: str, outcome: Speech | BaseException) -> None:
        """Remember what the caller was told, and that it must be in the answer (I5, I8)."""
        telling = self._tellings[text]
        telling.is_trying = False
        is_attempt = isinstance(outcome, Speech) or (
            isinstance(outcome, VolcengineError) and outcome.code != "lease_lost"
        )
        telling.attempt_count += is_attempt
        self._hold(telling.attempt_count <= ATTEMPTS_MAX, f"I8: {text} is tried {telling.attempt_count} times")
        if isinstance(outcome, UpstreamTimeoutError | asyncio.CancelledError):
            self._world.befell["in doubt"] += 1
        if isinstance(outcome, Speech):
            telling.is_final = True
            self._batch_of(text).speeches[text] = outcome
        elif isinstance(outcome, VolcengineError) and not outcome.retryable:
            telling.is_final = True

    def call_ready(self, attempt: Attempt) -> None:
        """I1: the slot is the caller's, no other call is under way on it, and its lease covers the whole call."""
        self._world.tell(attempt.who.name, f"slot {attempt.number}: {attempt.holder_id} sends {attempt.text}")
        self.under_way = [one for one in self.under_way if not one.is_over]
        for other in self.under_way:
            are_apart = other.number != attempt.number
            self._prove(are_apart, f"two calls on slot {attempt.number}: {other.text} and {attempt.text}")
        self.under_way.append(attempt)
        slot = None if self.item is None else self.item.slots.get(attempt.number)
        is_own = slot is not None and slot.holder_id == attempt.holder_id
        self._prove(is_own, f"a call on slot {attempt.number}, which is not {attempt.holder_id}'s but {slot}")
        if slot is not None and is_own:
            left_ms = slot.expires_at_ms - self._world.unix_ms
            needed_ms = self._times.upstream_call_max_ms + self._times.skew_ms - self._slow_error_ms
            self._prove(left_ms >= needed_ms, f"a call begins with {left_ms:.0f} ms of its lease left")
        self.judge_clock(attempt.holder_id)
        height = self._limit_lately()
        self._prove(attempt.number < height, f"a call on slot {attempt.number} under a limit of {height}")

    def judge_clock(self, holder_id: str) -> None:
        """What a participant knows of the table's clock holds the truth, as far as replies say it."""
        pool = self.holders[holder_id][1].pool
        lo_ms, hi_ms = pool.now_lo_ms(), pool.now_hi_ms()
        if lo_ms is None or hi_ms is None:
            return
        behind_ms, ahead_ms = self._world.unix_ms - hi_ms, lo_ms - self._world.unix_ms
        self._prove(behind_ms <= self._slow_error_ms, f"{holder_id} is {behind_ms:.0f} ms behind the table")
        self._prove(ahead_ms <= self._date_error_ms + SLACK_MS, f"{holder_id} is {ahead_ms:.0f} ms ahead of the table")

    def call_counted(self, attempt: Attempt) -> None:
        """I1: the upstream is never at work on more calls than the limit."""
        self._world.tell(attempt.who.name, f"slot {attempt.number}: the upstream begins {attempt.text}")
        count = sum(one.is_counted for one in self.under_way if not one.is_over)
        height = self._limit_lately()
        self._hold(count <= height, f"I1: {count} calls in progress under a limit of {height}")

    def _limit_lately(self) -> int:
        """Return the highest limit in force within the life of a lease: who does not know of a lower one yet ends."""
        since_ms = self._world.now_ms - self._times.lease_ms - self._times.skew_ms
        height = 0
        for index, (_, limit) in enumerate(self._limits):
            until_ms = self._limits[index + 1][0] if index + 1 < len(self._limits) else self._world.now_ms
            if until_ms >= since_ms:
                height = max(height, limit)
        return height

    # --- the item -----------------------------------------------------------------

    def item_made(self, state: PoolState) -> None:
        """Look at an item just created."""
        self.item = state
        self._note_limit(state)

    def item_changed(self, who: Machine, before: PoolState, after: PoolState, *, is_repeat: bool) -> None:
        """Judge a write: it grew the item by one, and touched only what was its writer's or free."""
        self.item = after
        self._note_limit(after)
        self._prove(after.rev == before.rev + 1, f"rev went from {before.rev} to {after.rev}")
        for key in before.queue.keys() | after.queue.keys():
            seen, own = before.queue.get(key), after.queue.get(key)
            if seen != own:
                self._judge_entry(who, key, seen, own, before)
                is_ghost = own is not None and key in self.gone and own.want > 0 and self._is_live(own)
                self._haunted |= {key} if is_repeat and own is not None else set()
                is_excused = is_repeat or key in self._haunted
                self._hold(is_excused or not is_ghost, f"I2: {key} has left and waits as a ghost")
        for number in before.slots.keys() | after.slots.keys():
            old, new = before.slots.get(number), after.slots.get(number)
            if old != new:
                self._judge_slot(who, number, old, new)
                is_ghost = new is not None and new.holder_id in self.gone and new.expires_at_ms > self._world.unix_ms
                is_excused = is_repeat or (new is not None and new.holder_id in self._haunted)
                self._hold(is_excused or not is_ghost, f"I2: slot {number} is tied to one that has left")
        count = max((limit for _, limit in self._limits), default=0)
        self._prove(all(0 <= number < count for number in after.slots), f"slots {sorted(after.slots)} of {count}")

    def _note_limit(self, state: PoolState) -> None:
        assert state.limit is not None
        if state.cap is not None:
            self._world.befell["cap"] += 1
        if self._limits and self._limits[-1][1] != state.limit.n:
            self._world.befell["lower limit" if state.limit.n < self._limits[-1][1] else "higher limit"] += 1
        if not self._limits or self._limits[-1][1] != state.limit.n:
            self._limits.append((self._world.now_ms, state.limit.n))

    def _judge_slot(self, who: Machine, number: int, old: Slot | None, new: Slot | None) -> None:
        is_own = old is not None and self._lives_on(old.holder_id, who)
        if old is not None and not is_own:
            self._world.befell["taken over"] += 1
            free_at_ms = old.expires_at_ms + self._times.skew_ms + self._times.send_max_ms - self._date_error_ms
            late_ms = self._world.unix_ms - free_at_ms
            self._prove(late_ms >= -SLACK_MS, f"{who.name} takes slot {number} {-late_ms:.0f} ms early")
        if new is not None:
            self._world.befell["shut"] += new.holder_id == SHUT
            is_writers = new.holder_id == SHUT or self._lives_on(new.holder_id, who)
            self._prove(is_writers, f"{who.name} gives slot {number} to {new.holder_id}")
            ahead_ms = new.expires_at_ms - self._world.unix_ms
            bound_ms = self._times.lease_ms + self._date_error_ms + SLACK_MS
            bound_ms += 1_500 if new.holder_id == SHUT else 0
            self._hold(ahead_ms <= bound_ms, f"I2: slot {number} is tied for {ahead_ms:.0f} ms to come")
        holder_id = None if new is None else new.holder_id
        if holder_id == SHUT or (old is not None and old.holder_id == holder_id):
            return
        for call in self.under_way:
            is_apart = call.number != number or call.is_over or call.holder_id == holder_id
            self._prove(is_apart, f"slot {number} goes to {holder_id} while {call.text} is under way on it")

    def _judge_entry(self, who: Machine, key: str, seen: Entry | None, own: Entry | None, before: PoolState) -> None:
        if own is not None:
            self._prove(self._lives_on(key, who), f"{who.name} writes the entry of {key}")
            is_newer = seen is None or own.revision > seen.revision
            self._prove(is_newer, f"{key} went back to revision {own.revision}")
        elif seen is not None and not self._lives_on(key, who):
            is_gone = seen.expires_at_ms + self._times.skew_ms - self._date_error_ms <= self._world.unix_ms + SLACK_MS
            # The queue was full when its writer looked; the one who gives way may have left a tombstone, and no slot.
            is_evicted = self._queue_max < QUEUE_MAX and not before.held_by(key)
            self._prove(is_gone or is_evicted, f"{who.name} removes the living entry of {key}")

    def _is_live(self, entry: Entry) -> bool:
        return entry.expires_at_ms > self._world.unix_ms

    def _lives_on(self, holder_id: str, machine: Machine) -> bool:
        known = self.holders.get(holder_id)
        return known is not None and known[0] is machine

    # --- batches ------------------------------------------------------------------

    def batch_began(self, batch: Batch) -> None:
        """Remember a batch, so that nobody forgets it."""
        self.batches.append(batch)
        self._world.tell(batch.machine.name, f"batch {batch.name} of {len(batch.tasks)} begins")

    def batch_ended(self, batch: Batch, response: BatchResponse | None) -> None:
        """I3, I4, I5: every task has its own outcome, in order and in time; what was spoken is in it."""
        batch.is_over = True
        self._world.tell(batch.machine.name, f"batch {batch.name} ends")
        if response is None:
            return
        names = [task.task_id for task in batch.tasks]
        self._hold([result.task_id for result in response.results] == names, f"I3: {batch.name} is out of order")
        for task, result in zip(batch.tasks, response.results, strict=False):
            audio = base64.b64decode(result.audio_base64)
            self._hold(bool(audio) != (result.error is not None), f"I4: {task.text} has neither audio nor error")
            self._hold(not audio or audio == task.text.encode(), f"I3: {task.text} has the audio of {audio!r}")
            is_told = result.error is None or (bool(result.error.code) and bool(result.error.message))
            self._hold(is_told, f"I4: the error of {task.text} says nothing")
            self._hold(bool(audio) or task.text not in batch.speeches, f"I5: {task.text} was spoken and is not told")
        self._judge_time(batch)

    def _judge_time(self, batch: Batch) -> None:
        if batch.deadline_at_ms is None:
            return
        machine = batch.machine
        late_ms = machine.monotonic_ms() - batch.deadline_at_ms
        thawed_ago_ms = self._world.now_ms - machine.thawed_at_ms
        is_excused = machine.frozen_ms > batch.frozen_ms_before and thawed_ago_ms <= LATE_MS
        self._hold(late_ms <= LATE_MS or is_excused, f"I5: {batch.name} ends {late_ms} ms after its deadline")

    def _batch_of(self, text: str) -> Batch:
        name = text.partition("-")[0]
        return next(batch for batch in self.batches if batch.name == name)
