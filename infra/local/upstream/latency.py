"""Chance: how long a call takes and what goes wrong with it. Pure."""

from __future__ import annotations

import math
from random import Random

from infra.local.upstream.rules import Fault, Rules
from infra.local.upstream.voices import Family

_SMALL_FIRST_MS, _SMALL_RATIO = 80, 0.02  # time to begin, and time per time of audio
_BIG_LEAST_MS, _BIG_RATIO = 300, 0.2


def chance_of(rules: Rules, app_id: str, text: str, number: int) -> Random:
    """Return the chance of the *number*-th call with a text: the same in every run with the same seed."""
    return Random("\n".join((str(rules.seed), app_id, str(number), text)).encode(errors="backslashreplace"))


def mean_ms(rules: Rules, family: Family, audio_ms: int) -> float:
    """Return how long such a call takes on average."""
    if rules.mean_ms is not None:
        return rules.mean_ms
    if family is Family.SMALL:
        return _SMALL_FIRST_MS + _SMALL_RATIO * audio_ms
    return max(_BIG_LEAST_MS, _BIG_RATIO * audio_ms)


def work_ms(rules: Rules, family: Family, audio_ms: int, chance: Random) -> int:
    """Draw how long a call takes: log-normal, now and then with a long tail."""
    mean = mean_ms(rules, family, audio_ms)
    spread = math.exp(chance.gauss(-(rules.sigma**2) / 2, rules.sigma))  # its mean is 1
    tail = rules.tail_factor if chance.random() < rules.tail_rate else 1
    return round(mean * spread * tail)


def fault_of(rules: Rules, chance: Random) -> Fault | None:
    """Draw what goes wrong with a call; None: nothing."""
    drawn = chance.random()
    for fault, rate in rules.faults.items():
        if drawn < rate:
            return fault
        drawn -= rate
    return None
