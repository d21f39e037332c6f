"""What a batch would cost and take, without buying anything. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from volcengine_client.models import TaskError, TaskItem
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.route import product_of
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.told import FiguresTold, RefusedTold, told_of


def estimate_of(
    tasks: Sequence[TaskItem],
    names: Sequence[str],
    found: Collection[str],
    unchecked: Collection[str] = (),
    *,
    limit: int,
    call_ms: int,
) -> FiguresTold:
    """Return what would be called, saved and refused.

    Args:
        tasks: Of the batch.
        names: What each task's sound is known by; equal ones are spoken once.
        found: Those that were spoken before.
        unchecked: Those of which nobody knows whether they were.
        limit: Calls at once.
        call_ms: How long a call takes on average.
    """
    refused: list[RefusedTold] = []
    products: Counter[str] = Counter()
    called: set[str] = set()
    saved_count = saved_characters = 0
    for index, (task, name) in enumerate(zip(tasks, names, strict=True)):
        refusal = refusal_of(task)
        if refusal is not None:
            refused.append({"index": index, "task_id": task.task_id, "error": told_of(TaskError.of(refusal))})
        elif name in found or name in called:
            saved_count += 1
            saved_characters += characters_billed(task.text)
        else:
            called.add(name)
            products[product_of(task)] += characters_billed(task.text)
    rounds = -(-len(called) // limit)
    return {
        "dry_run": True,
        "tasks": len(tasks),
        "calls": len(called),
        "unchecked": sum(name in unchecked for name in called),
        "saved": saved_count,
        "refused": refused,
        "characters": {"bought": products.total(), "saved": saved_characters, "by_product": dict(products)},
        "expected_seconds": round(rounds * call_ms / 1_000, 1),
        "limit": limit,
    }
