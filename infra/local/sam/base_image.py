"""The base image: Amazon's, or where it is out of reach one made of Debian's Python and Amazon's runtime client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.local.errors import LocalStackError
from infra.local.lifecycle import Say
from infra.local.places import ROOT, Places
from infra.local.sam.engine import DockerError, Engine
from infra.local.sam.machine import run
from infra.local.settings import inherited
from infra.stages import LAMBDA_PYTHON, MACHINE_ARCHITECTURE

AMAZONS = f"public.ecr.aws/lambda/python:{LAMBDA_PYTHON}-{MACHINE_ARCHITECTURE}"
SUBSTITUTE = f"volcengine-concurrent-tts/lambda-python:{LAMBDA_PYTHON}-{MACHINE_ARCHITECTURE}"
DEBIAN = "trixie"  # the release whose Python is Lambda's
PULL_MAX_S = 900
BUILD_MAX_S = 900
# What Amazon's image has in /var/runtime, as far as this function needs it.
RUNTIME = ("awslambdaric", "boto3")
LEFT_OUT = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./usr/share/doc/*", "./usr/share/locale/*")
BOOTSTRAP = """\
#!/bin/sh
export PYTHONPATH=/var/task:/opt/python:/var/runtime
exec python3 -m awslambdaric "$_HANDLER"
"""


def base_image(engine: Engine, places: Places, *, say: Say) -> str:
    """Return the name of a base image that *engine* holds in the end.

    A substitute is made only where neither is there and Amazon's can't be pulled.

    Raises:
        LocalStackError: It can't be made here; says what is missing.
    """
    for image in (AMAZONS, SUBSTITUTE):
        if engine.has(image):
            return image
    say(f"Pulling Lambda's base image {AMAZONS}")
    try:
        engine.ask("pull", "--quiet", AMAZONS, within_s=PULL_MAX_S)
    except DockerError as exc:
        say(f"It can't be pulled here: {exc}")
    else:
        return AMAZONS
    say(f"Making a substitute of Debian's Python {LAMBDA_PYTHON}, which takes a minute, once")
    _make(engine, places)
    return SUBSTITUTE


def told_of(image: str) -> str:
    """Say what is true of invocations on *image*."""
    if image == AMAZONS:
        return f"{image}: Amazon's own"
    return (
        f"{image}: NOT Amazon's, which was out of reach, but Debian's Python {LAMBDA_PYTHON} with Amazon's runtime "
        f"client and emulator. Amazon's is tried again once this one is gone (docker image rm, or rm -r .local/sam)"
    )


def _make(engine: Engine, places: Places) -> None:
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise LocalStackError(
            "a substitute is made by Debian's debootstrap, as root: apt-get install debootstrap, "
            "or START_DOCKER=1 make sam; or load Amazon's image: docker load < its file"
        )
    places.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.directory, prefix="base-") as folder:
        tree = Path(folder)
        tree.chmod(0o755)  # it becomes the container's /
        command = ["debootstrap", "--variant=minbase", "--include=python3", DEBIAN, str(tree)]
        run(command, places, within_s=BUILD_MAX_S)
        if not (tree / f"usr/bin/python{LAMBDA_PYTHON}").exists():
            raise LocalStackError(f"Debian's {DEBIAN} has no Python {LAMBDA_PYTHON}; change DEBIAN in {__name__}")
        _add_runtime(tree, places)
        _import(engine, tree)


def _add_runtime(tree: Path, places: Places) -> None:
    runtime = tree / "var/runtime"
    command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--target", str(runtime)]
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[MACHINE_ARCHITECTURE]
    command += ["--python-version", LAMBDA_PYTHON, "--python-platform", f"{machine}-manylinux_2_28"]
    command += ["--only-binary", ":all:", "--constraint", str(ROOT / "tests/requirements.txt"), *RUNTIME]
    run(command, places, within_s=BUILD_MAX_S)
    bootstrap = runtime / "bootstrap"
    bootstrap.write_text(BOOTSTRAP, encoding="utf-8")
    bootstrap.chmod(0o755)
    for folder in ("var/task", "var/rapid", "opt"):
        (tree / folder).mkdir(exist_ok=True)


def _import(engine: Engine, tree: Path) -> None:
    changes = ("ENV LANG=C.UTF-8", "ENV TZ=:UTC", "WORKDIR /var/task")
    command = [
        engine.command,
        "import",
        *(word for change in changes for word in ("--change", change)),
        "-",
        SUBSTITUTE,
    ]
    pack = [shutil.which("tar") or "tar", "--directory", str(tree), *(f"--exclude={path}" for path in LEFT_OUT)]
    with subprocess.Popen([*pack, "--create", "."], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(
            command,
            env={**inherited(), **engine.environment},
            stdin=tar.stdout,
            capture_output=True,
            text=True,
            timeout=BUILD_MAX_S,
            check=False,
        )
    if tar.returncode != 0 or done.returncode != 0:
        raise LocalStackError(f"the base image could not be imported: {done.stderr.strip()}")
