"""What a pool's item weighs in DynamoDB, what a request for it uses, and what that costs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from volcengine_client.pool.dynamodb import Value, _entry_value, _item_of, _slot_value
from volcengine_client.pool.slots import Entry, Limit, PoolState, Slot

WRITE_UNIT_BYTES = 1_024
READ_UNIT_BYTES = 4_096  # strongly consistent
ITEM_BYTES_MAX = 400 * 1_024
WRITE_UNITS_A_SECOND_MAX = 1_000  # a partition, so an item at most
READ_UNITS_A_SECOND_MAX = 3_000
# us-east-1, on demand, since November 2024; other regions differ.
DOLLARS_A_MILLION_WRITE_UNITS = 0.625
DOLLARS_A_MILLION_READ_UNITS = 0.125

NOW_MS = 1_800_000_123_457  # digits as most moments have them
BARE_BYTES = 60  # key, revision, limit and the names of the maps, about


def value_bytes(value: Value) -> int:
    """Return what DynamoDB counts for a value in typed JSON, by its documented rules."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            digits = content.lstrip("-0").rstrip("0")
            return (len(digits) + 1) // 2 + 1
        case "M":
            return 3 + sum(len(key.encode()) + value_bytes(inner) + 1 for key, inner in content.items())
    raise AssertionError(f"no value of a pool is of kind {kind}")


def item_bytes(pool: str, state: PoolState) -> int:
    """Return the size of the item as the adapter writes it."""
    item: Mapping[str, Value] = {"pool": {"S": pool}, **_item_of(state)}
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def quick_item_bytes(state: PoolState) -> int:
    """Return about the same, quickly: entries that were weighed before are not weighed again."""
    slots = sum(_slot_bytes(slot) for slot in state.slots.values())
    return BARE_BYTES + slots + sum(_entry_bytes(entry) for entry in state.queue.values())


@lru_cache(maxsize=65_536)
def _entry_bytes(entry: Entry) -> int:
    value = _entry_value(entry)
    assert value is not None
    return len("holder_8") + 1 + value_bytes(value)


@lru_cache(maxsize=65_536)
def _slot_bytes(slot: Slot) -> int:
    value = _slot_value(slot)
    assert value is not None
    return len("10") + 1 + value_bytes(value)


def crowded(participants: int, slots: int) -> PoolState:
    """Return a pool in which as many take part, and hold every slot in turn."""
    names = [f"holder{number:02x}"[-8:] for number in range(participants)]
    queue = {
        name: Entry(
            revision=3,
            app=f"app-{number % 5}",
            weight=1,
            want=2,
            limit=slots,
            since_ms=NOW_MS - 37 * number,
            expires_at_ms=NOW_MS + 25_000 - 41 * number,
            left_count=17,
            call_ms=1_234,
        )
        for number, name in enumerate(names)
    }
    held = {number: Slot(names[number % participants], NOW_MS + 80_000 - 7 * number) for number in range(slots)}
    return PoolState(rev=123_457, slots=held, queue=queue, limit=Limit(slots, NOW_MS))


def write_units(size_bytes: int) -> int:
    """Return what one write of an item of that size uses; a refused condition uses the same."""
    return -(-size_bytes // WRITE_UNIT_BYTES)


def read_units(size_bytes: int) -> int:
    """Return what one strongly consistent read uses."""
    return -(-size_bytes // READ_UNIT_BYTES)


def dollars(*, write_units: float, read_units: float) -> float:
    """Return what millions of units cost."""
    return write_units * DOLLARS_A_MILLION_WRITE_UNITS + read_units * DOLLARS_A_MILLION_READ_UNITS


@dataclass(frozen=True, slots=True)
class Carried:
    """What one item carries.

    Attributes:
        size_bytes: The item.
        write_units: A write.
        read_units: A read.
    """

    size_bytes: int
    write_units: int
    read_units: int

    @classmethod
    def by(cls, *, participants: int, slots: int) -> Carried:
        """Weigh an item of so many."""
        size_bytes = item_bytes("server", crowded(participants, slots))
        return cls(size_bytes, write_units(size_bytes), read_units(size_bytes))

    @property
    def writes_a_second_max(self) -> int:
        """How many writes one item takes."""
        return WRITE_UNITS_A_SECOND_MAX // self.write_units

    @property
    def reads_a_second_max(self) -> int:
        """How many reads one item gives."""
        return READ_UNITS_A_SECOND_MAX // self.read_units

    def calls_a_second_max(self, *, writes_a_call: float, reads_a_call: float) -> float:
        """Return how many calls a second the item can serve at these rates."""
        return min(self.writes_a_second_max / writes_a_call, self.reads_a_second_max / reads_a_call)

    def dollars_a_million_calls(self, *, writes_a_call: float, reads_a_call: float) -> float:
        """Return what the table costs for a million calls."""
        return dollars(write_units=writes_a_call * self.write_units, read_units=reads_a_call * self.read_units)


def limit_max(*, participants_a_slot: float, participants_max: int, writes_a_call: float, call_ms: int) -> int:
    """Return the highest limit whose writes one item takes, half of its ceiling being kept for bursts."""
    limit = 0
    for slots in range(10, 1_001, 10):
        participants = max(1, min(participants_max, round(slots * participants_a_slot)))
        carried = Carried.by(participants=participants, slots=slots)
        if slots * 1_000 / call_ms * writes_a_call * carried.write_units > WRITE_UNITS_A_SECOND_MAX / 2:
            break
        limit = slots
    return limit
