from __future__ import annotations

from volcengine_client.limits import DEFAULT_TIMES
from volcengine_client.pool.slots import Cap, Entry, Limit, PoolState, Slot
from volcengine_gateway.report import report_of, summary_of

NOW_MS = 1_767_225_600_000
LIVE_MS = NOW_MS + 80_000
LONG_AGO_MS = NOW_MS - 3_600_000


def entry(
    app: str = "default", *, want: int = 1, since_ms: int = NOW_MS, expires_at_ms: int = LIVE_MS, **also: bool
) -> Entry:
    return Entry(
        revision=1, app=app, weight=1, want=want, limit=10, since_ms=since_ms, expires_at_ms=expires_at_ms, **also
    )


STATE = PoolState(
    rev=9,
    limit=Limit(4, 3),
    cap=Cap(2, LIVE_MS),
    slots={
        0: Slot("holder", LIVE_MS),
        1: Slot("", LIVE_MS),
        2: Slot("gone", LONG_AGO_MS),
    },
    queue={
        "holder": entry(want=1),
        "late": entry("other", since_ms=NOW_MS - 5),
        "early": entry("other", since_ms=NOW_MS - 10),
        "greedy": entry(want=3),
        "night": entry("night", is_background=True),
        "ghost": entry("other", expires_at_ms=LONG_AGO_MS),
        "leaver": entry(want=0),
    },
)


def test_figures_count_held_and_shut_slots_as_in_use() -> None:
    assert summary_of("server", STATE, now_lo_ms=NOW_MS, times=DEFAULT_TIMES) == {
        "pool": "server",
        "limit": 4,
        "cap": {"n": 2, "until_ms": LIVE_MS},
        "slots_in_use": 2,
        "participants": 7,
    }


def test_an_expired_slot_is_in_use_as_long_as_the_time_is_unknown() -> None:
    assert summary_of("server", STATE, now_lo_ms=None, times=DEFAULT_TIMES)["slots_in_use"] == 3


def test_a_report_names_positions_and_reasons() -> None:
    report = report_of("server", STATE, now_lo_ms=NOW_MS, times=DEFAULT_TIMES)

    told = {one["holder"]: one for one in report["participants"]}
    order = sorted((one["position"], holder) for holder, one in told.items() if one["position"])
    assert [holder for _, holder in order] == ["early", "late", "greedy", "night"]
    assert "next in line" in told["early"]["why"]
    assert "behind 1 of app other" in told["late"]["why"]
    assert "interactive" in told["night"]["why"]
    assert told["ghost"]["why"].startswith("not heard of")
    assert told["leaver"]["why"] == "has left"
    assert (told["holder"]["slots"], told["greedy"]["slots"]) == ([0], [])
    assert (told["holder"]["held"], told["greedy"]["held"]) == (1, 0)
    assert (told["holder"]["waited_ms"], told["early"]["waited_ms"]) == (None, 10)


def test_a_report_tells_each_slot() -> None:
    slots = report_of("server", STATE, now_lo_ms=NOW_MS, times=DEFAULT_TIMES)["slots"]

    assert [(slot["slot"], slot["holder"], slot["is_shut"], slot["is_free"]) for slot in slots] == [
        (0, "holder", False, False),
        (1, "", True, False),
        (2, "gone", False, True),
    ]


def test_a_report_tells_what_the_limit_is_cut_to_and_why() -> None:
    report = report_of("server", STATE, now_lo_ms=NOW_MS, times=DEFAULT_TIMES)

    assert report["cap"] == {"n": 2, "until_ms": LIVE_MS}
    assert report["why_cut"] is not None


def test_a_cut_that_has_climbed_back_is_none() -> None:
    later_ms = LIVE_MS + 3_600_000

    assert summary_of("server", STATE, now_lo_ms=later_ms, times=DEFAULT_TIMES)["cap"] is None


def test_without_knowledge_of_the_time_a_cut_stands_and_no_wait_is_told() -> None:
    report = report_of("server", STATE, now_lo_ms=None, times=DEFAULT_TIMES)

    assert report["cap"] == {"n": 2, "until_ms": LIVE_MS}
    assert report["now_ms"] is None
    assert {one["waited_ms"] for one in report["participants"]} == {None}


def test_a_pool_that_nobody_ever_joined_has_no_limit() -> None:
    report = report_of("new", PoolState(), now_lo_ms=NOW_MS, times=DEFAULT_TIMES)

    assert (report["limit"], report["slots_in_use"], report["participants"]) == (None, 0, [])
