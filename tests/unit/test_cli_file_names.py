"""Names for the audio of any list of tasks."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from volcengine_client.fields import RESERVED_NAMES
from volcengine_client.file_names import file_names, is_bare, subtitle_names
from volcengine_client.manifest import MANIFEST
from volcengine_client.models import TaskItem

NAMES = st.one_of(
    st.text(min_size=1, max_size=128),
    st.sampled_from(["a", "A", "a.mp3", "a-2", "../a", "nul", "con.mp3", "manifest", "名", "é", "e\u0301", ".", "-"]),
)


@st.composite
def task_lists(draw: st.DrawFn) -> list[TaskItem]:
    tasks = []
    for task_id, file_name in draw(st.lists(st.tuples(st.none() | NAMES, st.none() | NAMES), max_size=12)):
        try:
            tasks.append(TaskItem(task_id, "text", output_filename=file_name))
        except ValidationError:
            tasks.append(TaskItem(text="text"))
    return tasks


@given(task_lists())
def test_every_task_has_a_name_of_its_own_that_any_system_takes(tasks: list[TaskItem]) -> None:
    names = file_names(tasks, taken=frozenset({MANIFEST}))

    folded = [unicodedata.normalize("NFKC", name).casefold() for name in (MANIFEST, *names)]
    assert len(set(folded)) == len(tasks) + 1
    assert all(is_bare(name) and Path(name).name == name for name in names)
    assert all(len(name.encode()) <= 255 and not RESERVED_NAMES.match(name) for name in names)
    assert names == file_names(tasks, taken=frozenset({MANIFEST}))


def test_a_file_name_that_has_an_extension_keeps_it() -> None:
    tasks = [
        TaskItem(text="x", output_filename="a.MP3"),
        TaskItem(text="x", output_filename="Chapter 1. The end", encoding="ogg_opus"),
        TaskItem("b.c", "x", encoding="wav"),
        TaskItem(text="x", encoding="pcm"),
    ]

    assert file_names(tasks) == ["a.MP3", "Chapter 1. The end.ogg", "b.c.wav", "task_0004.pcm"]


@given(task_lists())
def test_subtitles_have_names_of_their_own_beside_the_audio(tasks: list[TaskItem]) -> None:
    tasks = [replace(task, subtitles="srt") for task in tasks]
    names = file_names(tasks, taken=frozenset({MANIFEST}))
    subtitles = [name or "" for name in subtitle_names(tasks, names, taken=frozenset({MANIFEST}))]

    folded = [unicodedata.normalize("NFKC", name).casefold() for name in (MANIFEST, *names, *subtitles)]
    assert len(set(folded)) == 2 * len(tasks) + 1
    assert all(is_bare(name) and name.endswith(".srt") and len(name.encode()) <= 255 for name in subtitles)
