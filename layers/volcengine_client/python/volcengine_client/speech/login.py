"""How an account says who it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from volcengine_client.errors import CredentialsError
from volcengine_client.limits import CREDENTIAL_CHARACTERS_MAX

_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Login:
    """An account of the upstream: app id and access key together, an API key, or all three.

    The v1 API takes the pair only. The v3 API takes either, and is told the API key when there is one; never both at
    once, which it refuses.

    Attributes:
        app_id: "" when there is none.
        access_key: "" exactly when `app_id` is.
        api_key: "" when there is none.

    Raises:
        CredentialsError: A part is too long or could not stand in a header; half a pair, or nothing.
    """

    app_id: str = ""
    access_key: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse what could not be a login, so that nothing of it ends up in an error further on."""
        for name, value in (("app id", self.app_id), ("access key", self.access_key), ("API key", self.api_key)):
            if value and (len(value) > CREDENTIAL_CHARACTERS_MAX or not _VISIBLE.fullmatch(value)):
                raise CredentialsError(
                    f"The {name} should be 1 to {CREDENTIAL_CHARACTERS_MAX} visible ASCII characters without spaces"
                )
        if bool(self.app_id) != bool(self.access_key):
            raise CredentialsError("App id and access key belong together: give both or none")
        if not self.app_id and not self.api_key:
            raise CredentialsError("An account has an app id and an access key, or an API key")

    @property
    def has_pair(self) -> bool:
        """Whether there are an app id and an access key."""
        return bool(self.app_id)
