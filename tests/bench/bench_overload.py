"""Three times as much as the account can speak, for three minutes, through the deployed local stack.

Twelve callers post batches of 48 texts one after the other, each as soon as its last was answered; the upstream takes
2 s a call with a long tail. Prints how busy the slots were, how many calls were cut at a deadline, and what the
callers got.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from infra.local.simulator import Simulator
from tests.support.crowd import Seen, batch
from tests.support.local_stack import Aws, Gateway
from volcengine_client.clock import SystemClock
from volcengine_client.limits import GATEWAY_TIMEOUT_MS

CALLERS, TASKS, MEAN_MS = 12, 48, 2_000
OVERLOAD_MS = 180_000
CLOCK = SystemClock()


async def test_three_times_overload(gateway: Gateway, simulator: Simulator, aws: Aws) -> None:
    await gateway.warm(CALLERS)
    await simulator.order(mean_ms=MEAN_MS, sigma=0.25, tail_rate=0.02, tail_factor=3, reset=True)
    began_at_ms = CLOCK.monotonic_ms()
    outcomes: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    answers_ms: list[int] = []
    unhonest: list[str] = []

    async def caller(number: int) -> None:
        await CLOCK.sleep(number * GATEWAY_TIMEOUT_MS // CALLERS)  # callers don't come in step
        turn = 0
        while CLOCK.monotonic_ms() - began_at_ms < OVERLOAD_MS:
            turn += 1
            asked_at_ms = CLOCK.monotonic_ms()
            answer = await gateway.speak(batch(1_000 * turn + number, TASKS))
            answers_ms.append(CLOCK.monotonic_ms() - asked_at_ms)
            statuses[answer.status] += 1
            results = answer.json["results"] if answer.status == 200 else answer.json["error"]["details"]["results"]
            for result in results:
                outcomes[result["error"]["code"] if result["error"] else "spoken"] += 1
                if result["error"] and not result["error"]["retryable"]:
                    unhonest.append(result["error"]["code"])

    await asyncio.gather(*map(caller, range(CALLERS)))
    seen = Seen.of(await simulator.record(), aws.secret()["volcengine_tts_appid"])
    calls = seen.gauge["calls"]
    print(  # noqa: T201
        f"\nthree times overload: busy {seen.busy():6.1%}  peak {seen.gauge['peak']}  refused"
        f" {sum(seen.gauge['refusals'].values())}  calls {calls}"
        f"  cut {outcomes['cut_at_deadline']} ({outcomes['cut_at_deadline'] / calls:.2%})"
        f"  asked {sum(outcomes.values())}  statuses {dict(statuses)}  outcomes {dict(outcomes)}"
        f"  not retryable {len(unhonest)}  slowest answer {max(answers_ms) / 1_000:.1f} s"
    )
