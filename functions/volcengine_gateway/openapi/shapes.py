"""Models as JSON Schema, their fields described by their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

REFERENCE = "#/components/schemas/"
SECTION = re.compile(r"(?:^|\n\n)(Attributes|Args|Raises|Returns):\n")
FIELD = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
PYTHON = {"None": "null", "True": "true", "False": "false"}
BOUNDS = {"ge": "minimum", "le": "maximum"}  # what pydantic leaves as it is when a check of ours stands before


class Described(GenerateJsonSchema):
    """Schemas whose fields are described as the docstrings say.

    In answers every field is there, but for those that say when they are not.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return _described(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return _described(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return _described(super().typed_dict_schema(schema), schema["cls"])

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        is_required = super().field_is_required(field, total)
        if self.mode == "validation" or field["type"] == "typed-dict-field":
            return is_required
        return field.get("serialization_exclude_if") is None


def schemas_of(asked: Sequence[Any], answered: Sequence[Any]) -> dict[str, Any]:
    """Return the schemas of models that requests and answers hold, by name.

    Args:
        asked: Read from bodies: a field with a default may be missing.
        answered: Written to bodies.
    """
    modes: list[tuple[Sequence[Any], JsonSchemaMode]] = [(asked, "validation"), (answered, "serialization")]
    inputs = [(model, mode, TypeAdapter(model)) for models, mode in modes for model in dict.fromkeys(models)]
    _, told = TypeAdapter.json_schemas(
        inputs, by_alias=True, ref_template=REFERENCE + "{model}", schema_generator=Described
    )
    schemas: dict[str, Any] = _tidied(told["$defs"])
    return {name_of(name): schemas[name] for name in sorted(schemas)}


def name_of(model: str) -> str:
    """Return the name by which callers know a model."""
    return model.removesuffix("Told")


def reference_to(model: type) -> dict[str, str]:
    """Return a reference to the schema of a model."""
    return {"$ref": REFERENCE + name_of(model.__name__)}


def attributes_of(model: type) -> Mapping[str, str]:
    """Return what the docstrings of a class and of those that it extends say of its fields."""
    found: dict[str, str] = {}
    for cls in reversed(_lineage(model)):
        parts = SECTION.split(inspect.cleandoc(cls.__doc__ or ""))
        told = dict(zip(parts[1::2], parts[2::2], strict=True)).get("Attributes", "")
        found |= {name: _of_json(" ".join(sentence.split())) for name, sentence in FIELD.findall(told)}
    return found


def summary_of(model: type) -> str:
    """Return the docstring of a class without its sections."""
    return _of_json(SECTION.split(inspect.cleandoc(model.__doc__ or ""))[0].strip())


def _of_json(sentence: str) -> str:
    """Say what is Python's as JSON says it."""
    return re.sub(r"\b(None|True|False)\b", lambda word: PYTHON[word[0]], sentence)


def _lineage(model: type) -> Sequence[type]:
    """Return a class and all that it extends; a TypedDict forgets them elsewhere."""
    bases: Sequence[type] = getattr(model, "__orig_bases__", model.__bases__)
    known = [base for base in bases if isinstance(base, type) and base is not object]
    return [model, *(cls for base in known for cls in _lineage(base))]


def _described(schema: JsonSchemaValue, model: type) -> JsonSchemaValue:
    schema["description"] = summary_of(model)
    said = attributes_of(model)
    for name, field in schema.get("properties", {}).items():
        if name in said:
            field["description"] = said[name]
    return schema


def _tidied(schema: Any) -> Any:
    """Leave out titles that only repeat the name, and name bounds as JSON Schema does."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {**schema, "$ref": name_of(schema["$ref"])}
    return {
        BOUNDS.get(name, name): {key: _tidied(one) for key, one in value.items()}
        if name == "properties"
        else _tidied(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str))
    }
