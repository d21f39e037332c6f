"""Pure: which API and which product of the upstream speak a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volcengine_client.errors import VoiceNotGrantedError
from volcengine_client.models import TaskItem
from volcengine_client.speech.options import V1_RATES
from volcengine_client.speech.voices import (
    BIG,
    BIG_2,
    CLONE,
    CLONE_2,
    SMALL,
    SPEECH_TO_SPEECH,
    UNKNOWN,
    Family,
    family_of,
)

Api = Literal["v1", "v3"]


@dataclass(frozen=True, slots=True)
class Route:
    """How a task gets to its voice.

    Attributes:
        api: Which API speaks it.
        family: What the voice is able to do.
        resource: What v3 is told, and what the account must have been granted; None when nobody can tell.
        model: What the API is told of the model; None: nothing.
    """

    api: Api
    family: Family
    resource: str | None
    model: str | None = None


_PRODUCTS: dict[str, tuple[Api, Family]] = {
    "volc.tts.default": ("v1", SMALL),
    "volc.megatts.default": ("v1", CLONE),
    "volc.service_type.10029": ("v3", BIG),
    "volc.service_type.10048": ("v3", BIG),
    "seed-tts-1.0": ("v3", BIG),
    "seed-tts-1.0-concurr": ("v3", BIG),
    "seed-tts-2.0": ("v3", BIG_2),
    "seed-icl-1.0": ("v3", CLONE),
    "seed-icl-1.0-concurr": ("v3", CLONE),
    "seed-icl-2.0": ("v3", CLONE_2),
}
# The names under which calls are counted, where APIs have several for one product.
_COUNTED_AS = {
    "volc.service_type.10029": "seed-tts-1.0",
    "volc.service_type.10048": "seed-tts-1.0-concurr",
    "volc.megatts.default": "seed-icl-1.0",
}
_SECOND_MODELS = "seed-tts-2.0-"  # followed by standard or expressive


def route_of(task: TaskItem, *, has_v1: bool = True) -> Route:
    """Return how a task gets to its voice.

    What the task says goes first: its `resource_id`, then its `model`. Else its voice decides: small and unknown voices
    are spoken by v1; seed-tts-1.0 by v1 unless the task wants what only v3 can do; newer and cloned ones by v3.

    Args:
        task: What to speak.
        has_v1: Whether the account has an app id and an access key, without which there is no v1.

    Raises:
        VoiceNotGrantedError: No API speaks the voice, or only one that the account can't log in to.
    """
    route = _said(task) or _by_voice(task, has_v1=has_v1)
    if route.api == "v1" and not has_v1:
        raise VoiceNotGrantedError(
            f"The v3 API can't speak {route.family.name} voices; v1 does, with an app id and an access key"
        )
    return route


def v1_route_of(task: TaskItem) -> Route:
    """Return how a task is spoken by v1, whatever API it would take by itself."""
    said = _said(task)
    family = said.family if said else family_of(task.voice_type)
    return Route("v1", family, family.resource, said.model if said else task.model)


def product_of(task: TaskItem) -> str:
    """Return what people call the product by which a task is billed."""
    return v1_route_of(task).family.name


def counted_as(resource: str) -> str:
    """Return the one name of a product under which its calls are counted, whatever the API."""
    return _COUNTED_AS.get(resource, resource)


def counter_of(task: TaskItem, *, has_v1: bool = True) -> str:
    """Return the name under which a task's call is counted; "" when nobody can tell, or it would be refused."""
    try:
        return counted_as(route_of(task, has_v1=has_v1).resource or "")
    except VoiceNotGrantedError:
        return ""


def _said(task: TaskItem) -> Route | None:
    """Return the route that the task names itself; None when it leaves that to the voice."""
    model = None if task.model in _PRODUCTS else task.model
    resource = task.resource_id or (task.model if model is None else None)
    if resource is not None:
        api, family = _PRODUCTS.get(resource) or ("v3", _family_of_product(resource, task.voice_type))
        return Route(api, family, resource, model)
    if model is not None and model.startswith(_SECOND_MODELS):
        family = CLONE_2 if family_of(task.voice_type) in {CLONE, CLONE_2} else BIG_2
        return Route("v3", family, family.v3_resource, model)
    return None


def _family_of_product(resource: str, voice_type: str) -> Family:
    """Guess what a product that is not known here can do."""
    by_voice = family_of(voice_type)
    if by_voice.v3_resource is not None:
        return by_voice
    return BIG_2 if "2." in resource else BIG


def _by_voice(task: TaskItem, *, has_v1: bool) -> Route:
    family = family_of(task.voice_type)
    if family is SPEECH_TO_SPEECH:
        raise VoiceNotGrantedError(
            "This is a speech-to-speech voice: only the realtime dialogue API has it, and no API for texts"
        )
    if family is UNKNOWN and not has_v1:
        family = BIG_2  # v3 has to be told some product: the one that new voices belong to
    is_beyond_v1 = bool(task.pitch) or (task.sample_rate is not None and task.sample_rate not in V1_RATES)
    wants_v3 = not has_v1 or (family is BIG and is_beyond_v1)
    if family.cluster is None or (wants_v3 and family.v3_resource is not None):
        return Route("v3", family, family.v3_resource, task.model)
    return Route("v1", family, family.resource, task.model)
