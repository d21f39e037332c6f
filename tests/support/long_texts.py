"""Long texts whose every sentence is a segment, and whose speech of a scripted upstream can be joined: pcm."""

from __future__ import annotations

from volcengine_client.models import TaskItem

SENTENCE_BYTES = 1_012  # two of them are more than a call takes; an even number, as pcm has it


def sentence(number: int) -> str:
    """Return a sentence that fills a segment."""
    text = f"{number:04}" + "好" * 335 + "。"
    assert len(text.encode()) == SENTENCE_BYTES
    return text


def sentences(count: int, *, first: int = 0) -> list[str]:
    return [sentence(number) for number in range(first, first + count)]


def long_task(count: int, *, first: int = 0) -> TaskItem:
    """Return a task of so many segments."""
    return TaskItem(text="".join(sentences(count, first=first)), encoding="pcm")
