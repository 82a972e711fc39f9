"""A YAML file that a person wrote: its data, and the line and column of everything in it for messages."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from drillctl.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]
"""Where something is: keys and list indexes from the top."""

M = TypeVar("M", bound=BaseModel)

MAX_BYTES = 1 << 20
"""A longer file is not an inventory or a playbook; refusing it keeps a mistaken path from eating memory."""


@dataclass(frozen=True)
class YamlFile:
    """The data of one file and the position (line, column, both from 1) of every key and item."""

    path: Path
    data: Any
    positions: dict[Location, tuple[int, int]]

    def at(self, location: Location) -> str:
        """Return `file:line:column` of a location, or of the nearest thing around it that is in the file."""
        known: Location = ()
        for part in location:
            # pydantic puts the names of union members into its locations; they are not in the file.
            if (*known, part) in self.positions:
                known = (*known, part)
        line, column = self.positions.get(known, (1, 1))
        return f"{self.path}:{line}:{column}"

    def parse(self, model: type[M]) -> M:
        """Return the data as a model. Raises FileError with one line for each problem."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            problems = [f"{self.at(e['loc'])}: {_sentence(e, model)}" for e in error.errors() if not self._follows(e)]
            raise FileError(list(dict.fromkeys(problems))) from None

    def _follows(self, error: ErrorDetails) -> bool:
        """Tell whether a list is only called too short because its entries are wrong, which is said of each."""
        if error["type"] != "too_short":
            return False
        found = self.data
        try:
            for part in error["loc"]:
                found = found[part]
        except (KeyError, IndexError, TypeError):
            return False
        return isinstance(found, list) and len(found) >= error["ctx"]["min_length"]


def load(path: Path) -> YamlFile:
    """Read a YAML file. Raises FileError when it cannot be read or is not YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise FileError([f"{path}:1:1: the file is larger than {MAX_BYTES >> 20} MiB"])
        text = content.decode("utf-8")
    except OSError as error:
        raise FileError([f"{path}:1:1: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise FileError([f"{path}:1:1: is not UTF-8 text (byte {error.start})"]) from None
    yaml = YAML(typ="safe", pure=True)
    try:
        positions: dict[Location, tuple[int, int]] = {}
        node = yaml.compose(text)
        if node is not None:
            _index(node, (), positions)
        return YamlFile(path, YAML(typ="safe", pure=True).load(text), positions)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        what = (error.problem or error.context or "not YAML").splitlines()[0]
        raise FileError([f"{path}:{where}: {what}"]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise FileError([f"{path}:1:1: not YAML: {str(error).splitlines()[0]}"]) from None


def _index(node: Any, location: Location, positions: dict[Location, tuple[int, int]]) -> None:
    """Note the position of every key and item below a node; an alias that was seen is not entered again."""
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    positions.setdefault(location, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            below = (*location, str(key.value))
            if below not in positions and len(below) < 32:
                positions[below] = (key.start_mark.line + 1, key.start_mark.column + 1)
                _index(value, below, positions)
    elif isinstance(node, SequenceNode):
        for number, item in enumerate(node.value):
            below = (*location, number)
            if len(below) < 32:
                _index(item, below, positions)


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Say a pydantic error as: which key, what is wrong, what is allowed."""
    location = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        allowed = _keys_at(model, error["loc"][:-1])
        near = get_close_matches(key, allowed, n=1)
        guess = f"; did you mean `{near[0]}`?" if near else ""
        return f"unknown key `{key}`{guess} Allowed here: {', '.join(allowed)}" if allowed else f"unknown key `{key}`"
    if error["type"] == "missing":
        return f"`{location}` is missing"
    context = error.get("ctx", {})
    if error["type"] == "too_short":
        return f"`{location}` needs at least {_entries(context['min_length'])}"
    if error["type"] == "too_long":
        return f"`{location}` takes at most {_entries(context['max_length'])}"
    if error["type"] == "union_tag_invalid":
        return f"`{location}.{context['discriminator'].strip(chr(39))}` must be one of {context['expected_tags']}"
    if error["type"] == "union_tag_not_found":
        return f"`{location}.{context['discriminator'].strip(chr(39))}` is missing"
    message = error["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be ", "must be ").replace("valid string", "string (in quotes)")
    shown = repr(error["input"])
    if not isinstance(error["input"], (str, int, float, bool)) or len(shown) > 60:
        return f"`{location}` {message}"
    return f"`{location}` {message}, not {shown}"


def _entries(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the keys that are allowed at a location of a model, following lists, options and unions."""
    found: list[type[BaseModel]] = [model]
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in found:
            field = candidate.model_fields.get(part) if isinstance(part, str) else None
            if field is not None:
                following.extend(_models_in(field.annotation))
            elif isinstance(part, int) or _is_tag(candidate, part):
                following.append(candidate)
        found = following
    return sorted({name for candidate in found for name in candidate.model_fields})


def _is_tag(model: type[BaseModel], tag: str) -> bool:
    """Tell whether a union's tag selects this model: one of its fields can only be that word."""
    return any(tag in getattr(field.annotation, "__args__", ()) for field in model.model_fields.values())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
