"""Rules: everything about the simulated upstream that a person or a test can choose, at the start or while it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from infra.local.upstream.refusals import FAULTS, RefusalStyle, V3RefusalStyle

Rate = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0, le=3_600_000)]
Count = Annotated[int, Field(ge=0)]
FAULT_MEANINGS = {
    **{code: f"HTTP {refusal.status} with code {code} after the work" for code, refusal in FAULTS.items()},
    "3003": "refused at once as if over the limit, in the style of --refusal-style",
    "html502": "HTTP 502 with a page of HTML after the work",
    "cut": "the connection is cut in the middle of the work, which goes on",
    "cut_early": "the connection is cut before any work",
    "empty": "code 3000 with empty data",
    "broken": "code 3000 with data that is no base64, or base64 of noise",
    "truncated": "code 3000 with the first half of the audio",
    "slow": "the work takes --slow-ms",
    "liar": "HTTP 200 with JSON of another shape",
    "noauth": "401 with code 3001, as for a wrong login",
    "cut_amid": "v3: the connection is cut when half of the audio has come; the work goes on. v1: as cut",
    "error_amid": "v3: an error object when half of the audio has come. v1: as 3031",
    "no_end": "v3: the answer ends without its last object. v1: as truncated",
}


def _known(fault: str) -> str:
    if fault not in FAULT_MEANINGS:
        raise ValueError(f"a fault should be one of {', '.join(sorted(FAULT_MEANINGS))}")
    return fault


Fault = Annotated[str, AfterValidator(_known)]


def _sum_to_one_at_most(rates: dict[Fault, Rate]) -> dict[Fault, Rate]:
    if sum(rates.values()) > 1:
        raise ValueError("fault rates should sum to 1 at most")
    return rates


class Account(BaseModel):
    """An app id with its key, and what differs from the rules for all; None: as for all."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    app_id: Annotated[str, Field(min_length=1)]
    token: SecretStr
    api_key: SecretStr | None = None
    limit: Count | None = None
    qps: Count | None = None
    characters: Count | None = None
    resources: frozenset[str] | None = None
    voices: frozenset[str] | None = None


class Rules(BaseModel):
    """How the simulated upstream behaves.

    Attributes:
        accounts: Who may call; empty: everyone with an app id and a token.
        limit: Calls in progress for each app id and resource; one more is refused at once.
        qps: Calls that may start within a second; None: any.
        characters: Characters an account may buy; None: any.
        resources: Products an account has opened; None: all.
        voices: Voices an account has ordered; None: all.
        voices_gone: Voices that no longer exist (3050).
        refusal_style: Status and code of a refusal for the limit.
        v3_refusal_style: The same of v3.
        has_lines: Whether each object of a v3 answer has a line of its own; else they are glued together.
        has_header_errors: Whether code and message of a refused v3 request stand in a `header`.
        piece_bytes: A v3 answer is written in pieces of so many bytes, wherever they cut it; None: by object.
        hold_slot_until_done: Whether a call counts to the end of its work when its caller has gone.
        release_lag_ms: How long a finished call goes on counting after its answer.
        mean_ms: Mean time of a call, whatever it says; None: by voice family and length of the audio.
        sigma: Spread of the log-normal distribution; 0: no spread.
        tail_rate, tail_factor: This share of calls takes this many times as long.
        work_max_ms: A call is ended with HTTP 504 after this.
        slow_ms: How long a call with the fault `slow` would take.
        faults: Share of calls that end so.
        seed: Decides all chance, whatever the order of calls.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    accounts: tuple[Account, ...] = ()
    limit: Count = 10
    qps: Count | None = None
    characters: Count | None = None
    resources: frozenset[str] | None = None
    voices: frozenset[str] | None = None
    voices_gone: frozenset[str] = frozenset()
    refusal_style: RefusalStyle = "429+3003"
    v3_refusal_style: V3RefusalStyle = "429+45000292"
    has_lines: bool = True
    has_header_errors: bool = False
    piece_bytes: Annotated[int, Field(ge=1)] | None = None
    hold_slot_until_done: bool = True
    release_lag_ms: Milliseconds = 0
    mean_ms: Milliseconds | None = None
    sigma: Annotated[float, Field(ge=0, le=3)] = 0.25
    tail_rate: Rate = 0.0
    tail_factor: Annotated[float, Field(ge=1, le=1_000)] = 8.0
    work_max_ms: Milliseconds = 60_000
    slow_ms: Milliseconds = 120_000
    faults: Annotated[dict[Fault, Rate], AfterValidator(_sum_to_one_at_most)] = {}
    seed: int = 0

    def changed(self, changes: dict[str, Any]) -> Rules:
        """Return these rules with *changes*, checked.

        Raises:
            ValueError: A change has an unknown name or a wrong shape or range; the message names it.
        """
        return Rules.model_validate({**{name: getattr(self, name) for name in self.model_fields_set}, **changes})

    def account(self, app_id: str, token: str) -> Account | None:
        """Return the account of a login with all its terms; None when there is none."""
        login = Account(app_id=app_id, token=SecretStr(token))
        known: Iterable[Account] = self.accounts or (login,)
        found = next((one for one in known if (one.app_id, one.token) == (login.app_id, login.token)), None)
        return self._with_terms(found) if found else None

    def account_of_key(self, api_key: str) -> Account | None:
        """Return the account of an API key with all its terms; None when there is none."""
        key = SecretStr(api_key)
        # Where everyone may call, the key stands for an app id that nobody can read it from.
        app_id = f"key-{hashlib.sha256(api_key.encode()).hexdigest()[:8]}"
        known: Iterable[Account] = self.accounts or (Account(app_id=app_id, token=key, api_key=key),)
        found = next((one for one in known if one.api_key == key), None)
        return self._with_terms(found) if found else None

    def _with_terms(self, account: Account) -> Account:
        terms = {
            name: getattr(self, name) if getattr(account, name) is None else getattr(account, name)
            for name in ("limit", "qps", "characters", "resources", "voices")
        }
        return account.model_copy(update=terms)
