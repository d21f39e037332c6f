"""Pictures of benchmarks, as README shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pygal
from pygal.style import Style

STYLE = Style(
    background="white",
    plot_background="white",
    font_family="sans-serif",
    colors=("#1a7f37", "#cf6a17", "#8250df"),
    label_font_size=11,
    major_label_font_size=11,
    legend_font_size=12,
    title_font_size=15,
    value_font_size=9,
)


def bars(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], **options: Any
) -> pygal.HorizontalBar:
    """Return bars beside each other, the first label at the top; *options* are the library's."""
    chart = pygal.HorizontalBar(
        title=title,
        style=STYLE,
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        truncate_legend=-1,
        print_values=True,
        js=[],
        **{"width": 900, "height": 520, **options},
    )
    chart.x_labels = list(reversed(labels))
    for name, values in series.items():
        chart.add(name, list(reversed(values)))
    return chart
