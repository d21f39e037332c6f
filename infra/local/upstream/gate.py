"""The gate: every check of a request in the upstream's order, down to the slot that it takes. No waiting."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from random import Random

from infra.local.upstream.asks import Ask, RefusedError, check_text
from infra.local.upstream.knocks import Knock
from infra.local.upstream.latency import chance_of, fault_of
from infra.local.upstream.record import Call, Gauge, Record
from infra.local.upstream.refusals import (
    CHARACTERS_USED_UP,
    CUT,
    REQID_USED,
    TOO_MANY_A_SECOND,
    VOICE_DENIED,
    VOICE_GONE,
    WRONG_LOGIN,
    not_granted,
    too_many_at_once,
)
from infra.local.upstream.rules import Account, Rules
from infra.local.upstream.voices import Family

V1_FAULTS = {"cut_amid": "cut", "error_amid": "3031", "no_end": "truncated"}  # what has no middle meets instead


@dataclass(slots=True)
class Script:
    """Faults that were ordered, each for one call.

    Attributes:
        of_next: For the next calls, whatever they say.
        of_text: For the next calls with a text.
    """

    of_next: list[str] = field(default_factory=list)
    of_text: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def take(self, text: str) -> str | None:
        """Take the fault ordered for a call; None when there is none."""
        waiting = self.of_text.get(text) or self.of_next
        return waiting.pop(0) if waiting else None


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that holds a slot, and the chance and fault that it will meet."""

    ask: Ask
    family: Family
    call: Call
    rules: Rules
    chance: Random
    fault: str | None


class Gate:
    """Lets requests in or refuses them, and keeps the record."""

    def __init__(self, rules: Rules, *, now_ms: int) -> None:
        self.rules = rules
        self.record = Record(now_ms)
        self.script = Script()

    def admit(self, knock: Knock, *, now_ms: int) -> Admission:
        """Check a request and take a slot for it.

        Raises:
            RefusedError: A check failed, or a fault was injected; no slot is held.
        """
        try:
            account, ask = knock.known(self.rules)
        except RefusedError as exc:
            self.record.strangers[exc.refusal.reason] += 1
            raise
        family = ask.family
        assert family is not None, "who knocks for no voice was refused"
        call = Call(account.app_id, ask.resource, ask.reqid, ask.wishes.text, ask.wishes.voice_type, now_ms)
        gauge = self.record.gauge(call.app_id, call.resource)
        chance = chance_of(self.rules, call.app_id, call.text, gauge.calls_of(call.text))
        is_new = not call.reqid or self.record.is_new(call.reqid)
        self.record.calls.append(call)
        gauge.count_call(call, limit=account.limit or 0)
        try:
            self._check_quotas(account, gauge, ask, now_ms)
            fault = self.script.take(call.text) or fault_of(self.rules, chance)
            fault = V1_FAULTS.get(fault, fault) if fault and ask.api == "v1" else fault
            self._refuse_by_fault(fault)
            gauge.take(now_ms)
            try:
                self._check_in_engine(ask, is_new=is_new)
            except RefusedError:
                gauge.release(now_ms)
                raise
        except RefusedError as exc:
            gauge.count_refusal(call, exc.refusal.reason, is_injected=exc.is_injected, now_ms=now_ms)
            raise
        return Admission(ask, family, call, self.rules, chance, fault)

    def _check_quotas(self, account: Account, gauge: Gauge, ask: Ask, now_ms: int) -> None:
        if account.resources is not None and not {ask.resource, ask.named_resource} & account.resources:
            raise RefusedError(not_granted(ask.resource))
        if account.voices is not None and ask.wishes.voice_type not in account.voices:
            raise RefusedError(VOICE_DENIED)
        if account.characters is not None and gauge.characters + len(ask.wishes.text) > account.characters:
            raise RefusedError(CHARACTERS_USED_UP)
        if account.qps is not None and gauge.starts_in_last_second(now_ms) >= account.qps:
            raise RefusedError(TOO_MANY_A_SECOND)
        if account.limit is not None and gauge.in_flight >= account.limit:
            raise RefusedError(too_many_at_once(self.rules.refusal_style))

    def _refuse_by_fault(self, fault: str | None) -> None:
        at_once = {"3003": too_many_at_once(self.rules.refusal_style), "noauth": WRONG_LOGIN, "cut_early": CUT}
        if fault in at_once:
            raise RefusedError(replace(at_once[fault], reason=fault), is_injected=True)

    def _check_in_engine(self, ask: Ask, *, is_new: bool) -> None:
        if not is_new:
            raise RefusedError(REQID_USED)
        if ask.wishes.voice_type in self.rules.voices_gone:
            raise RefusedError(VOICE_GONE)
        check_text(ask.wishes)
