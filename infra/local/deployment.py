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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.local import embedded_aws, settings
from infra.local.errors import LocalStackError
from infra.local.places import ROOT, Places, read
from infra.local.waiting import last_lines

CDK = ROOT / "infra/node_modules/.bin/cdk"
SOURCES = ("cdk.json", "infra", "functions", "layers")  # what a deployment is made of
NO_SOURCES = frozenset({"local", "node_modules", "decisions", "__pycache__"})
RECORD = "/volcengine-concurrent-tts/deployed"  # the parameter by which the emulated AWS knows what it holds


class DeploymentError(LocalStackError):
    """The CDK app could not be deployed; what the emulated AWS holds now is uncertain."""


@dataclass(frozen=True)
class Deployment:
    """What a deployment has made, by name."""

    fingerprint: str
    api_id: str
    pool_table: str
    secret_id: str
    client_policy_arn: str

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
        )


def fingerprint(*, stage: str, upstream_url: str) -> str:
    """Return what is the same as long as a deployment would come out the same."""
    digest = hashlib.sha256(f"{stage} {upstream_url} {sys.version} {platform.platform()}".encode())
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
    return Deployment(**json.loads(value))


async def deploy(places: Places, *, stage: str, upstream_url: str, endpoint_url: str) -> Deployment:
    """Bootstrap and deploy the CDK app with the CDK's own command line.

    Raises:
        LocalStackError: The app can't be synthesised; nothing was touched.
        DeploymentError: The emulated AWS refused.
    """
    wanted = fingerprint(stage=stage, upstream_url=upstream_url)
    context = ["--context", f"stage={stage}", "--context", f"upstream_endpoint={upstream_url}"]
    environment = {
        **settings.inherited(),
        **embedded_aws.CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": embedded_aws.REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DEFAULT_ACCOUNT": embedded_aws.ACCOUNT,
        "CDK_DEFAULT_REGION": embedded_aws.REGION,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CI": "true",
    }
    shutil.rmtree(places.assembly, ignore_errors=True)
    outputs = places.directory / "outputs.json"
    outputs.unlink(missing_ok=True)
    async with asyncio.TaskGroup() as group:
        # Bootstrapping doesn't need the app: run elsewhere, so that it doesn't synthesise it a second time.
        bootstrap = group.create_task(
            _cdk(
                "bootstrap",
                f"aws://{embedded_aws.ACCOUNT}/{embedded_aws.REGION}",
                environment=environment,
                folder=places.directory,
                log=places.log("bootstrap"),
            )
        )
        synth = group.create_task(
            _cdk(
                "synth",
                "--quiet",
                "--output",
                str(places.assembly),
                *context,
                environment=environment,
                folder=ROOT,
                log=places.log("synth"),
            )
        )
    if not synth.result():
        raise LocalStackError(f"the CDK app can't be synthesised:\n{last_lines(places.log('synth'))}")
    if not bootstrap.result():
        raise DeploymentError(f"cdk bootstrap failed:\n{last_lines(places.log('bootstrap'))}")
    arguments = ["--app", str(places.assembly), "--require-approval", "never", "--outputs-file", str(outputs)]
    if not await _cdk("deploy", "--all", *arguments, environment=environment, folder=ROOT, log=places.log("deploy")):
        raise DeploymentError(f"cdk deploy failed:\n{last_lines(places.log('deploy'))}")
    made = Deployment.of(wanted, read(outputs))
    embedded_aws.client("ssm", endpoint_url).put_parameter(
        Name=RECORD, Value=json.dumps(vars(made)), Type="String", Overwrite=True
    )
    return made


async def _cdk(*arguments: str, environment: dict[str, str], folder: Path, log: Path) -> bool:
    """Run the CDK's command line; say whether it was content."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            CDK, *arguments, cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            return await process.wait() == 0
        finally:
            if process.returncode is None:
                process.terminate()
