"""Synthesise stacks without network and without bundling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aws_cdk import App
from aws_cdk.assertions import Template

from infra.app import gateway_app
from infra.gateway_stack import GatewayStack
from infra.stages import Stage

REPOSITORY = Path(__file__).parents[2]


def context() -> dict[str, Any]:
    """Return the context of `cdk.json`, without bundling."""
    settings: dict[str, Any] = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    return {**settings, "aws:cdk:bundling-stacks": []}


def deployed(stage: str, **more: str) -> Mapping[str, Any]:
    """Return the template that a deployment of *stage* uses, which has passed the checks of cdk-nag."""
    (stack,) = gateway_app({**context(), "stage": stage, **more}).synth().stacks
    template: Mapping[str, Any] = stack.template
    return template


def composed(stage: Stage) -> Mapping[str, Any]:
    """Return the template of a stage that nobody deploys."""
    template: Mapping[str, Any] = Template.from_stack(
        GatewayStack(App(context=context()), "Composed", stage=stage)
    ).to_json()
    return template


def all_of(template: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the resources of a kind, as `DynamoDB::Table`, by logical id."""
    return {key: value for key, value in template["Resources"].items() if value["Type"] == f"AWS::{kind}"}


def only(template: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the properties of the only resource of a kind."""
    (resource,) = all_of(template, kind).values()
    properties: Mapping[str, Any] = resource["Properties"]
    return properties


def function(template: Mapping[str, Any], door: str) -> tuple[str, Mapping[str, Any]]:
    """Return the logical id and the properties of a door's function, `api` or `worker`."""
    handler = f"{door}.handler.lambda_handler"
    ((logical_id, properties),) = (
        (logical_id, resource["Properties"])
        for logical_id, resource in all_of(template, "Lambda::Function").items()
        if resource["Properties"]["Handler"] == handler
    )
    return logical_id, properties


def environment(template: Mapping[str, Any], door: str = "api") -> dict[str, Any]:
    """Return the environment of a door's function; references stay what they are."""
    return dict(function(template, door)[1]["Environment"]["Variables"])


def told(template: Mapping[str, Any], door: str = "api") -> dict[str, str]:
    """Return the environment of a door's function as its code sees it, with something in the place of references."""
    return {
        name: value if isinstance(value, str) else "a reference" for name, value in environment(template, door).items()
    }
