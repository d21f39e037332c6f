"""The deployed local stack and the function in Lambda's runtime for benchmarks: the same as for their tests."""

from tests.local.conftest import (
    aws,
    gateway,
    quick_gateway,
    quick_simulator,
    quick_stack,
    session,
    simulator,
    stack,
)
from tests.runtime.conftest import aws_url, layout

__all__ = [
    "aws",
    "aws_url",
    "gateway",
    "layout",
    "quick_gateway",
    "quick_simulator",
    "quick_stack",
    "session",
    "simulator",
    "stack",
]
