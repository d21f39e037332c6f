"""The CDK app in the emulated AWS: deployed when it isn't there yet, or is no longer what the source says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.local import embedded_aws
from infra.local.cdk import Cdk
from infra.local.errors import LocalStackError
from infra.local.places import ROOT, Places, read
from infra.local.waiting import last_lines

SOURCES = ("cdk.json", "infra", "functions", "layers")  # what a deployment is made of
NO_SOURCES = frozenset({"local", "node_modules", "decisions", "__pycache__"})
RECORD = "/volcengine-concurrent-tts/deployed"  # the parameter by which the emulated AWS knows what it holds


class DeploymentError(LocalStackError):
    """The CDK app could not be deployed; what the emulated AWS holds now is uncertain."""


@dataclass(frozen=True)
class Deployment:
    """What a deployment has made, by name; queues by address."""

    fingerprint: str
    api_id: str
    pool_table: str
    secret_id: str
    client_policy_arn: str
    job_table: str
    bucket: str
    job_queue: str
    lost_queue: str
    dead_letter_queue: str

    @classmethod
    def of(cls, fingerprint: str, outputs: dict[str, Any]) -> Deployment:
        """Read the outputs of the one stack."""
        (names,) = outputs.values()
        host = str(names["ApiUrl"]).removeprefix("https://").removeprefix("http://")
        return cls(
            fingerprint=fingerprint,
            api_id=host.split(".", 1)[0],
            pool_table=names["PoolTableName"],
            secret_id=names["SecretArn"],
            client_policy_arn=names["PoolClientPolicyArn"],
            job_table=names["JobTableName"],
            bucket=names["BucketName"],
            job_queue=names["JobQueueUrl"],
            lost_queue=names["LostQueueUrl"],
            dead_letter_queue=names["DeadLetterQueueUrl"],
        )


def fingerprint(*, stage: str, upstream_url: str, callback_test_hosts: str) -> str:
    """Return what is the same as long as a deployment would come out the same."""
    digest = hashlib.sha256(
        f"{stage} {upstream_url} {callback_test_hosts} {sys.version} {platform.platform()}".encode()
    )
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for source in SOURCES:
        start = ROOT / source
        if start.is_file():
            yield start
        for folder, names, files in os.walk(start):
            names[:] = [name for name in names if name not in NO_SOURCES]
            yield from (Path(folder, file) for file in files)


def present(endpoint_url: str) -> Deployment | None:
    """Return what the emulated AWS holds; None when it is nothing whole."""
    try:
        value = embedded_aws.client("ssm", endpoint_url).get_parameter(Name=RECORD)["Parameter"]["Value"]
    except ClientError:
        return None
    held = json.loads(value)
    if held.keys() != {one.name for one in fields(Deployment)}:
        return None  # an older version's
    return Deployment(**held)


async def deploy(
    places: Places, *, stage: str, upstream_url: str, callback_test_hosts: str, endpoint_url: str
) -> Deployment:
    """Bootstrap and deploy the CDK app with the CDK's own command line.

    Raises:
        LocalStackError: The app can't be synthesised; nothing was touched.
        DeploymentError: The emulated AWS refused.
    """
    wanted = fingerprint(stage=stage, upstream_url=upstream_url, callback_test_hosts=callback_test_hosts)
    shutil.rmtree(places.assembly, ignore_errors=True)
    outputs = places.directory / "outputs.json"
    outputs.unlink(missing_ok=True)
    cdk = Cdk(places, endpoint_url)
    is_bootstrapped, is_synthesised = await asyncio.gather(
        cdk.bootstrap(),
        cdk.synth(stage=stage, upstream_endpoint=upstream_url, callback_test_hosts=callback_test_hosts),
    )
    if not is_synthesised:
        raise LocalStackError(f"the CDK app can't be synthesised:\n{last_lines(places.log('synth'))}")
    if not is_bootstrapped:
        raise DeploymentError(f"cdk bootstrap failed:\n{last_lines(places.log('bootstrap'))}")
    if not await cdk.deploy(outputs):
        raise DeploymentError(f"cdk deploy failed:\n{last_lines(places.log('deploy'))}")
    made = Deployment.of(wanted, read(outputs))
    embedded_aws.client("ssm", endpoint_url).put_parameter(
        Name=RECORD, Value=json.dumps(vars(made)), Type="String", Overwrite=True
    )
    return made
