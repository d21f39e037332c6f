"""The tree of errors.

One class has one code, and callers may match on either.

    VolcengineError                     .code  .retryable  .retry_after_ms  .details
    ├── CallerError (a ValueError too)  the request must change
    │   ├── CredentialsError            invalid_credentials
    │   ├── AdminKeyError               invalid_admin_key
    │   ├── UnknownPoolError            unknown_pool
    │   ├── UnknownJobError             unknown_job
    │   ├── BatchTooLargeError          too_large
    │   └── InvalidRequestError         invalid_request
    ├── CapacityError                   ask again later; nothing was bought
    │   ├── NoSlotInTimeError           no_slot_in_time
    │   ├── AnswerFullError             answer_full
    │   └── UpstreamThrottledError      upstream_throttled
    │       └── ConcurrencyExceededError concurrency_exceeded
    ├── UpstreamError
    │   ├── UpstreamRejectedError       upstream_rejected
    │   │   ├── LoginRejectedError      login_rejected
    │   │   ├── VoiceNotGrantedError    voice_not_granted
    │   │   ├── TextRefusedError        text_refused
    │   │   ├── OptionRefusedError      option_refused
    │   │   └── QuotaUsedUpError        quota_used_up
    │   ├── UpstreamUnavailableError    upstream_unavailable
    │   └── UpstreamTimeoutError        upstream_timeout
    │       └── DeadlineCutError        cut_at_deadline
    ├── PoolError
    │   ├── LeaseLostError              lease_lost
    │   └── PoolTableError              pool_table
    ├── JobCancelledError               job_cancelled
    ├── JobFailedError                  job_failed
    │   └── JobLostError                job_lost
    ├── BatchStoppedError               batch_stopped
    ├── GatewayUnavailableError         gateway_unavailable
    ├── StoreError                      store_unavailable
    └── SecretError                     secret_unavailable

Messages never hold a credential or a spoken text (I6).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class VolcengineError(Exception):
    """Say what went wrong and whether asking again can help.

    Args:
        message: One sentence that tells the caller what to do; no secret, no spoken text.
        retryable: Overrides what the class says.
        retry_after_ms: How long to wait before asking again; None when nobody can tell.
        details: Further facts for machines, as JSON.
    """

    code: ClassVar[str] = "internal"
    _retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = self._retryable if retryable is None else retryable
        self.retry_after_ms = retry_after_ms
        self.details = details or {}


class CallerError(VolcengineError, ValueError):
    """The request must change before it can succeed."""

    code = "caller_error"


class CredentialsError(CallerError):
    """Credentials are missing, incomplete or were rejected by the upstream."""

    code = "invalid_credentials"


class AdminKeyError(CallerError):
    """The admin key is wrong or missing."""

    code = "invalid_admin_key"


class UnknownPoolError(CallerError):
    """No such pool."""

    code = "unknown_pool"


class UnknownJobError(CallerError):
    """No such job, or no longer."""

    code = "unknown_job"


class BatchTooLargeError(CallerError):
    """The request's body is larger than the bound in its message."""

    code = "too_large"


class InvalidRequestError(CallerError):
    """A field has a wrong shape, range or length; `details["fields"]` names each."""

    code = "invalid_request"

    @classmethod
    def of_field(cls, field: str, message: str, *, retryable: bool = False) -> Self:
        """Return the error about one field."""
        return cls(message, retryable=retryable, details={"fields": [{"field": field, "message": message}]})


class CapacityError(VolcengineError):
    """There was no room now; nothing was bought."""

    code = "capacity"
    _retryable = True


class NoSlotInTimeError(CapacityError):
    """No slot of the pool came before the deadline."""

    code = "no_slot_in_time"


class AnswerFullError(CapacityError):
    """The audio might not have fitted into the answer, so it was not bought."""

    code = "answer_full"


class UpstreamThrottledError(CapacityError):
    """The upstream refuses calls for coming too fast."""

    code = "upstream_throttled"


class ConcurrencyExceededError(UpstreamThrottledError):
    """The upstream counts more calls in progress than the account allows."""

    code = "concurrency_exceeded"


class UpstreamError(VolcengineError):
    """The upstream did not give audio."""

    code = "upstream"


class UpstreamRejectedError(UpstreamError):
    """The upstream refuses this call, and would again."""

    code = "upstream_rejected"


class LoginRejectedError(UpstreamRejectedError):
    """The upstream does not know the app id or the access key."""

    code = "login_rejected"


class VoiceNotGrantedError(UpstreamRejectedError):
    """The voice is unknown, or the account has not ordered it."""

    code = "voice_not_granted"


class TextRefusedError(UpstreamRejectedError):
    """The upstream can't read this text with this voice."""

    code = "text_refused"


class OptionRefusedError(UpstreamRejectedError):
    """The voice can't do what the task asks for beside its text."""

    code = "option_refused"


class QuotaUsedUpError(UpstreamRejectedError):
    """The account's characters are used up."""

    code = "quota_used_up"


class UpstreamUnavailableError(UpstreamError):
    """The upstream is busy or broken, or its audio was not whole."""

    code = "upstream_unavailable"
    _retryable = True


class UpstreamTimeoutError(UpstreamError):
    """The upstream did not answer in time."""

    code = "upstream_timeout"
    _retryable = True


class DeadlineCutError(UpstreamTimeoutError):
    """The request's deadline came while the upstream was at work; the text may have been paid for."""

    code = "cut_at_deadline"


class PoolError(VolcengineError):
    """The shared pool could not serve."""

    code = "pool"
    _retryable = True


class LeaseLostError(PoolError):
    """A slot's lease no longer covers a call."""

    code = "lease_lost"


class PoolTableError(PoolError):
    """The pool's table gave no answer in time; a write may have happened."""

    code = "pool_table"


class JobCancelledError(VolcengineError):
    """The job was cancelled before this task was spoken to its end."""

    code = "job_cancelled"


class JobFailedError(VolcengineError):
    """The job ended before this task was spoken to its end."""

    code = "job_failed"


class JobLostError(JobFailedError):
    """The workers ended over and over on the job; sent again, it begins anew."""

    code = "job_lost"
    _retryable = True


class BatchStoppedError(VolcengineError):
    """The caller stopped the batch before this task's turn came; nothing was bought."""

    code = "batch_stopped"
    _retryable = True


class GatewayUnavailableError(VolcengineError):
    """The gateway can't be reached, or gave no answer of its own; it may have done what it was asked for."""

    code = "gateway_unavailable"
    _retryable = True


class StoreError(VolcengineError):
    """What jobs are kept in gave no answer in time; a write may have happened."""

    code = "store_unavailable"
    _retryable = True


class SecretError(VolcengineError):
    """The server's credentials could not be read."""

    code = "secret_unavailable"
    _retryable = True


def class_of(code: str) -> type[VolcengineError]:
    """Return the class that has *code*; `VolcengineError` for a code of nobody's."""
    found = [VolcengineError]
    for known in found:
        if known.code == code:
            return known
        found.extend(known.__subclasses__())
    return VolcengineError
