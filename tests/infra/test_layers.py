from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from infra.layers import asset_key, find_uv, install_command
from infra.stages import Wheels
from tests.infra.templates import REPOSITORY

LAYER = REPOSITORY / "layers/dependencies/requirements.txt"
TESTED = REPOSITORY / "tests/requirements.txt"
BROUGHT_BY_THE_RUNTIME = {"boto3", "botocore", "s3transfer", "python-dateutil", "six", "urllib3"}


def pins(path: Path) -> dict[str, str]:
    """Return versions by name; markers that don't matter on Linux are dropped."""
    lines = [line.split(" ;")[0] for line in path.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_the_layer_holds_the_versions_that_the_tests_run_with() -> None:
    tested = pins(TESTED)

    assert pins(LAYER) == {name: tested[name] for name in pins(LAYER)}


def test_the_layer_holds_what_the_gateway_imports_and_not_what_the_runtime_brings() -> None:
    assert {"aiohttp", "pydantic", "aws-lambda-powertools", "aws-xray-sdk"} <= set(pins(LAYER))
    assert not BROUGHT_BY_THE_RUNTIME & set(pins(LAYER))


def test_lock_files_record_no_download_address() -> None:
    lock = REPOSITORY / "infra/package-lock.json"

    assert "://" not in LAYER.read_text() + TESTED.read_text()
    assert all("resolved" not in package for package in json.loads(lock.read_text())["packages"].values())


def test_layers_of_different_wheels_are_different_assets() -> None:
    keys = [
        asset_key(Wheels(python_version, architecture))
        for python_version in ("3.11", "3.13")
        for architecture in ("arm64", "x86_64")
    ]

    assert all(keys.count(key) == 1 for key in keys)


@pytest.mark.parametrize(
    ("wheels", "platform"),
    [
        (Wheels("3.13", "arm64"), "aarch64-manylinux_2_28"),
        (Wheels("3.13", "x86_64"), "x86_64-manylinux_2_28"),
        (Wheels("3.13", "arm64", "apple-darwin"), "aarch64-apple-darwin"),
    ],
)
def test_uv_is_told_the_machine_and_the_python(wheels: Wheels, platform: str) -> None:
    command = install_command(wheels, uv="uv")

    assert command[command.index("--python-platform") + 1] == platform
    assert command[command.index("--python-version") + 1] == "3.13"


@pytest.mark.parametrize(
    ("wheels", "platforms"),
    [
        (Wheels("3.13", "arm64"), ["manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]),
        (Wheels("3.13", "arm64", "apple-darwin"), ["macosx_11_0_arm64", "macosx_11_0_universal2"]),
    ],
)
def test_without_uv_pip_is_told_the_machine_and_the_python(wheels: Wheels, platforms: list[str]) -> None:
    command = install_command(wheels, uv=None)
    told = [command[i + 1] for i, word in enumerate(command) if word == "--platform"]

    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert told == platforms
    assert command[command.index("--python-version") + 1] == "3.13"


@pytest.mark.parametrize("uv", ["uv", None])
def test_only_what_is_pinned_is_installed_and_nothing_is_built(uv: str | None) -> None:
    command = install_command(Wheels("3.13", "arm64"), uv=uv)

    assert "--no-deps" in command
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert command[command.index("--requirement") + 1] == str(LAYER)


def test_uv_is_looked_for_beside_this_python_first() -> None:
    uv = find_uv()

    assert uv is None or Path(uv).name == "uv"
