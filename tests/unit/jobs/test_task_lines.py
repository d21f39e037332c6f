"""A list of tasks in JSON Lines: the bytes come in any pieces, and what is broken is named by its line."""

from __future__ import annotations

import json

import pytest

from volcengine_client.errors import InvalidRequestError
from volcengine_client.limits import JOB_TASKS_MAX, TEXT_CHARACTERS_MAX, UPLOAD_LINE_BYTES_MAX
from volcengine_gateway.jobs.chunks import read_tasks
from volcengine_gateway.jobs.task_lines import TaskLines

SECRET = "what nobody should read"


def lines_of(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def chunks_of(content: bytes, *, piece_bytes: int = 1 << 20) -> list[list[str]]:
    """Return the texts of each chunk of a list that comes in pieces of a size."""
    lines = TaskLines()
    chunks: list[bytes] = []
    for start in range(0, len(content), piece_bytes):
        chunks += lines.feed(content[start : start + piece_bytes])
    chunks += lines.end()
    assert lines.task_count == sum(len(read_tasks(chunk)) for chunk in chunks)
    return [[task.text for task in read_tasks(chunk)] for chunk in chunks]


def refusal_of(content: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        chunks_of(content, piece_bytes=max(7, len(content) // 1_000))
    return caught.value


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64, 1 << 20])
def test_a_list_is_the_same_in_pieces_of_any_size(piece_bytes: int) -> None:
    texts = [f"第{n}句。" for n in range(230)]
    chunks = chunks_of(lines_of(*texts), piece_bytes=piece_bytes)

    assert [len(chunk) for chunk in chunks] == [100, 100, 30]
    assert [text for chunk in chunks for text in chunk] == texts


@pytest.mark.parametrize(
    "content",
    [
        b'{"text":"a"}\n{"text":"b"}\n',
        b'{"text":"a"}\n{"text":"b"}',
        b'\xef\xbb\xbf{"text":"a"}\n{"prompt":"b"}\n',
        b'{"text":"a"}\r\n\r\n{"text":"b"}\r\n',
        b'\n\n {"text": "a"} \n\n{"text":"b"}\n   ',
    ],
)
def test_every_editor_s_lines_are_read(content: bytes) -> None:
    assert chunks_of(content) == [["a", "b"]]


@pytest.mark.parametrize("at", [0, 1_000, 5_000])
def test_another_reader_goes_on_behind_the_last_whole_chunk(at: int) -> None:
    content = b"\xef\xbb\xbf\n" + lines_of(*(f"Number {n}." for n in range(330))) + b"broken"
    first = TaskLines()
    chunks = first.feed(content[:at])
    second = TaskLines(first.mark)
    chunks += second.feed(content[first.mark.offset :])
    with pytest.raises(InvalidRequestError, match="line 332: Invalid JSON"):
        second.end()

    assert [task.text for chunk in chunks for task in read_tasks(chunk)] == [f"Number {n}." for n in range(300)]
    assert second.task_count == 330


def test_whole_chunks_leave_no_empty_one_behind() -> None:
    assert [len(chunk) for chunk in chunks_of(lines_of(*map(str, range(200))))] == [100, 100]


def test_the_longest_text_fits_into_a_line_however_it_is_escaped() -> None:
    escaped = "".join(f"\\u{ord('x'):04x}" for _ in range(TEXT_CHARACTERS_MAX))

    assert chunks_of(f'{{"text":"{escaped}"}}\n'.encode()) == [["x" * TEXT_CHARACTERS_MAX]]


@pytest.mark.parametrize(
    ("broken", "field", "part"),
    [
        (b'{"text": ""}', ".text", "not be empty"),
        pytest.param(b'{"text": "' + b"x" * 100_001 + b'"}', ".text", "at most 100000 characters", id="long text"),
        (b'{"text": "a", "speed": 9}', ".speed", "less than or equal to 3"),
        (b'{"text": "a", "txet": "b"}', ".txet", "Unknown field"),
        (b'{"text": "a", "task_id": 7}', ".task_id", "string"),
        (b'{"task_id": "a"}', ".text", "required"),
        (b'["a"]', "", "object"),
        (b'"a"', "", "object"),
        (b"null", "", "object"),
        (b'{"text": "a"} {"text": "b"}', "", "Invalid JSON: trailing characters at column 15"),
        (b'[{"text": "a"},', "", "Invalid JSON"),
        (b"text", "", "Invalid JSON"),
        (b"[" * 5_000, "", "recursion limit"),
        (b'{"text": "\xff"}', "", "not UTF-8"),
        ('{"text": "\u4f60"}'.encode("utf-16"), "", "UTF-8"),
        (b'{"text": "\\ud800"}', "", "Invalid JSON"),
        pytest.param(
            b'{"text": "' + b"x" * UPLOAD_LINE_BYTES_MAX + b'"}', "", "at most 1,300,000 bytes", id="long line"
        ),
    ],
)
def test_a_broken_line_is_named_with_its_field(broken: bytes, field: str, part: str) -> None:
    error = refusal_of(lines_of("a", SECRET) + b"\n" + broken + b"\n")
    told = error.details["fields"][0]

    assert (told["field"], told["line"]) == (f"lines[4]{field}", 4)
    assert part in told["message"]
    assert error.message.startswith("line 4: ")
    assert part in error.message


def test_a_list_that_was_cut_off_is_told_by_its_last_line() -> None:
    error = refusal_of(lines_of("a", "b", SECRET)[:-9])

    assert error.message.startswith("line 3: Invalid JSON: EOF")
    assert SECRET[:9] not in str(error.details) + error.message


def test_many_broken_lines_are_told_at_once_but_not_all_of_them() -> None:
    few = refusal_of(lines_of("a", "", "b", "", "c"))
    many = refusal_of(lines_of("a") + b"broken\n" * 1_000)

    assert [told["line"] for told in few.details["fields"]] == [2, 4]
    assert few.message.endswith("; and 1 more, see details")
    assert [told["line"] for told in many.details["fields"]] == list(range(2, 22))


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n\n", b"\xef\xbb\xbf"])
def test_a_list_without_tasks_is_refused(content: bytes) -> None:
    assert "has no tasks" in refusal_of(content).message


def test_no_more_tasks_are_taken_than_a_job_may_have() -> None:
    lines, piece = TaskLines(), b'{"text":"a"}\n' * (JOB_TASKS_MAX // 10)
    for _ in range(10):
        lines.feed(piece)
    with pytest.raises(InvalidRequestError, match="line 100001: Line is one too many"):
        lines.feed(b'{"text":"a"}\n')


def test_a_line_without_an_end_is_not_gathered() -> None:
    lines = TaskLines()
    with pytest.raises(InvalidRequestError, match="line 1: Line should have at most"):
        lines.feed(b"x" * (UPLOAD_LINE_BYTES_MAX + 1))
