"""The CDK application: one stack, of the stage that the context names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.gateway_stack import GatewayStack
from infra.stages import STAGES


def gateway_app(context: Mapping[str, Any] | None = None) -> App:
    """Compose the application, checked by cdk-nag when it is synthesised.

    Args:
        context: What the command line gives with `-c` and `cdk.json`; the keys `stage` (default: cloud),
            `upstream_endpoint` and `callback_test_hosts`, separated by commas (default: the stage's), are read.

    Raises:
        KeyError: There is no such stage.
    """
    app = App(context=context)
    stage = STAGES[app.node.try_get_context("stage") or "cloud"]
    test_hosts = app.node.try_get_context("callback_test_hosts")
    stage = replace(
        stage,
        upstream_endpoint=app.node.try_get_context("upstream_endpoint") or stage.upstream_endpoint,
        callback_test_hosts=tuple(test_hosts.split(",")) if test_hosts else stage.callback_test_hosts,
    )
    GatewayStack(app, stage.stack_name, stage=stage)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


if __name__ == "__main__":
    gateway_app().synth()
