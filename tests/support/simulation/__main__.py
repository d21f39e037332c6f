"""Tell the story of one schedule: `python -m tests.support.simulation SEED [MUTANT] [--short]`."""

from __future__ import annotations

import argparse
import sys

from tests.support.simulation.mutants import MUTANTS
from tests.support.simulation.run import run
from tests.support.simulation.schedule import Plan, plan_of
from tests.support.simulation.shrink import shortest


def main() -> int:
    """Play the schedule, and print all that happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("mutant", nargs="?", choices=sorted(MUTANTS))
    parser.add_argument("--short", action="store_true", help="leave out what the breach does not need")
    asked = parser.parse_args()

    def played(plan: Plan) -> tuple[str, ...]:
        return run(plan, MUTANTS[asked.mutant]() if asked.mutant else None).breaches

    plan = plan_of(asked.seed)
    if asked.short and (breaches := played(plan)):
        law = breaches[0].split()[0]
        plan = shortest(plan, lambda smaller: any(one.startswith(law) for one in played(smaller)))
    outcome = run(plan, MUTANTS[asked.mutant]() if asked.mutant else None)
    out = sys.stdout.write
    for part in (plan.times, plan.mood, *plan.machines, *plan.batches, *plan.strikes, *outcome.story):
        out(f"{part}\n")
    out(f"{outcome.breaches or 'no breach'}\n")
    return bool(outcome.breaches)


if __name__ == "__main__":
    sys.exit(main())
