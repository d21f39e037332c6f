"""Pure: SSML cut into segments that are SSML again."""

from __future__ import annotations

from typing import Final, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from volcengine_client.speech.gaps import HEARD_ELEMENT, SENTENCE_ELEMENT, SILENT_ELEMENT, is_readable
from volcengine_client.speech.segments import places_of_segments
from volcengine_client.speech.text import without_unheard

_DEPTH_MAX: Final = 32  # elements inside each other
_CHARACTER_SIZE_MAX: Final = 5  # of one that must be escaped
_SILENT: Final = frozenset({"break", "mark", "bookmark", "desc", "lexicon", "meta", "metadata"})
_SENTENCES: Final = frozenset({"p", "s", "paragraph", "sentence"})
_HEARD: Final = frozenset({"audio", "phoneme", "sub"})  # though there may be no text in them
_TAIL: Final = "</speak>"
_REPLACEMENT: Final = "\ufffd"


def ssml_segments_of(ssml: str, *, characters_max: int) -> list[str]:
    """Cut SSML into whole `<speak>` elements of at most *characters_max* characters each, tags included, in order.

    Every segment has the start tag of the whole, letter for letter. A cut lies between the children of `<speak>`, or in
    the text between them as `segments_of` cuts; never inside a child. Children stay as they are. Left out are comments
    and instructions between them, white space at a cut, and marks and pauses that would be a segment that nobody can
    read. SSML that fits is one segment, only cleaned.

    Raises:
        ValueError: It is not well-formed, not `<speak>`, has a document type (so no entities but XML's own five are
            known), is nested too deep, names U+FFFD, or a child or the start tag is too long. The reason says where,
            and never repeats the text.
    """
    source = _Source(without_unheard(ssml))
    if len(source.whole) <= characters_max:
        return [source.whole]
    room = characters_max - len(source.head) - len(_TAIL)
    if room < _CHARACTER_SIZE_MAX:
        raise ValueError("the tags of the speak element leave no room for its text")
    for child in source.children:
        if len(child.form) > room:
            raise ValueError(f"the element at {child.place} has {len(child.form)} characters; a segment holds {room}")
    text = source.text.strip()
    children = iter(source.children)
    forms = [next(children).form if _stands_for_child(sign) else escape(sign) for sign in text]
    places = places_of_segments(text, list(map(len, forms)), size_max=room)
    return ["".join((source.head, *forms[place.start : place.stop], _TAIL)) for place in places]


def ssml_text_of(ssml: str) -> str:
    """Return what is said of SSML that `ssml_segments_of` takes, without its tags."""
    texts: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.CharacterDataHandler = texts.append
    parser.Parse(without_unheard(ssml).encode(), True)  # noqa: FBT003 (it takes no name)
    return "".join(texts)


def _stands_for_child(character: str) -> bool:
    return character in {HEARD_ELEMENT, SENTENCE_ELEMENT, SILENT_ELEMENT}


class _Child(NamedTuple):
    form: str
    place: str


class _Source:
    """SSML taken apart: its start tag, its children, and the text around them with a sign for each child."""

    def __init__(self, ssml: str) -> None:
        self.head = self.whole = ""
        self.children: list[_Child] = []
        self._texts: list[str] = []
        self._bytes = ssml.encode()
        self._depth = 0
        self._root_begins_at = 0
        self._child_begins_at: int | None = None
        self._child_place = ""
        self._sign, self._is_heard = SILENT_ELEMENT, False
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._read
        self._parser.DefaultHandler = self._pass_over
        try:
            self._parser.Parse(self._bytes, True)  # noqa: FBT003 (it takes no name)
        except expat.ExpatError as exc:
            place, reason = _place(exc.lineno, exc.offset), expat.ErrorString(exc.code)
            raise ValueError(f"the SSML is broken at {place}: {reason}") from None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def _here(self) -> str:
        return _place(self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber)

    def _refuse(self, *_declared: object) -> None:
        raise ValueError(f"the SSML declares a document type at {self._here()}, which is not allowed")

    def _pass_over(self, _unheard: str) -> None:
        self._close()

    def _begin(self, name: str, _attributes: dict[str, str]) -> None:
        self._close()
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise ValueError(f"the SSML has more than {_DEPTH_MAX} elements inside each other at {self._here()}")
        if self._depth == 1:
            if name != "speak":
                raise ValueError("the SSML is not a speak element")
            self._root_begins_at = self._parser.CurrentByteIndex
        elif self._depth == 2:
            self._child_begins_at, self._child_place = self._parser.CurrentByteIndex, self._here()
            self._is_heard = name in _HEARD
            self._sign = SENTENCE_ELEMENT if name in _SENTENCES else HEARD_ELEMENT
            self._sign = SILENT_ELEMENT if name in _SILENT else self._sign
        else:
            self._is_heard = self._is_heard or name in _HEARD

    def _end(self, _name: str) -> None:
        self._close()
        self._depth -= 1
        if self._depth == 0:
            at = self._parser.CurrentByteIndex
            ends_at = at if self.head.endswith("/>") else self._bytes.index(b">", at) + 1
            self.whole = self._bytes[self._root_begins_at : ends_at].decode()

    def _read(self, text: str) -> None:
        self._close()
        if _REPLACEMENT in text:
            raise ValueError(f"the SSML holds U+FFFD at {self._here()}, which stands for bytes that were not UTF-8")
        if self._depth == 1:
            self._texts.append(without_unheard(text))
        else:
            self._is_heard = self._is_heard or is_readable(text)

    def _close(self) -> None:
        """End a start tag, or a child, where the next thing begins."""
        if self._depth != 1:
            return
        at = self._parser.CurrentByteIndex
        self.head = self.head or self._bytes[self._root_begins_at : at].decode()
        if self._child_begins_at is not None:
            self.children.append(_Child(self._bytes[self._child_begins_at : at].decode(), self._child_place))
            self._child_begins_at = None
            self._texts.append(self._sign if self._is_heard else SILENT_ELEMENT)


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column + 1}"
