"""Audio files joined to one track with chapters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from volcengine_client.errors import InvalidRequestError
from volcengine_client.fields import encoding_by_ending
from volcengine_client.models import SUBTITLES, Subtitles
from volcengine_client.speech.chapters import Chapter, ffmetadata_of, id3_of
from volcengine_client.speech.join import Joiner
from volcengine_client.speech.joined_subtitles import joined_subtitles
from volcengine_client.whole_file import parts_of

CHAPTERS = ".ffmetadata"  # the ending of the file of chapters

AnyPath = str | os.PathLike[str]


def join_files(
    files: Sequence[AnyPath],
    to: AnyPath,
    *,
    titles: Sequence[str] | None = None,
    subtitles: Sequence[AnyPath | None] = (),
    sample_rate: int | None = None,
) -> list[Chapter]:
    """Join audio files of one encoding and rate to one, each a chapter, without encoding anew.

    Beside *to* lie its chapters as `.ffmetadata`, which ffmpeg reads, and the joined subtitles; an mp3 has the chapters
    in itself as well. All are whole, or as they were before. One file is in memory at a time.

    Args:
        files: In order.
        to: Ends with .mp3, .wav, .pcm, .ogg or .opus.
        titles: Of the chapters; None: the files' names.
        subtitles: Of each file, all in one form; None for a file without.
        sample_rate: Hertz, for pcm, which does not say; None: 24,000.

    Returns:
        The chapters.

    Raises:
        InvalidRequestError: A name does not say an encoding or a form.
        ValueError: There is nothing to join, or the files don't fit together.
        OSError: A file can't be read or written.
    """
    sources, target = list(map(Path, files)), Path(to)
    encoding = encoding_by_ending(target.name)
    if encoding is None or not sources:
        raise InvalidRequestError("what is joined is a file or more, to one that ends with .mp3, .wav, .pcm or .ogg")
    joiner = Joiner(encoding, sample_rate)
    for source in sources:
        joiner.measure(source.read_bytes())
    names = [source.stem for source in sources] if titles is None else titles
    chapters = _chapters(names, joiner)
    texts = {target.with_suffix(CHAPTERS): ffmetadata_of(chapters)}
    kind = _form(subtitles)
    if kind is not None:
        texts[target.with_suffix(f".{kind}")] = _subtitles(subtitles, kind, joiner)
    with parts_of(target, *texts) as (part, *others):
        with part.open("wb") as file:
            file.write(id3_of(chapters) if encoding == "mp3" else b"")
            file.write(joiner.head())
            for source in sources:
                file.write(joiner.body(source.read_bytes()))
            file.write(joiner.tail())
        for other, text in zip(others, texts.values(), strict=True):
            other.write_text(text, "utf-8", newline="\n")
    return chapters


def _chapters(titles: Sequence[str], joiner: Joiner) -> list[Chapter]:
    starts = joiner.starts_ms
    spans = zip(titles, starts, [*starts[1:], joiner.duration_ms], strict=True)
    return [Chapter(title, start_ms, end_ms) for title, start_ms, end_ms in spans]


def _form(files: Sequence[AnyPath | None]) -> Subtitles | None:
    """Return the form of subtitles; None: there are none."""
    forms = {Path(file).suffix.removeprefix(".") for file in files if file is not None}
    if not forms:
        return None
    for form in SUBTITLES:
        if forms == {form}:
            return form
    raise InvalidRequestError("subtitles are joined that are all .srt, all .vtt or all .json")


def _subtitles(files: Sequence[AnyPath | None], kind: Subtitles, joiner: Joiner) -> str:
    said = [
        (Path(file).read_text("utf-8"), start_ms)
        for file, start_ms in zip(files, joiner.starts_ms, strict=True)
        if file is not None
    ]
    return joined_subtitles(said, kind, duration_ms=joiner.duration_ms)
