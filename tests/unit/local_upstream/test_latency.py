"""How long the simulated upstream takes."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from infra.local.upstream import Rules, Wishes, audio_of
from infra.local.upstream.latency import chance_of, mean_ms, work_ms
from infra.local.upstream.voices import Family


def times(rules: Rules, count: int = 4_000) -> list[int]:
    return [work_ms(rules, Family.SMALL, 3_000, chance_of(rules, "app", "text", number)) for number in range(count)]


@pytest.mark.parametrize("sigma", [0.0, 0.25, 0.8])
def test_the_mean_is_kept_whatever_the_spread(sigma: float) -> None:
    drawn = times(Rules(mean_ms=1_000, sigma=sigma))

    assert statistics.mean(drawn) == pytest.approx(1_000, rel=0.05)
    assert (statistics.pstdev(drawn) == 0) == (sigma == 0)


def test_without_a_mean_the_time_follows_the_voice_family_and_the_length_of_the_audio() -> None:
    assert mean_ms(Rules(), Family.SMALL, 10_000) == 80 + 200
    assert mean_ms(Rules(), Family.BIG, 10_000) == 2_000
    assert mean_ms(Rules(), Family.CLONE, 100) == 300


def test_the_tail_makes_some_calls_many_times_as_long() -> None:
    drawn = times(Rules(mean_ms=100, sigma=0, tail_rate=0.1, tail_factor=20))

    assert set(drawn) == {100, 2_000}
    assert drawn.count(2_000) / len(drawn) == pytest.approx(0.1, abs=0.02)


def test_the_same_seed_draws_the_same_times() -> None:
    assert times(Rules(mean_ms=500, seed=3), 20) == times(Rules(mean_ms=500, seed=3), 20)
    assert times(Rules(mean_ms=500, seed=3), 20) != times(Rules(mean_ms=500, seed=4), 20)


def test_a_text_with_a_lone_surrogate_has_a_chance_too() -> None:
    assert 0 <= chance_of(Rules(), "app", "\ud800", 0).random() < 1


async def test_a_call_takes_as_long_as_its_voice_and_audio_say(start: Any) -> None:
    stage = await start(mean_ms=None)
    await stage.call("一句不长的话。", after_ms=1)

    (call,) = await stage.get("/_simulator/calls")
    audio_ms = audio_of(Wishes("一句不长的话。", "BV001_streaming", "mp3")).duration_ms
    assert call["ended_at_ms"] - call["began_at_ms"] == round(80 + 0.02 * audio_ms)


async def test_a_call_longer_than_the_gateways_patience_ends_with_504(start: Any) -> None:
    stage = await start(mean_ms=9_000, work_max_ms=6_000)
    reply = await stage.call(after_ms=3_000)

    assert (reply.status, reply.json) == (504, None)
    assert dict(stage.upstream.gauge("app").faults) == {"work_max": 1}
