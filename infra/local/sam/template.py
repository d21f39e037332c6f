"""The function's template: synthesised by the CDK, then with one more variable."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

from infra.local.cdk import PROGRAM
from infra.local.places import Places
from infra.local.sam.machine import run

STAGE = "sam"
# The real upstream: named so that the template has the variable, which `sam` overrides only where it is.
UPSTREAM = "https://openspeech.bytedance.com"
# Not in the template, since the cloud needs none; `sam` passes no variable that the template doesn't name.
ADDED = "AWS_ENDPOINT_URL"
HANDLER = "api.handler.lambda_handler"
SYNTH_MAX_S = 300


@dataclass(frozen=True)
class Function:
    """Where `sam` finds the function: a template, and the logical id in it."""

    template: str
    logical_id: str


def synthesised(places: Places) -> Function:
    """Run `cdk synth` and return the function in its template.

    Raises:
        LocalStackError: It fails; with the end of its log.
    """
    shutil.rmtree(places.assembly, ignore_errors=True)
    context = ["--context", f"stage={STAGE}", "--context", f"upstream_endpoint={UPSTREAM}"]
    run([str(PROGRAM), "synth", "--quiet", "--output", str(places.assembly), *context], places, within_s=SYNTH_MAX_S)
    (path,) = places.assembly.glob("*.template.json")
    template = json.loads(path.read_text(encoding="utf-8"))
    logical_id = open_to_override(template)
    ours = path.with_name("sam.json")  # beside the assets, which it names by relative paths
    ours.write_text(json.dumps(template), encoding="utf-8")
    return Function(str(ours), logical_id)


def open_to_override(template: dict[str, Any]) -> str:
    """Name the variable in the template that leads the SDK to an emulated AWS; return the function's logical id."""
    (found,) = (
        (logical_id, resource["Properties"])
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function" and resource["Properties"]["Handler"] == HANDLER
    )
    logical_id, properties = found
    properties["Environment"]["Variables"][ADDED] = ""
    return str(logical_id)
