"""The deployed local stack for benchmarks: the same as for its tests."""

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

__all__ = ["aws", "gateway", "quick_gateway", "quick_simulator", "quick_stack", "session", "simulator", "stack"]
