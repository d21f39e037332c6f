"""The page: what a person sees of the simulated upstream. Pure."""

from __future__ import annotations

import html

from infra.local.upstream.record import Gauge, Record
from infra.local.upstream.rules import Rules

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<title>Simulated upstream</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; }
table { border-collapse: collapse; }
th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid #ddd; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
.used { color: #b30; letter-spacing: .1em; } .free { color: #bbb; letter-spacing: .1em; }
</style>
</head>
<body>
<h1>Simulated upstream</h1>
"""
_COLUMNS = ("app id", "product", "in flight", "now", "peak", "limit", "calls", "refused", "faults", "bought",
            "delivered", "characters", "busy")  # fmt: skip
_DOTS_MAX = 50


def page_of(record: Record, rules: Rules, now_ms: int) -> str:
    """Return the whole page, which reloads itself every second; no text that was spoken is on it."""
    rows = [_row(app_id, resource, gauge, now_ms) for (app_id, resource), gauge in sorted(record.gauges.items())]
    table = "".join([f"<tr>{''.join(f'<th>{column}</th>' for column in _COLUMNS)}</tr>", *rows])
    strangers = ", ".join(f"{reason} {count}" for reason, count in record.strangers.items()) or "none"
    mean = f"mean {rules.mean_ms} ms" if rules.mean_ms is not None else "time by voice family and length"
    faults = ", ".join(f"{fault} {rate:.0%}" for fault, rate in rules.faults.items()) or "none"
    return (
        f"{_HEAD}<p>Since {(now_ms - record.since_ms) / 1_000:.0f} s. Calls: {mean}. Injected faults: {faults}.</p>"
        f"<table>{table}</table>"
        f"<p>Refused before their account was known: {html.escape(strangers)}.</p>"
        '<p>The same and more as JSON: <a href="/_simulator">/_simulator</a>, '
        '<a href="/_simulator/calls">/_simulator/calls</a>.</p></body></html>\n'
    )


def _row(app_id: str, resource: str, gauge: Gauge, now_ms: int) -> str:
    used = min(gauge.in_flight, _DOTS_MAX)
    free = min(max(0, gauge.limit - gauge.in_flight), _DOTS_MAX - used)
    dots = f'<span class="used">{"●" * used}</span><span class="free">{"●" * free}</span>'
    cells = [
        html.escape(app_id),
        html.escape(resource),
        dots,
        *map(str, (gauge.in_flight, gauge.peak, gauge.limit, gauge.calls)),
        _counts(gauge.refusals),
        _counts(gauge.faults),
        *map(str, (gauge.bought, gauge.delivered, gauge.characters)),
        _busy(gauge, now_ms),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _counts(counts: dict[str, int]) -> str:
    return html.escape(", ".join(f"{name} {count}" for name, count in counts.items())) or "0"


def _busy(gauge: Gauge, now_ms: int) -> str:
    """Return how busy the slots were from the first call to the last end, or to now while some are in flight."""
    if gauge.first_call_at_ms is None or not gauge.limit:
        return ""
    end_ms = now_ms if gauge.in_flight else gauge.last_end_at_ms or now_ms
    span_ms = max(1, end_ms - gauge.first_call_at_ms)
    return f"{gauge.slot_ms_until(end_ms) / (gauge.limit * span_ms):.0%}"
