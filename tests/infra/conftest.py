from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from infra.stages import STAGES
from tests.infra.templates import deployed


@pytest.fixture(scope="session")
def templates() -> Mapping[str, Mapping[str, Any]]:
    """Every stage's template, synthesised once, through cdk-nag: a finding fails every test here."""
    return {name: deployed(name) for name in STAGES}


@pytest.fixture(scope="session", params=sorted(STAGES))
def any_stage(request: pytest.FixtureRequest, templates: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return templates[request.param]


@pytest.fixture(scope="session")
def cloud(templates: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return templates["cloud"]
