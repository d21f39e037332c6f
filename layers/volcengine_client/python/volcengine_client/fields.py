"""What the fields of a request take: checks, and as much of them as JSON Schema can say."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError

from volcengine_client.limits import TEXT_CHARACTERS_MAX

REPLACEMENT = "\ufffd"  # what decoders put for bytes that are no UTF-8
RESERVED_NAMES = re.compile(r"(?i)^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])\s*(\.|$)")
ENDINGS = {"mp3": "mp3", "wav": "wav", "pcm": "pcm", "ogg": "ogg_opus", "opus": "ogg_opus"}  # of file names
NAME = r"^[A-Za-z0-9._-]{1,64}$"  # of a language, a model or a product
UNUSABLE = frozenset('<>:"/\\|?*')


@dataclasses.dataclass(frozen=True)
class Checked(AfterValidator):
    """A check of ours, and as much of it as JSON Schema can say."""

    schema: dict[str, Any] = dataclasses.field(hash=False)

    def __get_pydantic_json_schema__(self, core: CoreSchema, describe: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return what is known of the value without the check, and what the check adds."""
        return describe(core) | self.schema


def no_boolean(value: Any, info: ValidationInfo) -> Any:
    """Take numbers only where a number is wanted, though Python's booleans are some."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "Input should be a number, not a boolean")
    if isinstance(value, str) and info.mode == "json":  # elsewhere, as in a table, all is text
        raise PydanticCustomError("number", "Input should be a number, not a string")
    return value


def printable(value: str) -> str:
    """Take a text without control characters."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise PydanticCustomError("control_character", "Control characters are not allowed")
    return value


def spoken(text: str) -> str:
    """Take what can be spoken, in segments where it is long."""
    if not text.strip():
        raise PydanticCustomError("text_empty", "Text is required and should not be empty")
    if REPLACEMENT in text:
        raise PydanticCustomError(
            "text_unicode", "Text should be valid UTF-8; it holds U+FFFD, which stands for bytes that were not"
        )
    if len(text) > TEXT_CHARACTERS_MAX:
        raise PydanticCustomError(
            "text_too_long",
            "Text should have at most {bound} characters, it has {size}; make several tasks of it",
            {"bound": TEXT_CHARACTERS_MAX, "size": len(text)},
        )
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise PydanticCustomError("text_unicode", "Text should be valid Unicode, without lone surrogates") from exc
    return text


def file_name_checked(name: str) -> str:
    """Take a bare file name only, on any system: nothing that could leave the folder it is put in, or hide."""
    if ".." in name or any(character in UNUSABLE or unicodedata.category(character) == "Cf" for character in name):
        raise PydanticCustomError(
            "file_name", "File name should be bare: no folder, no '..', none of <>:\"/\\|?*, no invisible characters"
        )
    if RESERVED_NAMES.match(name) or name[0] in ". " or name[-1] in ". ":
        raise PydanticCustomError("file_name", "File name is reserved, or begins or ends with a dot or a space")
    return name


def encoding_by_ending(name: str) -> str | None:
    """Return the encoding that a file's name speaks of, in any case of letters; None when it speaks of none."""
    stem, _, ending = name.rpartition(".")
    return ENDINGS.get(ending.lower()) if stem else None


def encoded_as_named(given: dict[str, Any]) -> dict[str, Any]:
    """Let a task's file name say its encoding when nothing else does, and never two different ones."""
    name, encoding = given.get("output_filename"), given.get("encoding")
    named = encoding_by_ending(name) if isinstance(name, str) else None
    if named is None:
        return given
    if "encoding" not in given:
        return {**given, "encoding": named}
    if encoding != named and encoding in ENDINGS.values():
        message = "File name ends like {named}, but encoding is {encoding}; leave one of them out"
        disagrees = PydanticCustomError("file_name_encoding", message, {"named": named, "encoding": encoding})
        raise refused_field("output_filename", disagrees)
    return given


def refused_field(field: str, reason: PydanticCustomError) -> ValidationError:
    """Return the error about one field of a task."""
    return ValidationError.from_exception_data("TaskItem", [{"type": reason, "loc": (field,), "input": None}])


Ratio = Annotated[float, BeforeValidator(no_boolean)]
Printable = Checked(printable, {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"})
Shown = Checked(printable, {"pattern": "^[!-~]*$"})  # in a header; what else is none is the gateway's 400
Spoken = Checked(
    spoken,
    {
        "minLength": 1,
        "maxLength": TEXT_CHARACTERS_MAX,
        "pattern": r"^[^\ufffd]*[^\s\u001c-\u001f\u0085\ufffd][^\ufffd]*$",
    },
)
FileName = Checked(file_name_checked, {"pattern": r'^[^<>:"/\\|?*\u0000-\u001f\u007f-\u009f]+$'})
