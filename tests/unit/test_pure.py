"""What says that it is pure is held to it: here that nothing in it waits, by import-linter that it knows nobody."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import volcengine_client

ROOT = Path(volcengine_client.__file__).parent
PURE_BY_NATURE = {"volcengine_client.errors", "volcengine_client.limits"}
CLAIM = re.compile(r"\bPure[.:]")


def _claimants() -> dict[str, ast.Module]:
    modules = {
        ".".join(("volcengine_client", *path.relative_to(ROOT).with_suffix("").parts)): ast.parse(path.read_text())
        for path in ROOT.rglob("*.py")
    }
    return {
        name: tree
        for name, tree in modules.items()
        if name in PURE_BY_NATURE or CLAIM.search((ast.get_docstring(tree) or "").partition("\n")[0])
    }


def test_the_wall_around_what_is_pure_leaves_none_of_it_out() -> None:
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (wall,) = (contract for contract in contracts if contract["name"].startswith("What is pure"))

    assert sorted(_claimants()) == wall["source_modules"]


def test_nothing_pure_waits() -> None:
    waiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)

    assert [
        name for name, tree in _claimants().items() if any(isinstance(one, waiting) for one in ast.walk(tree))
    ] == []
