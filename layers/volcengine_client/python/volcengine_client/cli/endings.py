"""How a command ends: what is said, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import typer
from rich.console import Console, RenderableType

from volcengine_client.errors import CallerError, VolcengineError
from volcengine_client.models import TaskItem
from volcengine_client.voice_list import warnings_of

ALL_SPOKEN = 0
SOME_FAILED = 1
BAD_USAGE = 2
INTERRUPTED = 130

WIDE = 240  # characters a line of a table that no terminal shows

# NO_COLOR is taken at its word: no bold print either.
STYLES: Literal["auto"] | None = None if Console().no_color else "auto"
# Nothing that is told is markup, whatever brackets it has.
out = Console(color_system=STYLES, soft_wrap=True, highlight=False, markup=False)
err = Console(color_system=STYLES, stderr=True, soft_wrap=True, highlight=False, markup=False)


def complain(message: str) -> None:
    """Say what went wrong."""
    err.print(f"volcengine-tts: {message}")


def warn(tasks: Iterable[TaskItem]) -> None:
    """Say which voices of a batch nobody knows."""
    for warning in warnings_of(tasks):
        err.print(f"volcengine-tts: warning: {warning}")


def show(what: RenderableType) -> None:
    """Show a table; whole, whatever its width, when a program reads it."""
    out.print(what, width=None if out.is_terminal else WIDE)


@contextmanager
def told() -> Iterator[None]:
    """Turn errors into a sentence and an exit code.

    Raises:
        typer.Exit: In place of an error: 2 when the request has to change, 130 after Ctrl-C, else 1.
    """
    try:
        yield
    except VolcengineError as exc:
        complain(exc.message)
        for line in exc.details.get("lines", ()):
            err.print(f"  {line}")
        for field in exc.details.get("fields", ()):
            if field["message"] != exc.message:
                err.print(f"  {field['field']}: {field['message']}")
        raise typer.Exit(BAD_USAGE if isinstance(exc, CallerError) else SOME_FAILED) from None
    except BrokenPipeError:
        raise  # whoever read from us has had enough; the caller's library ends quietly
    except OSError as exc:
        complain(f"{exc.filename or 'a file'}: {exc.strerror or exc}")
        raise typer.Exit(BAD_USAGE) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
