"""Pure: a file name for every task, safe on any system and unlike all others."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from volcengine_client.fields import RESERVED_NAMES, UNUSABLE
from volcengine_client.limits import FILE_NAME_BYTES_MAX
from volcengine_client.models import TaskItem

EXTENSIONS = {"mp3": ".mp3", "wav": ".wav", "pcm": ".pcm", "ogg_opus": ".ogg"}


def file_names(tasks: Sequence[TaskItem], *, taken: frozenset[str] = frozenset()) -> list[str]:
    """Return a bare file name for each task, always the same for the same tasks.

    It is the task's `output_filename`, else its id, else its number; with the extension of its encoding unless it has
    one. Equal names, by letters alone and whatever their case, get a number.

    Args:
        tasks: In their order.
        taken: Names, folded, that no task may have.
    """
    digits = max(4, len(str(len(tasks))))
    used = {_folded(name) for name in taken}
    names = []
    for number, task in enumerate(tasks, start=1):
        stem, extension = _parts(task, f"task_{number:0{digits}}")
        name, again = f"{stem}{extension}", 1
        while _folded(name) in used:
            again += 1
            name = f"{stem}-{again}{extension}"
        used.add(_folded(name))
        names.append(name)
    return names


def subtitle_names(tasks: Sequence[TaskItem], names: Sequence[str], *, taken: frozenset[str]) -> list[str | None]:
    """Return a bare file name for the subtitles of each task that wants some: its audio's, with another ending.

    Args:
        tasks: In their order.
        names: Of their audio.
        taken: Names, folded, that no file may have.
    """
    used = {_folded(name) for name in (*taken, *names)}
    found: list[str | None] = []
    for task, audio in zip(tasks, names, strict=True):
        if task.subtitles is None:
            found.append(None)
            continue
        stem, _, extension = audio.rpartition(".")
        again = 1
        name = f"{stem}.{task.subtitles}"
        while _folded(name) in used:
            name = f"{stem}.{extension}{'' if again == 1 else f'-{again}'}.{task.subtitles}"
            again += 1
        used.add(_folded(name))
        found.append(name)
    return found


def is_bare(name: str) -> bool:
    """Tell whether a name leads to a file of its folder, and to nothing hidden."""
    return bool(name) and name[0] != "." and not any(character in UNUSABLE for character in name)


def _parts(task: TaskItem, otherwise: str) -> tuple[str, str]:
    extension = EXTENSIONS[task.encoding]
    stem, dot, end = (task.output_filename or "").rpartition(".")
    if stem and dot and 1 <= len(end) <= 5 and end.isascii() and end.isalnum():
        extension = f".{end}"
    else:
        stem = task.output_filename or task.task_id or otherwise
    return _safe(stem) or otherwise, extension


def _safe(stem: str) -> str:
    """Return a name without what some system can't take, short enough for all."""
    kept = "".join("_" if _is_unusable(character) else character for character in unicodedata.normalize("NFC", stem))
    kept = kept.replace("..", "_").strip(". ")
    if RESERVED_NAMES.match(kept):
        kept = f"_{kept}"
    return kept.encode()[:FILE_NAME_BYTES_MAX].decode(errors="ignore").strip(". ")


def _is_unusable(character: str) -> bool:
    return character in UNUSABLE or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
