"""Pure: what lies between two readable characters of a text, and how good a cut there would be."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from volcengine_client.speech.clusters import cluster_ends, is_joined

# Characters that no cleaned text has stand for elements between texts: a heard one, a pause, a whole sentence.
HEARD_ELEMENT: Final = "\ufdd0"
SILENT_ELEMENT: Final = "\ufdd1"
SENTENCE_ELEMENT: Final = "\ufdd2"


class Rank(IntEnum):
    """What a cut parts, the best first."""

    PARAGRAPH = 0
    SENTENCE = 1
    CLAUSE = 2
    WORD = 3
    CLUSTER = 4
    POINT = 5


class Gap(NamedTuple):
    """A place for a cut: one segment ends before `ends_at`, the next begins at `next_at`; white space lies between."""

    ends_at: int
    next_at: int
    rank: Rank


_SENTENCE_ENDS = frozenset("。！？；…｡．!?‼⁇⁈⁉।॥؟۔։።፧។။")  # noqa: RUF001 (marks of many scripts)
_CLAUSE_ENDS = frozenset("，、：,;:—–―،؛・､" + SILENT_ELEMENT)  # noqa: RUF001 (the same)
_CLOSERS = "\"'”’」』）】》〉〕］｝｣)]}»›"  # noqa: RUF001 (the same)
_ASCII_MARKS = frozenset("!?,;:.")
_LINK = re.compile(r"\b(?:https?://|ftp://|www\.)[!-~]+")
_NO_LINK = range(sys.maxsize, sys.maxsize)
_LINK_MARKS = ".,;:!?)'\"]"  # at the end of a link they belong to the sentence around it
_WORD_BEFORE = re.compile(r"[\w.]*\Z")
_WORD_LENGTH_MAX = 16  # characters looked at before a dot
_INITIALS = re.compile(r"(?:[A-HJ-Z]|[A-Za-z](?:\.[A-Za-z])+)\Z")
# What stands before a name, a number or an example. Those that often end a sentence (etc., Inc.) are not here: before a
# small letter no dot ends one.
_ABBREVIATION = re.compile(
    "(?:dr|mr|mrs|ms|mx|prof|st|sr|fr|gen|col|lt|sgt|capt|cmdr|adm|maj|rev|hon|gov|sen|rep|pres|mt|messrs|mme|mlle|"
    "vs|figs?|eqs?|sec|ch|vol|pp?|cf|viz|approx|est|dept|eds?|al|ca|ph\\.d|"
    "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri)\\Z",
    re.IGNORECASE,
)


def is_readable(text: str) -> bool:
    """Tell whether there is a letter or digit, or an element that is heard."""
    return any(map(_is_heard, text))


def gaps_of(text: str) -> Iterator[Gap]:
    """Find one gap between any two readable clusters of a cleaned text, in order; the last is the end of the text.

    So whatever lies between two gaps can be read. Marks stay with what they follow, opening brackets and
    quotes with what they precede.
    """
    links = _links(text)
    link = next(links, _NO_LINK)
    readable_end, cluster_begin, is_quoted = 0, 0, False
    for cluster_end in cluster_ends(text):
        if _is_heard(text[cluster_begin]) or is_readable(text[cluster_begin + 1 : cluster_end]):
            if cluster_begin > readable_end:
                between = text[readable_end:cluster_begin]
                while link.stop <= cluster_begin:
                    link = next(links, _NO_LINK)
                if readable_end:
                    yield _gap(text, readable_end, between, is_in_link=readable_end > link.start, is_quoted=is_quoted)
                is_quoted = is_quoted_after(between, is_quoted=is_quoted)
            elif readable_end:
                rank = _rank_of_neighbours(text[readable_end - 1], text[readable_end])
                yield Gap(readable_end, readable_end, rank)
            readable_end = cluster_end
        cluster_begin = cluster_end
    yield Gap(len(text), len(text), Rank.PARAGRAPH)


def is_quoted_after(between: str, *, is_quoted: bool) -> bool:
    """Tell whether a straight double quote is open after some text; a paragraph closes it."""
    _, newline, rest = between.rpartition("\n")
    return (is_quoted and not newline) ^ bool(rest.count('"') % 2)


def _is_heard(character: str) -> bool:
    return character.isalnum() or character in {HEARD_ELEMENT, SENTENCE_ELEMENT}


def _links(text: str) -> Iterator[range]:
    for link in _LINK.finditer(text):
        yield range(link.start(), link.start() + len(link.group().rstrip(_LINK_MARKS)))


def _gap(text: str, at: int, between: str, *, is_in_link: bool, is_quoted: bool) -> Gap:
    """Choose where to cut between two readable clusters, and rank it."""
    begins_at = at + len(between)
    before, after = text[at - 1], text[begins_at]
    worst = _rank_of_neighbours(before, after)
    if between == " ":
        return Gap(at, begins_at, min(worst, Rank.WORD))
    left, right = _sides(between, is_quoted=is_quoted)
    gap = Gap(at + left, at + right, Rank.CLUSTER)
    if "\n" in between[left:right]:
        return gap._replace(rank=Rank.PARAGRAPH)
    if is_in_link:
        return gap
    marks = between[:left].rstrip(_CLOSERS)
    return gap._replace(rank=min(worst, _rank(text, at, marks, after, is_spaced=left < right)))


def _sides(between: str, *, is_quoted: bool) -> tuple[int, int]:
    """Return how much of what lies between goes to the left, and where what goes to the right begins."""
    at = between.rfind("\n")
    if at < 0:
        at = next((at for at in range(len(between) - 1, -1, -1) if between[at].isspace()), -1)
    if at >= 0:
        return len(between[:at].rstrip()), len(between) - len(between[at:].lstrip())
    at = len(between)
    while at and _is_opener(between, at - 1, is_quoted=is_quoted):
        at -= 1
    return at, at


def _is_opener(between: str, at: int, *, is_quoted: bool) -> bool:
    if at and is_joined(between[at - 1], between[at]):
        return False
    if between[at] == '"':
        return not is_quoted_after(between[:at], is_quoted=is_quoted)
    return unicodedata.category(between[at]) in {"Ps", "Pi"}


def _rank_of_neighbours(before: str, after: str) -> Rank:
    if SENTENCE_ELEMENT in {before, after}:
        return Rank.SENTENCE
    return Rank.WORD if _is_wide(before) or _is_wide(after) else Rank.CLUSTER


def _rank(text: str, at: int, marks: str, after: str, *, is_spaced: bool) -> Rank:
    """Rank a cut after *marks*, which begin *at* some place; white space comes before *after*, or none does."""
    word = Rank.WORD if is_spaced else Rank.CLUSTER
    mark = marks[-1:]
    # Between plain letters or digits without a space a mark is part of what it stands in: 3.14, 12:30, file.txt.
    is_inside = mark in _ASCII_MARKS and not is_spaced and after.isascii()
    if mark == ".":
        return word if is_inside else _rank_of_dot(text, at, marks, after, is_spaced=is_spaced)
    if is_inside and (text[at - 1].isdigit() or mark == ":"):
        return Rank.CLUSTER
    if mark in _SENTENCE_ENDS:
        # “Why?” he asked: the sentence goes on.
        return Rank.CLAUSE if is_inside or after.islower() else Rank.SENTENCE
    if mark in _CLAUSE_ENDS or (mark == "-" and is_spaced and marks != "-"):
        return Rank.CLAUSE
    return word


def _rank_of_dot(text: str, at: int, marks: str, after: str, *, is_spaced: bool) -> Rank:
    found = _WORD_BEFORE.search(text[max(0, at - _WORD_LENGTH_MAX) : at])
    word = found.group() if found else ""
    if marks == ".":
        is_abbreviation = _ABBREVIATION.match(word) or _INITIALS.match(word)
        is_number_sign = word.lower() == "no" and after.isdigit()
        # "1. First" begins a line, "in 2020. Then" ends a sentence; "3.第三" is a heading anywhere.
        is_first = at == len(word) or text[at - len(word) - 1] == "\n"
        is_item = word.isdigit() and (is_first or not is_spaced)
        if is_abbreviation or is_number_sign or is_item:
            return Rank.CLUSTER
    return Rank.WORD if after.islower() else Rank.SENTENCE


def _is_wide(character: str) -> bool:
    """Tell whether this is of a script that has no spaces between words: Chinese, Japanese; or an element."""
    return "\u2e80" <= character <= "\ua4cf" or "\uf900" <= character <= "\ufaff" or character == HEARD_ELEMENT
