"""The pool beside one process with a semaphore, a conditional write for each task, and fixed polling.

In virtual time: the same callers, calls and ways to the table for all; medians over 5 to 15 seeds, `POOL_SEEDS` at
most.
Prints a table, and draws two pictures into `.local/bench/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pygal
import pytest

from tests.support.contest.cases import CASES, SIGMA, TABLE_MS, Goal
from tests.support.contest.run import IDEAL, Figures, play_all
from tests.support.contest.ways import WAYS
from tests.support.pictures import bars

SEEDS_MAX = int(os.environ.get("POOL_SEEDS", "15"))
PICTURES = Path(".local/bench")
Found = Mapping[str, Sequence[Figures]]


@pytest.mark.timeout(0)
def test_the_pool_beside_other_ways_of_sharing() -> None:
    found = {way: play_all(way, seed_count_max=SEEDS_MAX) for way in WAYS if way != IDEAL}
    lines = [
        f"at most {SEEDS_MAX} seeds, calls log-normal with sigma {SIGMA}, the table {TABLE_MS:g} ms away",
        *_table(found),
    ]
    print("\n" + "\n".join(lines))  # noqa: T201
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, picture in _pictures(found).items():
        (PICTURES / f"{name}.svg").write_bytes(picture.render())


def _table(found: Found) -> Iterator[str]:
    yield (
        f"{'':58}{'÷ semaphore':>14}{'writes a call':>16}{'reads a call':>16}{'conflicts':>14}{'first call s':>16}"
        f"{'Jain':>14}{'free ms 50, 95 %':>18}"
    )
    for number, case in enumerate(CASES):
        yield case.name
        for way, rows in found.items():
            yield f"    {way:54}{_row(rows[number], case.goal if way == 'our pool' else Goal())}"


def _row(figures: Figures, goal: Goal) -> str:
    hoped = asdict(goal)
    shown = {name: f"{value:.3f}" for name, value in asdict(figures).items()}
    cells = [
        f"{shown[name]:>8}{_hope(hoped[name]):<6}"
        for name in ("throughput", "writes", "reads", "conflicts", "first_s", "jain")
    ]
    free = f"{figures.wait_50_ms:>8.0f}{figures.wait_95_ms:>6.0f}" if figures.wait_95_ms else f"{'-':>8}{'-':>6}"
    return "  ".join(cells) + free


def _hope(value: float | None) -> str:
    return "" if value is None else f" ({value:g})"


def _pictures(found: Found) -> dict[str, pygal.HorizontalBar]:
    return {
        "pool-time": _bars("Time lost beside one process with a semaphore, %", found, _lost_percent),
        "pool-requests": _bars(
            "Requests to the table for a call (logarithmic)",
            found,
            _requests,
            logarithmic=True,
            y_labels=[0.3, 1, 3, 10, 30, 100, 300],
        ),
    }


def _lost_percent(figures: Figures) -> float:
    return round(100 * (1 / figures.throughput - 1), 2)


def _requests(figures: Figures) -> float:
    return round(figures.writes + figures.reads, 2)


def _bars(title: str, found: Found, value: Callable[[Figures], float], **options: Any) -> pygal.HorizontalBar:
    series = {way: [value(row) for row in rows] for way, rows in found.items()}
    return bars(title, [case.name for case in CASES], series, **options)
