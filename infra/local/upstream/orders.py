"""Orders: what `POST /_simulator` takes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from infra.local.upstream.rules import Fault, Rules


class Orders(BaseModel):
    """What a person or a test wants of the upstream from now on.

    Attributes:
        changes: Rules by name, with their new values.
        is_reset: Forget all that was seen, request ids and ordered faults included; calls in flight stay counted.
        next_faults: Faults for the next calls, one each.
        text_faults: Faults for the next calls with a text, one each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    changes: dict[str, Any] = {}
    is_reset: bool = Field(default=False, alias="reset")
    next_faults: list[Fault] = []
    text_faults: dict[str, list[Fault]] = {}

    @classmethod
    def of(cls, body: Any) -> Orders:
        """Read a JSON object whose rules stand beside `reset`, `next_faults` and `text_faults`.

        Raises:
            ValueError: It is none, or a part has a wrong shape.
        """
        given = TypeAdapter(dict[str, Any]).validate_python(body)
        changes = {name: value for name, value in given.items() if name in Rules.model_fields}
        others = {name: value for name, value in given.items() if name not in Rules.model_fields}
        return cls.model_validate({**others, "changes": changes})
