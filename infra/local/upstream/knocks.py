"""Knocks: a request at the door of an API, and whom it is from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from infra.local.upstream.asks import Ask, RefusedError, ask_of, body_of, section, token_of
from infra.local.upstream.asks_v3 import account_of, v3_ask_of
from infra.local.upstream.refusals import NO_ENGINE, VOICE_DENIED, WRONG_LOGIN
from infra.local.upstream.rules import Account, Rules
from infra.local.upstream.voices import is_in_cluster


class Knock(Protocol):
    """A request at one of the APIs."""

    def known(self, rules: Rules) -> tuple[Account, Ask]:
        """Say who asks for what; nothing of it can be counted before.

        Raises:
            RefusedError: A check failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class V1Knock:
    """A request at `POST /api/v1/tts`."""

    authorization: str | None
    raw: bytes

    def known(self, rules: Rules) -> tuple[Account, Ask]:
        body = body_of(self.raw)
        token = token_of(self.authorization)
        app_id = section(body, "app").get("appid")
        account = rules.account(app_id, token) if isinstance(app_id, str) and app_id and token else None
        if account is None:
            raise RefusedError(WRONG_LOGIN)
        ask = ask_of(body)
        if ask.family is None:
            raise RefusedError(VOICE_DENIED)
        if not ask.family.is_on_v1 or not is_in_cluster(ask.family, ask.cluster):
            raise RefusedError(NO_ENGINE)
        return account, ask


@dataclass(frozen=True, slots=True)
class V3Knock:
    """A request at `POST /api/v3/tts/unidirectional`."""

    headers: Mapping[str, str]
    raw: bytes

    def known(self, rules: Rules) -> tuple[Account, Ask]:
        body = body_of(self.raw)
        account = account_of(self.headers, rules)
        return account, v3_ask_of(self.headers, body)
