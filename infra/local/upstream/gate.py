"""The gate: every check of a request in the upstream's order, down to the slot that it takes. No waiting."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from random import Random

from infra.local.upstream.asks import Ask, RefusedError, ask_of, body_of, check_text, section, token_of
from infra.local.upstream.latency import chance_of, fault_of
from infra.local.upstream.record import Call, Gauge, Record
from infra.local.upstream.refusals import (
    CHARACTERS_USED_UP,
    CUT,
    NO_ENGINE,
    REQID_USED,
    TOO_MANY_A_SECOND,
    VOICE_DENIED,
    VOICE_GONE,
    WRONG_LOGIN,
    not_granted,
    too_many_at_once,
)
from infra.local.upstream.rules import Account, Rules
from infra.local.upstream.voices import Family, is_in_cluster


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

    def admit(self, *, authorization: str | None, raw: bytes, now_ms: int) -> Admission:
        """Check a request and take a slot for it.

        Raises:
            RefusedError: A check failed, or a fault was injected; no slot is held.
        """
        try:
            account, ask, family = self._known(authorization, raw)
        except RefusedError as exc:
            self.record.strangers[exc.refusal.reason] += 1
            raise
        call = Call(account.app_id, family.value, ask.reqid, ask.wishes.text, ask.wishes.voice_type, now_ms)
        gauge = self.record.gauge(call.app_id, call.resource)
        chance = chance_of(self.rules, call.app_id, call.text, gauge.calls_of(call.text))
        is_new = self.record.is_new(call.reqid)
        self.record.calls.append(call)
        gauge.count_call(call, limit=account.limit or 0)
        try:
            self._check_quotas(account, gauge, ask, now_ms)
            fault = self.script.take(call.text) or fault_of(self.rules, chance)
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

    def _known(self, authorization: str | None, raw: bytes) -> tuple[Account, Ask, Family]:
        """Say who asks for what; nothing of it can be counted before."""
        body = body_of(raw)
        token = token_of(authorization)
        app_id = section(body, "app").get("appid")
        account = self.rules.account(app_id, token) if isinstance(app_id, str) and app_id and token else None
        if account is None:
            raise RefusedError(WRONG_LOGIN)
        ask = ask_of(body)
        family = ask.family
        if family is None:
            raise RefusedError(VOICE_DENIED)
        if not family.is_on_v1 or not is_in_cluster(family, ask.cluster):
            raise RefusedError(NO_ENGINE)
        return account, ask, family

    def _check_quotas(self, account: Account, gauge: Gauge, ask: Ask, now_ms: int) -> None:
        resource = ask.family.value if ask.family else ""
        if account.resources is not None and resource not in account.resources:
            raise RefusedError(not_granted(resource))
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
