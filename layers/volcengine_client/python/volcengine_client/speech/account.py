"""One account, whichever API a task needs."""

from __future__ import annotations

from volcengine_client.errors import UpstreamRejectedError
from volcengine_client.models import TaskItem
from volcengine_client.speech.call import Call
from volcengine_client.speech.login import Login
from volcengine_client.speech.options import v1_audio, v1_cluster, v1_request, v3_params
from volcengine_client.speech.route import route_of
from volcengine_client.speech.speech import Speech
from volcengine_client.speech.v1 import V1
from volcengine_client.speech.v3 import V3
from volcengine_client.speech.wire import Wire


class AccountSpeaker:
    """Speak through one account: each task over the API that its voice and its wishes need."""

    def __init__(self, wire: Wire, login: Login) -> None:
        self._v1 = V1(wire, login) if login.has_pair else None
        self._v3 = V3(wire, login)

    async def speak(self, task: TaskItem, *, call: Call, timeout_ms: int) -> Speech:
        """Speak a task: one attempt, as `V1.speak` and `V3.speak` do it.

        Raises:
            VoiceNotGrantedError: No API that this account can log in to speaks the voice; nothing was sent.
            VolcengineError: As those say.
        """
        route = route_of(task, has_v1=self._v1 is not None)
        speaker = self._v1 if self._v1 is not None and route.api == "v1" else self._v3
        return await speaker.speak(task, call=call, timeout_ms=timeout_ms)


def refusal_of(task: TaskItem, *, has_v1: bool = True) -> UpstreamRejectedError | None:
    """Return why a task would be refused before anything is sent; None when it would be sent.

    Args:
        task: What to speak.
        has_v1: Whether the account has an app id and an access key, without which there is no v1.
    """
    try:
        route = route_of(task, has_v1=has_v1)
        if route.api == "v3":
            v3_params(task, route.family, route.model)
        else:
            v1_cluster(route.family)
            v1_audio(task, route.family)
            v1_request(task, route.family, route.model)
    except UpstreamRejectedError as refusal:
        return refusal
    return None
