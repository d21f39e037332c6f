"""What the operator is told of callbacks: each try, and which were given up."""

from __future__ import annotations

import io
import json
import logging

import pytest
from aws_lambda_powertools import Logger, Metrics, Tracer

from volcengine_gateway.journal import CalledBack, LogJournal
from volcengine_gateway.powertools_journal import PowertoolsJournal

JOB_ID = "0" * 32
TRIED = CalledBack(JOB_ID, 9, "announced", "http_500")
GIVEN_UP = CalledBack(JOB_ID, 10, "failed", "timeout")


def test_the_log_of_the_server_has_a_line_for_each_try(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        LogJournal(logging.getLogger("a-log")).called_back(GIVEN_UP)

    assert [json.loads(line) for line in caplog.messages] == [
        {"message": "called_back", "job_id": JOB_ID, "attempt": 10, "state": "failed", "reason": "timeout"}
    ]


def test_lambda_counts_tries_and_those_that_were_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    lines = io.StringIO()
    metrics = Metrics(namespace="a-namespace", service="a-service")
    journal = PowertoolsJournal(Logger(service="a-service", stream=lines), metrics, Tracer(disabled=True))
    journal.called_back(TRIED)
    journal.called_back(GIVEN_UP)
    metrics.flush_metrics()

    counted = json.loads(capsys.readouterr().out)
    assert (counted["CallbackTries"], counted["FailedCallbacks"]) == ([1.0, 1.0], [1.0])
    assert [json.loads(line)["reason"] for line in lines.getvalue().splitlines()] == ["http_500", "timeout"]
