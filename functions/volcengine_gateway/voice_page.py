"""The list of voices, a page at a time. Pure, but that the list is read the first time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import VOICES_PAGE, VOICES_PAGE_MAX
from volcengine_client.voice_list import voices
from volcengine_gateway.told import VoicesTold

FILTERS = ("language", "gender", "family", "q")
KNOWN = (*FILTERS, "limit", "after")


def voice_page(query: Mapping[str, str]) -> str:
    """Return the voices that are asked for, as JSON: a page of them, how many there are, and where to go on.

    Raises:
        InvalidRequestError: A filter that no voice could fit, or one that there is not.
    """
    for name in query:
        if name not in KNOWN:
            # Not repeated: what stands there may be anything.
            raise InvalidRequestError.of_field("?", f"Unknown filter; there are {', '.join(KNOWN)}")
    limit = query.get("limit", str(VOICES_PAGE))
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 6 and 1 <= int(limit) <= VOICES_PAGE_MAX):
        message = f"limit should be a whole number from 1 to {VOICES_PAGE_MAX}"
        raise InvalidRequestError.of_field("limit", message)
    found = voices(**{name: query[name] for name in FILTERS if name in query})
    after = query.get("after", "")
    left = [voice for voice in found if voice.id > after]
    page = left[: int(limit)]
    told: VoicesTold = {
        "voices": page,
        "count": len(found),
        "next_after": page[-1].id if len(page) < len(left) else None,
    }
    return json.dumps(told, ensure_ascii=False, default=asdict)
