"""Writes a module with the classes of a domain's events, from the JSON Schemas of the domain.

`python -m millrace_consumer.generate SCHEMAS_FOLDER [--out FILE]`

The folder contains `envelope.json` and a file for the data of each type and version, as in `contracts/schemas/`.
Keywords that only narrow the values further, such as `multipleOf` and `format`, are ignored. A keyword that changes the
structure and isn't supported is an error.
"""

from __future__ import annotations

import argparse
import functools
import json
import keyword
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WIDTH = 120
_ENVELOPE = "envelope.json"
_SCHEMA_ID = re.compile(r"urn:millrace:schema:(.+):([1-9][0-9]{0,15})")
_UNSUPPORTED = (
    "$dynamicRef",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
)
# Names that a member can't have as an attribute: the generated methods, and the types in annotations.
_RESERVED = frozenset({"TYPE", "VERSION", "bool", "classmethod", "float", "from_data", "int", "object", "str", "tuple"})
_MODULE_NAMES = frozenset({"AnyData", "SOURCE", "TYPES"})


class InvalidSchemas(Exception):
    """No module can be generated from the folder. The message names the file."""


def generate(folder: Path) -> str:
    """Return the source code of the module for the schemas in a folder.

    The same schemas result in the same code. Raise `InvalidSchemas` if the folder has no valid schemas.
    """
    if not folder.is_dir():
        raise InvalidSchemas(f"{folder}: no such folder")
    files = sorted(folder.glob("*.json"))
    schemas = [_read_schema(file) for file in files if file.name != _ENVELOPE]
    if not schemas:
        raise InvalidSchemas(f"{folder}: the folder contains no schemas (*.json)")
    schemas.sort(key=lambda it: (it.type, it.version))
    source = _read_source(folder / _ENVELOPE)

    module = _Module()
    for schema in schemas:
        module.add_event(schema)
    return module.code(source, schemas)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit code: 0, or 2 if the input is invalid or the file can't be written."""
    parser = argparse.ArgumentParser(
        prog="python -m millrace_consumer.generate",
        description="Write a Python module with the classes of a domain's events, from the domain's JSON Schemas.",
    )
    parser.add_argument("folder", metavar="SCHEMAS_FOLDER", type=Path, help="the folder, such as contracts/schemas")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the file to write; without it, standard output")
    options = parser.parse_args(arguments)
    try:
        code = generate(options.folder)
        if options.out is None:
            sys.stdout.buffer.write(code.encode("utf-8"))
        else:
            options.out.write_text(code, encoding="utf-8", newline="\n")
    except InvalidSchemas as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


@dataclass(frozen=True)
class _Schema:
    """The schema of one type and version."""

    file: Path
    type: str
    version: int
    document: Mapping[str, Any]

    @property
    def class_name(self) -> str:
        name = _pascal_case(self.type)
        return name if self.version == 1 else f"{name}{self.version}"


@dataclass
class _Class:
    """A class of the module."""

    name: str
    documentation: str
    type: str | None = None
    """The type of the event; `None` for a class of a member."""
    version: int = 0
    attributes: list[_Attribute] = field(default_factory=list)


@dataclass(frozen=True)
class _Attribute:
    name: str
    member: str
    value: _Value
    is_required: bool
    documentation: str


@dataclass(frozen=True)
class _Value:
    """How a value is annotated and read."""

    annotation: str
    reader: str


class _Module:
    """The classes of the module, in the order in which they are written."""

    def __init__(self) -> None:
        self._classes: list[_Class] = []
        self._files: dict[str, str] = {}
        """The file that each class comes from."""

    def add_event(self, schema: _Schema) -> None:
        _EventClasses(self, schema).add()

    def declare(self, name: str, file: Path) -> None:
        """Reserve the name of a class."""
        if name in _MODULE_NAMES or name in self._files:
            other = f", like a class of {self._files[name]}" if name in self._files else ""
            raise InvalidSchemas(f"{file}: the name of a class would be {name}{other}")
        self._files[name] = file.name

    def add(self, new: _Class) -> None:
        self._classes.append(new)

    def code(self, source: str, schemas: Sequence[_Schema]) -> str:
        names = [schema.class_name for schema in schemas]
        lines = [
            *_docstring(
                f"The events of `{source}`.\n\nGenerated by `python -m millrace_consumer.generate`. Don't edit it.", ""
            ),
            "",
            "from __future__ import annotations",
            "",
            "import dataclasses as _dataclasses",
            "import typing as _typing",
            "",
            "from millrace_consumer import members as _members",
        ]
        for it in self._classes:
            lines += ["", "", *_class_lines(it)]
        lines += [
            "",
            "",
            f"SOURCE: _typing.Final = {_literal(source)}",
            '"""The `source` of the events."""',
            "",
            *_union_lines(names),
            '"""The data of an event."""',
            "",
            "TYPES: _typing.Final[dict[tuple[str, int], type[AnyData]]] = {",
            *(f"    ({_literal(it.type)}, {it.version}): {it.class_name}," for it in schemas),
            "}",
            '"""The class of each type and version."""',
            "",
        ]
        return "\n".join(lines)


class _EventClasses:
    """Makes the class of an event, and the classes of its members."""

    def __init__(self, module: _Module, schema: _Schema) -> None:
        self._module = module
        self._schema = schema
        self._definitions: dict[str, _Value | None] = {}
        """The definitions that were read; `None` for one that is being read."""

    def add(self) -> None:
        schema = self._schema
        if schema.document.get("type") != "object":
            raise self._error("", "the schema of the data is not an object's")
        identifier = schema.document["$id"]
        description = _described(schema.document)
        text = f"`{schema.type}`, version {schema.version}: `{identifier}`."
        documentation = f"{description}\n\n{text}" if description else text
        self._add_class(schema.document, "", schema.class_name, documentation, schema.type, schema.version)

    def _add_class(
        self,
        schema: Mapping[str, Any],
        path: str,
        name: str,
        documentation: str,
        type_name: str | None = None,
        version: int = 0,
    ) -> None:
        self._module.declare(name, self._schema.file)
        added = _Class(name, documentation, type_name, version)
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise self._error(path, "properties or required is malformed")
        members = {**properties, **{it: True for it in required if it not in properties}}
        names: dict[str, str] = {}
        for member, its_schema in members.items():
            member_path = f"{path}.{member}" if path else member
            attribute = _snake_case(member)
            if attribute in names:
                raise self._error(member_path, f"the attribute's name is {attribute}, like that of {names[attribute]}")
            names[attribute] = member
            value = self._value(its_schema, member_path, name + _pascal_case(member))
            documentation = _member_documentation(its_schema)
            added.attributes.append(_Attribute(attribute, member, value, member in required, documentation))
        self._module.add(added)

    def _value(self, schema: Any, path: str, class_name: str) -> _Value:
        """Return how a value of a schema is annotated and read. `class_name` is the name of a class for it."""
        if schema is True or schema == {}:
            return _Value("_typing.Any", "_members.anything")
        if not isinstance(schema, dict):
            raise self._error(path, "is not a schema")
        for unsupported in _UNSUPPORTED:
            if unsupported in schema:
                raise self._error(path, f"the keyword {unsupported} is not supported")
        if "$ref" in schema:
            return self._reference(schema["$ref"], path)
        if "const" in schema:
            return self._one_of([schema["const"]], path)
        if "enum" in schema:
            return self._one_of(schema["enum"], path)
        for combination in ("oneOf", "anyOf", "allOf"):
            if combination in schema:
                return self._combination(schema, combination, path, class_name)
        types = schema.get("type")
        if isinstance(types, list):
            return self._union([{**schema, "type": it} for it in types], path, class_name)
        return self._typed(schema, types, path, class_name)

    def _typed(self, schema: Mapping[str, Any], type_name: Any, path: str, class_name: str) -> _Value:
        if type_name == "string":
            pattern = schema.get("pattern")
            options = {
                "min_length": self._limit(schema, "minLength", path),
                "max_length": self._limit(schema, "maxLength", path),
                "pattern": None if pattern is None else self._pattern(pattern, path),
            }
            return _Value("str", _call("_members.string", options))
        if type_name == "integer":
            return _Value("int", _call("_members.integer", self._range(schema, path, exclusive=1)))
        if type_name == "number":
            if "exclusiveMinimum" in schema or "exclusiveMaximum" in schema:
                raise self._error(path, "an exclusive range of a number is not supported")
            return _Value("float", _call("_members.number", self._range(schema, path, exclusive=0)))
        if type_name == "boolean":
            return _Value("bool", "_members.boolean")
        if type_name == "null":
            return _Value("None", "_members.null")
        if type_name == "array":
            item = self._value(schema.get("items", True), f"{path}[]", f"{class_name}Item")
            options = {
                "min_items": self._limit(schema, "minItems", path),
                "max_items": self._limit(schema, "maxItems", path),
            }
            return _Value(f"tuple[{item.annotation}, ...]", _call("_members.array", options, item.reader))
        if type_name == "object":
            additional = schema.get("additionalProperties", True)
            if schema.get("properties"):
                if isinstance(additional, dict) and additional:
                    raise self._error(path, "properties together with a schema of additionalProperties")
                self._add_class(schema, path, class_name, _described(schema) or f"The member `{path}`.")
                return _Value(class_name, f"{class_name}.from_data")
            value = self._value(True if additional is False else additional, f"{path}.*", f"{class_name}Value")
            return _Value(f"_typing.Mapping[str, {value.annotation}]", f"_members.mapping({value.reader})")
        raise self._error(path, "the schema has no type that is supported")

    def _reference(self, reference: Any, path: str) -> _Value:
        match = re.fullmatch(r"#/(\$defs|definitions)/([^/]+)", reference) if isinstance(reference, str) else None
        definitions = self._schema.document.get(match.group(1), {}) if match else {}
        if match is None or not isinstance(definitions, dict) or match.group(2) not in definitions:
            raise self._error(path, "$ref is not a definition in the same file")
        name = match.group(2)
        class_name = self._schema.class_name + _pascal_case(name)
        definition = definitions[name]
        if not isinstance(definition, dict):
            raise self._error(path, f"the definition {name} is not a schema")
        if name in self._definitions:
            known = self._definitions[name]
            if known is None and not definition.get("properties"):
                raise self._error(path, f"the definition {name} refers to itself and is not an object with properties")
            return known if known is not None else _Value(class_name, f"{class_name}.from_data")
        self._definitions[name] = None
        value = self._value(definition, f"{match.group(1)}.{name}", class_name)
        self._definitions[name] = value
        return value

    def _combination(self, schema: Mapping[str, Any], combination: str, path: str, class_name: str) -> _Value:
        choices = schema[combination]
        if not isinstance(choices, list) or not choices or not all(isinstance(it, dict) for it in choices):
            raise self._error(path, f"{combination} is not a list of schemas")
        if "properties" in schema:
            raise self._error(path, f"properties together with {combination}")
        if combination == "allOf" and len(choices) > 1:
            raise self._error(path, "allOf with more than one schema is not supported")
        if all("const" in it for it in choices):
            return self._one_of([it["const"] for it in choices], path)
        return self._union(choices, path, class_name)

    def _union(self, choices: Sequence[Any], path: str, class_name: str) -> _Value:
        is_object = [isinstance(it, dict) and bool(it.get("properties")) for it in choices]
        values = []
        for number, choice in enumerate(choices, 1):
            # The only object of a union, such as an object or null, needs no suffix.
            suffix = _pascal_case(choice["title"]) if "title" in choice else str(number) if sum(is_object) > 1 else ""
            values.append(self._value(choice, path, class_name + suffix))
        if len(values) == 1:
            return values[0]
        annotations = list(dict.fromkeys(it.annotation for it in values))
        readers = functools.reduce(
            lambda first, second: f"_members.either({first}, {second})", (it.reader for it in values)
        )
        return _Value(" | ".join(annotations), readers)

    def _one_of(self, values: Any, path: str) -> _Value:
        if not isinstance(values, list) or not values:
            raise self._error(path, "enum is not a list of values")
        if not all(it is None or isinstance(it, (str, bool, int, float)) for it in values):
            raise self._error(path, "a const or enum with an object or an array is not supported")
        if None in values and len(values) > 1:
            value = self._one_of([it for it in values if it is not None], path)
            return _Value(f"{value.annotation} | None", f"_members.nullable({value.reader})")
        literals = ", ".join(_literal(it) for it in values)
        if any(isinstance(it, float) for it in values):
            return _Value("float", f"_members.one_of({literals})")
        return _Value(f"_typing.Literal[{literals}]", f"_members.one_of({literals})")

    def _range(self, schema: Mapping[str, Any], path: str, exclusive: int) -> dict[str, Any]:
        minimum, maximum = schema.get("minimum"), schema.get("maximum")
        low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        for limit in (minimum, maximum, low, high):
            if limit is not None and type(limit) not in (int, float):
                raise self._error(path, "a limit of the range is not a number")
        if low is not None:
            minimum = max(low + exclusive, low + exclusive if minimum is None else minimum)
        if high is not None:
            maximum = min(high - exclusive, high - exclusive if maximum is None else maximum)
        return {"minimum": minimum, "maximum": maximum}

    def _limit(self, schema: Mapping[str, Any], name: str, path: str) -> int | None:
        limit = schema.get(name)
        if limit is not None and type(limit) is not int:
            raise self._error(path, f"{name} is not an integer")
        return limit

    def _pattern(self, pattern: Any, path: str) -> str:
        translated = _python_pattern(pattern) if isinstance(pattern, str) else ""
        try:
            if not translated:
                raise re.error("no pattern")
            re.compile(translated, re.ASCII)
        except re.error as error:
            raise self._error(path, f"the pattern can't be used in Python: {error}") from error
        return translated

    def _error(self, path: str, reason: str) -> InvalidSchemas:
        return InvalidSchemas(f"{self._schema.file}: {path + ': ' if path else ''}{reason}")


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidSchemas(f"{file}: is not JSON in UTF-8: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSchemas(f"{file}: is not a JSON Schema: not an object")
    return document


def _read_schema(file: Path) -> _Schema:
    document = _read_json(file)
    identifier = document.get("$id")
    match = _SCHEMA_ID.fullmatch(identifier) if isinstance(identifier, str) else None
    if match is None:
        raise InvalidSchemas(f"{file}: is not a schema of an event: $id is not urn:millrace:schema:<type>:<version>")
    return _Schema(file, match.group(1), int(match.group(2)), document)


def _read_source(file: Path) -> str:
    if not file.is_file():
        raise InvalidSchemas(f"{file}: no such file; it contains the source of the events")
    value: Any = _read_json(file)
    for member in ("properties", "source", "const"):
        value = value.get(member) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise InvalidSchemas(f"{file}: properties.source.const is not a string")
    return value


def _class_lines(it: _Class) -> list[str]:
    lines = [
        "@_dataclasses.dataclass(frozen=True, kw_only=True)",
        f"class {it.name}:",
        *_docstring(it.documentation, "    "),
    ]
    if it.type is not None:
        lines += [
            "",
            f"    TYPE: _typing.ClassVar[str] = {_literal(it.type)}",
            f"    VERSION: _typing.ClassVar[int] = {it.version}",
        ]
    lines.append("")
    for attribute in it.attributes:
        annotation = attribute.value.annotation
        nullable = annotation.split(" | ")[-1] == "None"
        if attribute.is_required:
            lines.append(f"    {attribute.name}: {annotation}")
        else:
            lines.append(f"    {attribute.name}: {annotation if nullable else f'{annotation} | None'} = None")
        if attribute.documentation:
            lines += _docstring(attribute.documentation, "    ")
    if not it.attributes:
        lines.pop()
    lines += [
        "",
        "    @classmethod",
        f'    def from_data(cls, data: object, path: str = "") -> {it.name}:',
        '        """Read it from JSON. Raise `millrace_consumer.InvalidData` if it doesn\'t conform to the schema."""',
    ]
    if not it.attributes:
        return [*lines, "        _members.members(data, path)", "        return cls()"]
    lines += ["        source = _members.members(data, path)", "        return cls("]
    for attribute in it.attributes:
        function = "required" if attribute.is_required else "optional"
        arguments = [_literal(attribute.member), attribute.value.reader, "path"]
        line = f"            {attribute.name}=_members.{function}(source, {', '.join(arguments)}),"
        if len(line) <= _WIDTH:
            lines.append(line)
        else:
            lines.append(f"            {attribute.name}=_members.{function}(")
            lines += [f"                {argument}," for argument in ["source", *arguments]]
            lines.append("            ),")
    return [*lines, "        )"]


def _union_lines(names: Sequence[str]) -> list[str]:
    line = f"AnyData: _typing.TypeAlias = {' | '.join(names)}"
    if len(line) <= _WIDTH:
        return [line]
    return ["AnyData: _typing.TypeAlias = (", f"    {names[0]}", *(f"    | {name}" for name in names[1:]), ")"]


def _described(schema: Any) -> str:
    description = schema.get("description") if isinstance(schema, dict) else None
    return description if isinstance(description, str) else ""


def _member_documentation(schema: Any) -> str:
    """Return the description of a member with its unit, its range and the meaning of its values."""
    if not isinstance(schema, dict):
        return ""
    sentences = [_described(schema)]
    if isinstance(unit := schema.get("x-unit"), str):
        sentences.append(f"Unit: {unit}.")
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " character"),
        ("minItems", "maxItems", " item"),
    ):
        if low in schema and high in schema:
            sentences.append(f"{schema[low]} to {_count(schema[high], unit)}.")
        elif low in schema:
            sentences.append(f"At least {_count(schema[low], unit)}.")
        elif high in schema:
            sentences.append(f"At most {_count(schema[high], unit)}.")
    paragraphs = [" ".join(it for it in sentences if it)]
    choices = schema.get("oneOf", schema.get("anyOf"))
    if isinstance(choices, list) and all(isinstance(it, dict) and "const" in it for it in choices):
        paragraphs += [f"- `{_literal(it['const'])}`: {_described(it)}" for it in choices if _described(it)]
    return "\n\n".join(it for it in paragraphs if it)


def _count(number: Any, unit: str) -> str:
    return f"{number}{unit}s" if unit and number != 1 else f"{number}{unit}"


def _docstring(text: str, indent: str) -> list[str]:
    """Return the lines of a docstring: the paragraphs of the text, wrapped. The items of a list follow each other."""
    escaped = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines: list[str] = []
    was_item = False
    for paragraph in re.split(r"\n\s*\n", escaped):
        is_item = paragraph.startswith("- ")
        if lines and not (is_item and was_item):
            lines.append("")
        was_item = is_item
        # The quotes need 6 columns, if the docstring has one line.
        width = _WIDTH - len(indent) - (6 if not lines else 0)
        continued = "  " if is_item else ""
        lines += textwrap.wrap(
            " ".join(paragraph.split()),
            width,
            subsequent_indent=continued,
            break_long_words=False,
            break_on_hyphens=False,
        )
    if lines[-1].endswith('"'):
        lines[-1] = lines[-1][:-1] + '\\"'
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    return [f'{indent}"""{lines[0]}', *(f"{indent}{line}".rstrip() for line in lines[1:]), f'{indent}"""']


def _call(function: str, options: Mapping[str, Any], *arguments: str) -> str:
    given = [*arguments, *(f"{name}={_literal(value)}" for name, value in options.items() if value is not None)]
    return f"{function}({', '.join(given)})"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        # Double quotes, as formatters write them.
        return json.dumps(value, ensure_ascii=False) if value.isprintable() else repr(value)
    return repr(value)


def _python_pattern(pattern: str) -> str:
    """Translate a regular expression of ECMAScript, as JSON Schema has it, for Python's `re` in ASCII mode."""
    translated = re.sub(r"\\u\{([0-9A-Fa-f]{1,8})\}", lambda it: f"\\U{int(it.group(1), 16):08X}", pattern)
    result = []
    is_class = False
    for part in re.findall(r"\\.|\(\?<(?![=!])|.", translated, re.DOTALL):
        if is_class:
            is_class = part != "]"
        elif part == "[":
            is_class = True
        elif part == "$":
            # In Python, $ also matches before a newline at the end.
            part = r"\Z"
        elif part == "(?<":
            part = "(?P<"
        result.append(part)
    return "".join(result)


def _words(name: str) -> list[str]:
    words: list[str] = []
    for part in re.split(r"[^0-9A-Za-z]+", name):
        words += re.findall(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+", part)
    return words


def _snake_case(name: str) -> str:
    attribute = "_".join(word.lower() for word in _words(name)) or "member"
    if attribute[0].isdigit():
        attribute = f"member_{attribute}"
    return f"{attribute}_" if keyword.iskeyword(attribute) or attribute in _RESERVED else attribute


def _pascal_case(name: str) -> str:
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", name) if part]
    class_name = "".join(part[0].upper() + part[1:] for part in parts) or "Type"
    if class_name[0].isdigit():
        class_name = f"Type{class_name}"
    return f"{class_name}_" if keyword.iskeyword(class_name) else class_name


if __name__ == "__main__":
    sys.exit(main())
