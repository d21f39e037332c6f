from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk import aws_sqs as sqs

from infra.app import gateway_app
from tests.infra.templates import all_of, context


def gateway_with_a_finding() -> App:
    app = gateway_app({**context(), "stage": "local"})
    sqs.Queue(app.node.find_child("VolcengineConcurrentTts-local"), "Unencrypted")  # type: ignore[arg-type]
    return app


def test_a_finding_that_nobody_acknowledged_stops_the_synthesis() -> None:
    with pytest.raises(RuntimeError, match="ValidationFailed") as stopped:
        gateway_with_a_finding().synth()
    (report,) = re.findall(r"report can be found in: (\S+)", str(stopped.value))

    assert "AwsSolutions-SQS4" in Path(report).read_text()


def test_the_findings_that_stay_are_these(cloud: Mapping[str, Any]) -> None:
    assembly = gateway_app({**context(), "stage": "cloud"}).synth()
    (report,) = json.loads((Path(assembly.directory) / "validation-report.json").read_text())["pluginReports"]
    (bucket,) = all_of(cloud, "S3::Bucket")

    assert report["violations"] == []
    assert {finding["acknowledgedId"].removeprefix("AwsSolutions::") for finding in report["suppressedViolations"]} == {
        "AwsSolutions-APIG4",
        "AwsSolutions-IAM5[Resource::*]",
        f"AwsSolutions-IAM5[Resource::<{bucket}.Arn>/jobs/*]",
        f"AwsSolutions-IAM5[Resource::<{bucket}.Arn>/speech/*]",
        "AwsSolutions-L1",
        "AwsSolutions-S1",
        "AwsSolutions-SMG4",
    }
