"""The CDK's own command line, pointed at the emulated AWS and at nothing else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from infra.local import embedded_aws, settings
from infra.local.errors import LocalStackError
from infra.local.places import ROOT, Places

PROGRAM = ROOT / "infra/node_modules/.bin/cdk"
TARGET = f"aws://{embedded_aws.ACCOUNT}/{embedded_aws.REGION}"


@dataclass(frozen=True)
class Cdk:
    """The commands that a deployment needs; each says whether it worked, and tells the rest in a log of its name."""

    places: Places
    endpoint_url: str

    async def bootstrap(self) -> bool:
        """Prepare the emulated AWS. It doesn't need the app: run elsewhere, so that it doesn't synthesise it too."""
        return await self._run("bootstrap", TARGET, folder=self.places.directory)

    async def synth(self, **context: str) -> bool:
        """Turn the app into templates and assets, with *context*."""
        pairs = [word for name, value in context.items() for word in ("--context", f"{name}={value}")]
        return await self._run("synth", "--quiet", "--output", str(self.places.assembly), *pairs, folder=ROOT)

    async def deploy(self, outputs: Path) -> bool:
        """Deploy what `synth` made, and write the stack's outputs to *outputs*."""
        app = ["--app", str(self.places.assembly), "--all", "--require-approval", "never"]
        return await self._run("deploy", *app, "--outputs-file", str(outputs), folder=ROOT)

    async def _run(self, command: str, *arguments: str, folder: Path) -> bool:
        if not PROGRAM.exists():
            raise LocalStackError("the CDK command line is not installed: run `make setup`")
        log = self.places.log(command)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                PROGRAM,
                command,
                *arguments,
                cwd=folder,
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                return await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.terminate()

    def _environment(self) -> dict[str, str]:
        return {
            **settings.inherited(),
            **embedded_aws.CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": embedded_aws.REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_DEFAULT_ACCOUNT": embedded_aws.ACCOUNT,
            "CDK_DEFAULT_REGION": embedded_aws.REGION,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CI": "true",  # no questions, no progress bars
        }
