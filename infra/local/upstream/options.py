"""Options: the command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.local.upstream.rules import FAULT_MEANINGS, Rules

_DESCRIPTION = """\
A simulated Volcano Engine speech upstream: POST /api/v1/tts and POST /api/v3/tts/unidirectional on this machine, over
the same counters, with the limits, refusals, times and faults of the real one, and audio that can be heard. Point a
client at the address that is printed when it is ready.
"""
_EXAMPLES = """\
examples:
  python -m infra.local.upstream --port 9000
  python -m infra.local.upstream --port 9000 --account 123:key:10 --account 456:other:2 --mean-ms 1000
  python -m infra.local.upstream --fault 3005=0.05 --fault cut=0.05 --seed 7

while it runs:
  GET  /                   a page that shows what happens
  GET  /_simulator         the same and more as JSON: by app id and product what is in flight, the peak, refusals,
                           faults, calls and purchases by text, and the number in flight over time
  GET  /_simulator/calls   the last calls one by one
  POST /_simulator         change rules, for instance {"limit": 2, "mean_ms": 500, "faults": {"3005": 0.1}};
                           besides the rules it takes "reset": true (forget what was seen), "next_faults": ["cut"]
                           (faults for the next calls, one each) and "text_faults": {"a text": ["3005", "empty"]}

faults:
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line.

    Attributes:
        rules: How the upstream behaves at first.
        port: Where it listens; 0: on a free port.
        port_file: Where its address is written; None: it is printed.
    """

    rules: Rules
    port: int
    port_file: Path | None


def options_of(arguments: list[str]) -> Options:
    """Read the command line; explains and leaves the process when it is wrong."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    port, port_file = given.pop("port"), given.pop("port_file")
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return Options(Rules.model_validate(chosen), port, port_file)
    except ValidationError as exc:
        first = exc.errors()[0]
        parser.error(f"--{'.'.join(map(str, first['loc'])).replace('_', '-')}: {first['msg']}")


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {fault:<12}{meaning}" for fault, meaning in FAULT_MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.upstream",
        description=_DESCRIPTION,
        epilog=_EXAMPLES + faults,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default: a free one")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the address here instead of printing it")
    _add_accounts(parser.add_argument_group("accounts"))
    _add_times(parser.add_argument_group("times"))
    _add_faults(parser.add_argument_group("faults and chance"))
    return parser


def _add_accounts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--account",
        dest="accounts",
        action="append",
        type=_account,
        metavar="APPID:TOKEN:LIMIT",
        help="an account that may call; may be repeated; without any, every app id with any token may call",
    )
    group.add_argument("--limit", type=int, help="calls in progress an app id and product; one more is refused [10]")
    group.add_argument("--qps", type=int, help="calls that may start within a second [any]")
    group.add_argument("--characters", type=int, help="characters that an account may buy [any]")
    group.add_argument("--resource", dest="resources", action="append", help="only these products are opened [all]")
    group.add_argument("--voice", dest="voices", action="append", help="only these voices are ordered [all]")
    group.add_argument("--voice-gone", dest="voices_gone", action="append", help="these voices no longer exist [none]")
    group.add_argument("--refusal-style", help="429+3003, 429+3001 or 200+3003: a call over the limit [429+3003]")
    group.add_argument("--v3-refusal-style", help="the same for v3: 429+45000292 or 200+45000000 [429+45000292]")
    group.add_argument(
        "--has-lines",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether each object of a v3 answer has a line of its own, or all are glued together [yes]",
    )
    group.add_argument(
        "--has-header-errors",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether code and message of a refused v3 request stand in a header [no]",
    )
    group.add_argument("--piece-bytes", type=int, help="write v3 answers in pieces of so many bytes [by object]")


def _add_times(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--mean-ms", type=int, help="mean time of a call [by voice family and length of the audio]")
    group.add_argument("--sigma", type=float, help="spread of the log-normal distribution; 0: none [0.25]")
    group.add_argument("--tail-rate", type=float, help="share of calls that take much longer [0]")
    group.add_argument("--tail-factor", type=float, help="how many times as long those take [8]")
    group.add_argument("--work-max-ms", type=int, help="a call is ended with HTTP 504 after this [60000]")
    group.add_argument("--slow-ms", type=int, help="how long a call with the fault 'slow' would take [120000]")
    group.add_argument(
        "--hold-slot-until-done",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether a call whose caller has gone goes on counting to the end of its work [yes]",
    )
    group.add_argument("--release-lag-ms", type=int, help="a call goes on counting this long after its answer [0]")


def _add_faults(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--fault",
        dest="faults",
        action=_CollectRates,
        type=_rate,
        metavar="NAME=SHARE",
        help="this share of calls, 0 to 1, ends so; may be repeated; the names are below",
    )
    group.add_argument("--seed", type=int, help="decides all chance; the same texts meet the same fate [0]")


class _CollectRates(argparse.Action):
    """Gather `NAME=SHARE` options into one mapping."""

    def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, _option: str | None = None) -> None:
        name, share = values
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), name: share})


def _account(value: str) -> dict[str, Any]:
    app_id, first_colon, rest = value.partition(":")
    token, second_colon, limit = rest.rpartition(":")
    if not (first_colon and second_colon and app_id and token and limit.isdecimal()):
        raise argparse.ArgumentTypeError("should be APPID:TOKEN:LIMIT")
    return {"app_id": app_id, "token": token, "limit": int(limit)}


def _rate(value: str) -> tuple[str, float]:
    name, equals, share = value.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("should be NAME=SHARE")
    return name, float(share)
