"""The journal as Lambda keeps it: structured logs, metrics in CloudWatch's embedded format, annotations of traces."""

from __future__ import annotations

from dataclasses import asdict

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from volcengine_gateway.journal import Answered, CalledBack, PutOff, Spoken, Worked, told_of_bug


class PowertoolsJournal:
    """A journal by Powertools. Neither events nor answers nor errors' words reach it."""

    def __init__(self, logger: Logger, metrics: Metrics, tracer: Tracer) -> None:
        self._logger = logger
        self._metrics = metrics
        self._tracer = tracer

    def spoken(self, event: Spoken) -> None:
        self._logger.info("spoken", extra=asdict(event))
        # By themselves, since only these figures are told apart by pool.
        metrics = EphemeralMetrics()
        metrics.add_dimension("pool", event.pool)
        metrics.add_metric("Tasks", MetricUnit.Count, event.tasks)
        metrics.add_metric("FailedTasks", MetricUnit.Count, event.failed)
        metrics.add_metric("DeadlineCuts", MetricUnit.Count, event.cut)
        metrics.add_metric("ConcurrencyRefusals", MetricUnit.Count, event.refused)
        if event.waited_ms is not None:
            metrics.add_metric("SlotWait", MetricUnit.Milliseconds, event.waited_ms)
        metrics.flush_metrics()
        self._tracer.put_annotation("pool", event.pool)

    def answered(self, event: Answered) -> None:
        self._logger.info("answered", extra=asdict(event))
        self._metrics.add_metric("Requests", MetricUnit.Count, 1)
        self._metrics.add_metric("RequestTime", MetricUnit.Milliseconds, event.duration_ms)
        self._tracer.put_annotation("route", event.route)
        self._tracer.put_annotation("status", str(event.status))

    def worked(self, event: Worked) -> None:
        self._logger.info("worked", extra=asdict(event))
        metrics = EphemeralMetrics()
        metrics.add_dimension("pool", event.pool)
        metrics.add_metric("JobTasks", MetricUnit.Count, event.spoken)
        metrics.add_metric("FailedJobTasks", MetricUnit.Count, event.failed)
        metrics.add_metric("ConcurrencyRefusals", MetricUnit.Count, event.refused)
        metrics.flush_metrics()
        self._metrics.add_metric("Slices", MetricUnit.Count, 1)

    def put_off(self, event: PutOff) -> None:
        self._logger.warning("put_off", extra=asdict(event))
        self._metrics.add_metric("MessagesPutOff", MetricUnit.Count, 1)

    def called_back(self, event: CalledBack) -> None:
        self._logger.info("called_back", extra=asdict(event))
        self._metrics.add_metric("CallbackTries", MetricUnit.Count, 1)
        if event.state == "failed":
            self._metrics.add_metric("FailedCallbacks", MetricUnit.Count, 1)

    def bug(self, error: BaseException, *, request_id: str) -> None:
        self._logger.error("bug", extra={"request_id": request_id, **told_of_bug(error)})
        self._metrics.add_metric("Bugs", MetricUnit.Count, 1)
