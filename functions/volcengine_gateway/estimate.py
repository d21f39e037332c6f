"""What a batch would cost and take, without buying anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import count

from volcengine_client.models import BatchRequest, TaskError
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.route import product_of
from volcengine_client.speech.text import characters_billed
from volcengine_gateway.jobs.kept import KeptSpeech
from volcengine_gateway.jobs.sounds import Sound, missing_in
from volcengine_gateway.told import FiguresTold, RefusedTold, told_of


async def looked_up(
    request: BatchRequest, kept: KeptSpeech | None, *, within_ms: int
) -> tuple[Sequence[Sound], Collection[str], Collection[str]]:
    """Return what has to be heard of a batch, the files of it that were spoken before, and those not looked for.

    Args:
        request: The batch.
        kept: The payer's speech; None: nothing is kept for it, and equal texts are bought each.
        within_ms: How long there is to look.

    Raises:
        StoreError: No answer in time.
    """
    if kept is None:
        numbers = count()
        return [Sound.of(task, lambda _: str(next(numbers))) for task in request.tasks], (), ()
    sounds = [Sound.of(task, kept.name_of) for task in request.tasks]
    if not request.cache:
        return sounds, (), ()
    names = [name for sound in sounds for name in (sound.name, *(segment for segment, _ in sound.segments))]
    found, unchecked = await kept.find_within(names, within_ms=within_ms)
    return sounds, found, unchecked


def estimate_of(
    sounds: Sequence[Sound],
    found: Collection[str],
    unchecked: Collection[str] = (),
    *,
    limit: int,
    call_ms: int,
    has_v1: bool = True,
) -> FiguresTold:
    """Return what would be called, saved and refused.

    Args:
        sounds: What has to be heard of the batch; equal segments are spoken once.
        found: The files that were spoken before.
        unchecked: Those of which nobody knows whether they were.
        limit: Calls at once.
        call_ms: How long a call takes on average.
        has_v1: Whether the account has an app id and an access key, without which there is no v1.
    """
    refused: list[RefusedTold] = []
    products: Counter[str] = Counter()
    called: set[str] = set()
    saved_count = saved_characters = 0
    for index, sound in enumerate(sounds):
        task = sound.task
        refusal = refusal_of(task, has_v1=has_v1)
        if refusal is not None:
            refused.append({"index": index, "task_id": task.task_id, "error": told_of(TaskError.of(refusal))})
            continue
        new = {name: segment for name, segment in missing_in([sound], found).items() if name not in called}
        characters = sum(characters_billed(segment.text) for segment in new.values())
        called |= new.keys()
        if new:
            products[product_of(task)] += characters
        saved_count += not new
        saved_characters += max(0, characters_billed(task.text) - characters)  # calls of SSML each have its tags
    rounds = -(-len(called) // limit)
    return {
        "dry_run": True,
        "tasks": len(sounds),
        "calls": len(called),
        "unchecked": sum(name in unchecked for name in called),
        "saved": saved_count,
        "refused": refused,
        "characters": {"bought": products.total(), "saved": saved_characters, "by_product": dict(products)},
        "expected_seconds": round(rounds * call_ms / 1_000, 1),
        "limit": limit,
    }
