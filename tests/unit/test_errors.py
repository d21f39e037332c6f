from __future__ import annotations

import re

import pytest

from volcengine_client import errors
from volcengine_client.errors import (
    CallerError,
    CapacityError,
    ConcurrencyExceededError,
    CredentialsError,
    DeadlineCutError,
    PoolTableError,
    SecretError,
    UpstreamError,
    UpstreamTimeoutError,
    VolcengineError,
    class_of,
)


def _tree(root: type[VolcengineError] = VolcengineError) -> list[type[VolcengineError]]:
    own = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(known for child in own for known in _tree(child))]


def _drawn() -> dict[str, str]:
    """Return the codes by class, as the module's picture shows them."""
    assert errors.__doc__ is not None
    return dict(re.findall(r"── (\w+Error)(?: \(.*?\))? +([a-z_]+)$", errors.__doc__, re.MULTILINE))


def test_the_picture_of_the_tree_is_the_tree() -> None:
    leaves = {known.__name__: known.code for known in _tree() if known.__name__ in _drawn()}
    families = {known.__name__ for known in _tree()} - leaves.keys()

    assert leaves == _drawn()
    assert families == {"VolcengineError", "CallerError", "CapacityError", "UpstreamError", "PoolError"}


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [known.code for known in _tree()]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("known", _tree(), ids=lambda known: known.__name__)
def test_a_code_leads_back_to_its_class(known: type[VolcengineError]) -> None:
    assert class_of(known.code) is known


def test_a_code_of_nobodys_leads_to_the_root() -> None:
    assert class_of("never_heard_of") is VolcengineError


@pytest.mark.parametrize("known", _tree(), ids=lambda known: known.__name__)
def test_an_error_can_be_made_from_a_sentence(known: type[VolcengineError]) -> None:
    error = known("a sentence")

    assert str(error) == error.message == "a sentence"
    assert error.retry_after_ms is None
    assert error.details == {}


def test_who_caused_it_decides_whether_asking_again_helps() -> None:
    retryable = {known.__name__ for known in _tree() if known("x").retryable}

    assert retryable == {
        "CapacityError",
        "NoSlotInTimeError",
        "AnswerFullError",
        "UpstreamThrottledError",
        "ConcurrencyExceededError",
        "UpstreamUnavailableError",
        "UpstreamTimeoutError",
        "DeadlineCutError",
        "PoolError",
        "LeaseLostError",
        "PoolTableError",
        "JobLostError",
        "BatchStoppedError",
        "GatewayUnavailableError",
        "SecretError",
        "StoreError",
    }


def test_an_error_may_know_better_than_its_class() -> None:
    assert not PoolTableError("refused", retryable=False).retryable
    assert CredentialsError("later", retryable=True).retryable
    error = ConcurrencyExceededError("x", retry_after_ms=5, details={"upstream_code": 3003})
    assert (error.retry_after_ms, error.details) == (5, {"upstream_code": 3003})


def test_configuration_errors_are_value_errors() -> None:
    """Users of the predecessor catch those."""
    assert issubclass(CredentialsError, ValueError)
    assert {known for known in _tree() if issubclass(known, ValueError)} == set(_tree(CallerError))


def test_a_cut_at_the_deadline_is_a_timeout_of_the_upstream() -> None:
    assert issubclass(DeadlineCutError, UpstreamTimeoutError)
    assert issubclass(UpstreamTimeoutError, UpstreamError)


def test_a_refusal_for_concurrency_is_a_matter_of_capacity_not_of_the_upstream() -> None:
    assert issubclass(ConcurrencyExceededError, CapacityError)
    assert not issubclass(ConcurrencyExceededError, UpstreamError)
    assert not issubclass(SecretError, CallerError)
