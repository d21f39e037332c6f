"""What a batch will take: figures, nothing is bought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from volcengine_client.cli.plan import Plan
from volcengine_client.jobs import Estimate
from volcengine_client.kept_segments import KeptSegments
from volcengine_client.limits import CALL_TIME_ESTIMATED_MS
from volcengine_client.out_folder import OutFolder
from volcengine_client.speech.account import refusal_of
from volcengine_client.speech.route import product_of
from volcengine_client.speech.text import characters_billed


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is left to do in a folder.

    Attributes:
        tasks: In the list.
        found: Whose audio is there already.
        saved: That sound like another task, or that the gateway has spoken before.
        refused: That would fail.
        calls: To the upstream, when none has to be repeated.
        unchecked: Those of them for which the gateway had no time to look whether it has spoken them before.
        characters: Of these calls, as the upstream bills them, by what it sells them as.
        expected_s: From the first call to the last; a guess.
        limit: Calls at once.
    """

    tasks: int
    found: int
    saved: int
    refused: int
    calls: int
    characters: Mapping[str, int]
    expected_s: float
    limit: int
    unchecked: int = 0


def figures_here(folder: OutFolder, *, limit: int) -> Figures:
    """Return the figures of a batch that is spoken from here."""
    refused = [piece for piece in folder.missing if refusal_of(piece.task) is not None]
    indexes = {piece.index for piece in refused}
    plan = Plan(folder, KeptSegments(folder.folder))
    called = [
        segment
        for name, segment in plan.segments.items()
        if any(piece.index not in indexes for piece in plan.wanted_by[name])
    ]
    products: Counter[str] = Counter()
    for segment in called:
        products[product_of(segment)] += characters_billed(segment.text)
    return Figures(
        tasks=len(folder.pieces),
        found=folder.found_count,
        saved=folder.to_do_count - len(folder.missing) + len(plan.at_hand),
        refused=len(refused),
        calls=len(called),
        characters=products,
        expected_s=-(-len(called) // limit) * CALL_TIME_ESTIMATED_MS / 1_000,
        limit=limit,
    )


def figures_there(folder: OutFolder, estimates: Sequence[Estimate], *, limit: int) -> Figures:
    """Return the figures of a batch that a gateway speaks, by what it estimates of its parts."""
    products: Counter[str] = Counter()
    for estimate in estimates:
        products.update(estimate.characters.by_product)
    return Figures(
        tasks=len(folder.pieces),
        found=folder.found_count,
        saved=folder.to_do_count - len(folder.missing) + sum(estimate.saved for estimate in estimates),
        refused=sum(len(estimate.refused) for estimate in estimates),
        calls=sum(estimate.calls for estimate in estimates),
        characters=products,
        expected_s=sum(estimate.expected_seconds for estimate in estimates),
        unchecked=sum(estimate.unchecked for estimate in estimates),
        limit=max((estimate.limit for estimate in estimates), default=limit),
    )


def shown(figures: Figures) -> Table:
    """Return the figures as a person reads them."""
    table = Table(show_header=False, box=None)
    table.add_row("tasks", f"{figures.tasks:,}")
    table.add_row("there already", f"{figures.found:,}")
    table.add_row("saved", f"{figures.saved:,}")
    table.add_row("refused", f"{figures.refused:,}")
    unchecked = f", {figures.unchecked:,} of them unchecked" if figures.unchecked else ""
    table.add_row("calls", f"{figures.calls:,}{unchecked}")
    table.add_row("characters", f"{sum(figures.characters.values()):,}")
    for product, count in sorted(figures.characters.items()):
        table.add_row(f"  {product}", f"{count:,}")
    table.add_row("expected", f"{figures.expected_s:,.0f} s with {figures.limit:,} calls at once; a guess")
    return table
