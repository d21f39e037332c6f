"""Asks of v3: headers and body, read and checked field by field. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra.local.upstream.asks import Ask, RefusedError, number_in, section, string_in
from infra.local.upstream.audio import ENCODINGS, Wishes
from infra.local.upstream.refusals import MISMATCHED, NO_LOGIN, VOICE_DENIED, WRONG_KEY, WRONG_LOGIN, bad_parameter
from infra.local.upstream.rules import Account, Rules
from infra.local.upstream.voices import PRODUCTS, Family, family_of

RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
BITRATE = 64  # kilobits a second, mp3; what every rate can have


def account_of(headers: Mapping[str, str], rules: Rules) -> Account:
    """Return who asks, by an API key or by app id and access key.

    Raises:
        RefusedError: Nobody does, or both are there, or they are wrong.
    """
    key, access_key = headers.get("X-Api-Key"), headers.get("X-Api-Access-Key")
    app_id = headers.get("X-Api-App-Id") or headers.get("X-Api-App-Key")
    if key and not app_id and not access_key:
        account = rules.account_of_key(key)
        if account is None:
            raise RefusedError(WRONG_KEY)
        return account
    if not app_id and not access_key:
        raise RefusedError(NO_LOGIN)
    account = rules.account(app_id, access_key) if app_id and access_key and not key else None
    if account is None:
        raise RefusedError(WRONG_LOGIN)
    return account


def v3_ask_of(headers: Mapping[str, str], body: Mapping[str, Any]) -> Ask:
    """Take the fields apart; unknown ones are ignored, and so are additions that are no string.

    Raises:
        RefusedError: A field is missing, or of a wrong shape or range, or the voice belongs to another product.
    """
    params = section(body, "req_params")
    audio, additions = section(params, "audio_params"), _additions(params)
    voice_type = string_in(params, "speaker")
    family = family_of(voice_type)
    named = headers.get("X-Api-Resource-Id", "")
    if family is None:
        raise RefusedError(VOICE_DENIED)
    product, resource = PRODUCTS.get(named, (None, ""))
    if not family.is_on_v3 or product is not family:
        raise RefusedError(MISMATCHED)
    is_second = family is Family.SECOND or named == "seed-icl-2.0"
    return Ask(
        api="v3",
        reqid=headers.get("X-Api-Request-Id", ""),
        operation="query",
        wishes=_wishes(params, audio, additions, is_second=is_second),
        family=family,
        resource=resource,
        named_resource=named,
        wants_words=audio.get("enable_subtitle" if is_second else "enable_timestamp") is True,
        wants_usage=headers.get("X-Control-Require-Usage-Tokens-Return") in {"*", "text_words"},
    )


def _wishes(
    params: Mapping[str, Any], audio: Mapping[str, Any], additions: Mapping[str, Any], *, is_second: bool
) -> Wishes:
    ssml = params.get("ssml", "")
    is_ssml = isinstance(ssml, str) and bool(ssml)
    if is_ssml and is_second:
        raise RefusedError(bad_parameter("ssml is not supported by this speaker"))
    encoding, rate = audio.get("format", "mp3"), audio.get("sample_rate", 24_000)
    if encoding not in ENCODINGS:
        raise RefusedError(bad_parameter("unsupported format"))
    if rate not in RATES or isinstance(rate, float):
        raise RefusedError(bad_parameter("unsupported sample_rate"))
    return Wishes(
        text=ssml if is_ssml else string_in(params, "text"),
        voice_type=string_in(params, "speaker"),
        encoding=encoding,
        rate=rate,
        speed=1 + number_in(audio, "speech_rate", -50, 100, 0) / 100,
        volume=1 + number_in(audio, "loudness_rate", -50, 100, 0) / 100,
        pitch=2 ** (number_in(section(additions, "post_process"), "pitch", -12, 12, 0) / 12),
        bitrate=BITRATE,
        silence_ms=round(number_in(additions, "silence_duration", 0, 30_000, 0)),
        is_ssml=is_ssml,
    )


def _additions(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what stands in the string; an object in its place is ignored without a word, as by the real one."""
    told = params.get("additions")
    if not isinstance(told, str):
        return {}
    try:
        additions = json.loads(told)
    except ValueError as exc:
        raise RefusedError(bad_parameter("additions should be JSON in a string")) from exc
    return additions if isinstance(additions, dict) else {}
