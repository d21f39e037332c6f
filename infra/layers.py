"""The function's two layers: our own package, and what it depends on."""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, IgnoreMode, ILocalBundling
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.stages import Wheels

REPOSITORY = Path(__file__).parent.parent
NOT_DEPLOYED = ["__pycache__", "*.pyc", ".DS_Store", ".*_cache"]


@jsii.implements(ILocalBundling)
class WheelInstaller:
    """Installs the pinned wheels of another machine into a folder, without Docker."""

    def __init__(self, wheels: Wheels) -> None:
        self._wheels = wheels

    def try_bundle(self, output_dir: str, *_: object, **__: object) -> bool:
        """Fill *output_dir*; raises CalledProcessError when a wheel is missing, since there is no second way.

        A layer is read-only, so what is not compiled here is compiled again at every cold start. That takes the same
        Python as the function's, and bytecode that is believed whatever its source's age: zip files lose it.
        """
        target = Path(output_dir) / "python"
        command = [*install_command(self._wheels, uv=find_uv()), "--target", str(target)]
        subprocess.run(command, check=True, stdout=sys.stderr)  # standard output is the CDK's
        (target / ".lock").unlink(missing_ok=True)
        shutil.rmtree(target / "bin", ignore_errors=True)
        if self._wheels.are_of_this_python:
            compileall.compile_dir(target, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
        return True


def find_uv() -> str | None:
    """Return uv's path: the one installed beside this Python, else the one on the path; None: there is none."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def install_command(wheels: Wheels, *, uv: str | None) -> list[str]:
    """Return the command that installs what is pinned, for *wheels*, with pip when there is no uv.

    Nothing is resolved: the pins are the closure, but for what Lambda's runtime brings.
    """
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[wheels.architecture]
    if uv:
        command = [uv, "pip", "install", "--python-platform", f"{machine}-{wheels.system}"]
    else:
        tags = {
            "manylinux_2_28": [f"manylinux_2_28_{machine}", f"manylinux_2_17_{machine}", f"manylinux2014_{machine}"],
            "apple-darwin": [f"macosx_11_0_{wheels.architecture}", "macosx_11_0_universal2"],
        }[wheels.system]
        command = [sys.executable, "-m", "pip", "install", "--implementation", "cp"]
        command += [word for tag in tags for word in ("--platform", tag)]
    command += ["--python-version", wheels.python_version, "--only-binary", ":all:", "--no-deps", "--quiet"]
    return [*command, "--requirement", str(REPOSITORY / "layers/dependencies/requirements.txt")]


def asset_key(wheels: Wheels) -> list[str]:
    """Return what tells the layers of different wheels apart.

    The CDK hashes the requirements and the bundling command, and nothing else: without the machine in the command it
    would take up another machine's packages from an earlier run. The command itself is never run.
    """
    return [wheels.python_version, wheels.architecture, wheels.system, f"compiled={wheels.are_of_this_python}"]


class Layers(Construct):
    """Both layers.

    Attributes:
        versions: In the order in which the function loads them.
    """

    def __init__(self, scope: Construct, construct_id: str, *, wheels: Wheels) -> None:
        super().__init__(scope, construct_id)
        package = lambda_.LayerVersion(
            self,
            "Package",
            description="volcengine_client",
            code=lambda_.Code.from_asset(
                str(REPOSITORY / "layers/volcengine_client"),
                exclude=[*NOT_DEPLOYED, "CHANGELOG.md"],
                ignore_mode=IgnoreMode.GIT,
            ),
        )
        dependencies = lambda_.LayerVersion(
            self,
            "Dependencies",
            description=f"Pinned libraries for Python {wheels.python_version} on {wheels.architecture}",
            code=lambda_.Code.from_asset(
                str(REPOSITORY / "layers/dependencies"),
                asset_hash_type=AssetHashType.SOURCE,
                bundling=BundlingOptions(
                    image=DockerImage.from_registry("never-used"),
                    command=asset_key(wheels),
                    local=WheelInstaller(wheels),
                ),
            ),
        )
        self.versions = [package, dependencies]
