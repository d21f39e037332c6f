"""Does everyone get its share, over the real code with a table that takes its time (I7)?

Every caller has a process of its own. A share is measured by calls in progress, over the time in which all have work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.shares import ARRIVALS_MS, Caller, Disturbance, Scene, Stranger, seeded
from tests.support.spans import (
    Span,
    all_busy_until_ms,
    busy_ms,
    first_ms,
    jain,
    longest_call_ms,
    longest_gap_ms,
    overlap,
)
from tests.support.virtual_time import IN_VIRTUAL_TIME
from volcengine_client.limits import CAP_MS, CAP_STEP_MS, QUANTUM_MS, READ_HOLDING_MS

pytestmark = IN_VIRTUAL_TIME

logger = logging.getLogger(__name__)  # `pytest --log-cli-level=INFO` shows the figures

SETTLED_MS = 3_000  # who came first has all slots until its first calls end
NOTICED_MS = READ_HOLDING_MS + 100  # until a busy holder has seen a newcomer


@pytest.fixture(params=[0])
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    with seeded(request.param):
        yield request.param


@pytest.fixture
def scene(seed: int) -> Scene:
    return Scene(seed)


def crowd(count: int, tasks: int, *, name: str = "c", **how: Any) -> list[Caller]:
    return [Caller(name=f"{name}{number}", tasks=tasks, **how) for number in range(count)]


def turn_ms(spans: list[Span], callers: int, limit: int) -> float:
    """Return after how long everyone has had a turn: quantum after quantum, each until its last call ends."""
    return -(-callers // limit) * (QUANTUM_MS + longest_call_ms(spans)) + NOTICED_MS


# --- apps -------------------------------------------------------------------------------------------------------------


async def test_thirty_callers_in_five_apps_share_alike(scene: Scene) -> None:
    spans = await scene.play([Caller(name=f"c{number}", tasks=20, app=f"app{number % 5}") for number in range(30)])
    shares = busy_ms(spans, until_ms=all_busy_until_ms(spans))

    assert len(shares) == 5
    assert jain(list(shares.values())) >= 0.98
    assert max(first_ms(spans).values()) <= turn_ms(spans, 30, scene.limit)


async def test_an_app_of_one_caller_gets_as_much_as_one_of_nine(scene: Scene) -> None:
    spans = await scene.play([Caller(name="alone", tasks=90, app="one"), *crowd(9, 10, app="nine")])
    shares = busy_ms(spans, since_ms=SETTLED_MS, until_ms=all_busy_until_ms(spans))

    assert shares["one"] / shares["nine"] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("callers", [1, 4])
@pytest.mark.parametrize("limit", [4, 8, 20])
async def test_weights_of_one_and_three_are_served_one_to_three(limit: int, callers: int, seed: int) -> None:
    scene = Scene(seed, limit=limit)
    tasks = 6 * limit // callers
    light = crowd(callers, tasks, name="light", app="light")
    heavy = crowd(callers, 3 * tasks, name="heavy", app="heavy", weight=3)
    spans = await scene.play([*light, *heavy])
    shares = busy_ms(spans, since_ms=SETTLED_MS, until_ms=all_busy_until_ms(spans))

    assert shares["heavy"] / shares["light"] == pytest.approx(3, rel=0.05)


async def test_weights_that_do_not_divide_the_limit_are_served_by_whole_slots(scene: Scene) -> None:
    """Of 10 slots 3 and 7, not 2 and 8: so the one with the least for its weight has the most."""
    light = Caller(name="light", tasks=60, app="light")
    spans = await scene.play([light, Caller(name="heavy", tasks=180, app="heavy", weight=3)])
    shares = busy_ms(spans, since_ms=SETTLED_MS, until_ms=all_busy_until_ms(spans))

    assert shares["heavy"] / shares["light"] == pytest.approx(7 / 3, rel=0.05)


# --- callers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_ms", [0, 2_000, 30_000])
async def test_one_sentence_does_not_wait_behind_a_thousand(scene: Scene, at_ms: int) -> None:
    spans = await scene.play([Caller(name="huge", tasks=1_000), Caller(name="single", tasks=1, at_ms=at_ms)])

    assert first_ms(spans)["single"] - at_ms <= longest_call_ms(spans) + QUANTUM_MS


@pytest.mark.parametrize(("callers", "limit", "tasks"), [(10, 10, 20), (30, 10, 6), (10, 2, 8), (5, 1, 8)])
async def test_equals_take_turns(callers: int, limit: int, tasks: int, seed: int) -> None:
    spans = await Scene(seed, limit=limit).play(crowd(callers, tasks))
    bound_ms = turn_ms(spans, callers, limit)

    assert max(first_ms(spans).values()) <= bound_ms
    assert max(longest_gap_ms(spans, f"c{number}") for number in range(callers)) <= bound_ms


async def test_equals_that_each_find_a_slot_wait_for_no_quantum(scene: Scene) -> None:
    """The first comer has all slots; it gives nine of them up at its first task boundaries."""
    spans = await scene.play(crowd(10, 20))

    assert max(first_ms(spans).values()) <= longest_call_ms(spans) + NOTICED_MS


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_pool_of_few_slots_is_used_to_the_full(limit: int, seed: int) -> None:
    scene = Scene(seed, limit=limit)
    spans = await scene.play(crowd(4, 10))
    until_ms = max(span.began_ms for span in spans)
    used_ms = sum(busy_ms(spans, until_ms=until_ms).values())

    assert scene.account.peak == limit
    assert used_ms >= 0.95 * limit * (until_ms - ARRIVALS_MS)


async def test_nobody_holds_more_than_its_terms_allow(scene: Scene) -> None:
    """What a modest caller leaves, the others get."""
    spans = await scene.play([Caller(name="modest", tasks=20, hold_max=2), Caller(name="other", tasks=80)])
    modest = [span for span in spans if span.caller == "modest"]
    other = [span for span in spans if span.caller == "other"]

    assert overlap(modest) == 2
    assert overlap(other) >= scene.limit - 2
    until_ms = max(span.began_ms for span in modest)
    assert busy_ms(other, since_ms=SETTLED_MS, until_ms=until_ms)["default"] >= 7.5 * (until_ms - SETTLED_MS)


# --- background -------------------------------------------------------------------------------------------------------


@pytest.fixture
def night() -> Caller:
    return Caller(name="night", tasks=200, app="night", is_background=True)


def began_ms(spans: list[Span], caller: str) -> list[float]:
    return [span.began_ms for span in spans if span.caller == caller]


async def test_background_work_starts_nothing_while_others_wait(scene: Scene, night: Caller) -> None:
    day = Caller(name="day", tasks=80, app="day", at_ms=3_000)
    spans = await scene.play([night, day])
    last_ms = max(began_ms(spans, "day"))

    assert not [at_ms for at_ms in began_ms(spans, "night") if day.at_ms + NOTICED_MS < at_ms < last_ms]
    assert first_ms(spans)["day"] - day.at_ms <= longest_call_ms(spans)


async def test_background_work_gets_what_the_others_leave(scene: Scene, night: Caller) -> None:
    """Here the others leave seven slots."""
    day = Caller(name="day", tasks=30, app="day", hold_max=3)
    spans = await scene.play([night, day])
    until_ms = max(began_ms(spans, "day"))
    shares = busy_ms(spans, since_ms=SETTLED_MS, until_ms=until_ms)

    assert shares["day"] >= 0.95 * 3 * (until_ms - SETTLED_MS)
    assert shares["night"] >= 0.95 * 7 * (until_ms - SETTLED_MS)


async def test_background_work_gets_everything_when_the_others_are_gone(scene: Scene, night: Caller) -> None:
    spans = await scene.play([night, Caller(name="day", tasks=40, app="day")])
    gone_ms = max(span.ended_ms for span in spans if span.caller == "day") + NOTICED_MS
    until_ms = max(began_ms(spans, "night"))
    alone_ms = busy_ms(spans, since_ms=gone_ms, until_ms=until_ms)["night"]

    assert alone_ms >= 0.95 * scene.limit * (until_ms - gone_ms)


async def test_an_app_of_any_weight_in_the_background_is_behind_the_lightest(scene: Scene) -> None:
    heavy = Caller(name="night", tasks=60, app="night", is_background=True, weight=100)
    spans = await scene.play([heavy, Caller(name="day", tasks=60, app="day", at_ms=2_000)])
    last_ms = max(began_ms(spans, "day"))

    assert not [at_ms for at_ms in began_ms(spans, "night") if 2_000 + NOTICED_MS < at_ms < last_ms]


# --- somebody else on the same account --------------------------------------------------------------------------------

STRANGER = Stranger(count=3, since_ms=10_000, until_ms=70_000)
REFUSED_IN_A_MINUTE = 16
SETTLING_MS = 5_000
BACK_MS = CAP_MS + 4 * CAP_STEP_MS  # cut at the last moment, by three, and a call


async def disturbed(seed: int, callers: int, stranger: Stranger = STRANGER) -> Disturbance:
    """Return what came of a stranger who takes three of ten slots for a minute; every text is spoken all the same."""
    scene = Scene(seed)
    spans = await scene.play(crowd(callers, 660 // callers), stranger)
    disturbance = Disturbance.of(scene.account, spans, stranger)
    logger.info("%s callers, seed %s: %s", callers, seed, disturbance)
    return disturbance


def assert_mild(disturbance: Disturbance) -> None:
    """Refusals stop within seconds but for single tries, what is left is used, and the limit climbs back."""
    assert disturbance.refused_count <= REFUSED_IN_A_MINUTE
    assert disturbance.settling_ms <= SETTLING_MS
    assert disturbance.back_ms <= BACK_MS
    assert disturbance.used >= 6


@pytest.mark.parametrize("seed", range(5), indirect=True)
async def test_a_stranger_on_the_account_is_noticed_and_given_room(seed: int) -> None:
    assert_mild(await disturbed(seed, 10))


@pytest.mark.parametrize("callers", [1, 22])
async def test_a_stranger_is_noticed_by_a_lone_caller_and_by_a_crowd(callers: int, seed: int) -> None:
    assert_mild(await disturbed(seed, callers))


@pytest.mark.parametrize("callers", [1, 10])
async def test_a_stranger_who_never_lets_go_is_given_room_too(callers: int, seed: int) -> None:
    assert_mild(await disturbed(seed, callers, replace(STRANGER, is_greedy=True)))


async def test_a_stranger_who_takes_nearly_everything_leaves_the_rest_to_be_used(seed: int) -> None:
    """One slot is left; every text is spoken once it is gone."""
    disturbance = await disturbed(seed, 10, replace(STRANGER, count=9))

    assert disturbance.used >= 0.5
    assert disturbance.back_ms <= 3 * BACK_MS
