"""A YAML file that a person wrote: its data, and the line and column of everything in it for messages."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
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

STEP_TAG = "step_tag()"
"""How pydantic calls the function by which a playbook's steps are told apart."""

MAX_BYTES = 128 << 10
"""A longer file is not an inventory or a playbook; refusing it keeps a mistaken path from eating time and memory."""

MAX_ENTRIES = 20_000
"""Keys and items; those behind an alias count wherever it is used, for a few lines can stand for billions."""

MAX_DEPTH = 32
"""Levels of keys and items; an alias to what is around it has no end."""


@dataclass(frozen=True)
class YamlFile:
    """The data of one file and the position (line, column, both from 1) of every key and item."""

    path: Path
    data: Any
    positions: dict[Location, tuple[int, int]]
    origins: dict[Location, Path] = field(default_factory=dict)
    """The files that parts of the data came from, where it was not `path`."""

    def at(self, location: Location) -> str:
        """Return `file:line:column` of a location, or of the nearest thing around it that is in the file."""
        known = self._known(location)
        line, column = self.positions.get(known, (1, 1))
        return f"{self.origins.get(known, self.path)}:{line}:{column}"

    def _known(self, location: Location) -> Location:
        """Return a location without what is not in the file: pydantic puts the names of union members into it."""
        known: Location = ()
        for part in location:
            if (*known, part) in self.positions:
                known = (*known, part)
        return known

    def _called(self, location: Location, *, in_file: bool) -> str:
        """Return what a message calls a location; its last part may be missing in the file."""
        known = self._known(location)
        if not in_file and location and known[-1:] != location[-1:] and location[-1] != "[key]":
            known = (*known, location[-1])
        return ".".join(str(part) for part in known) or "the top of the file"

    def parse(self, model: type[M]) -> M:
        """Return the data as a model. Raises FileError with one line for each problem."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            # Where all only follow from each other, all are told: a file that is wrong has at least one problem.
            told = [e for e in error.errors() if not self._follows(e)] or error.errors()
            problems = [
                f"{self.at(_place_of(e))}: "
                + _sentence(e, model, self._called(e["loc"], in_file=e["type"] == "value_error"))
                for e in told
            ]
            raise FileError(list(dict.fromkeys(problems))) from None

    def _follows(self, error: ErrorDetails) -> bool:
        """Tell whether an error only follows from others.

        A list is called too short because its entries are wrong, which is said of each; keys with values are not
        the word that would do as well.
        """
        if error["type"] == "literal_error" and isinstance(error["input"], dict):
            return True
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
    """Read a YAML file. Raises FileError when it cannot be read, is not YAML, or is beyond the limits above."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError

    text = _text(path)
    yaml = YAML(typ="safe", pure=True)
    positions: dict[Location, tuple[int, int]] = {}
    try:
        with warnings.catch_warnings():
            # An anchor may be used again (YAML 1.2, 7.1); the library warns of it on stderr.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            node = yaml.compose(text)
        if node is None:
            return YamlFile(path, None, positions)
        _index(node, (), positions)
        return YamlFile(path, yaml.constructor.construct_document(node), positions)
    except _Refused as error:
        raise FileError([f"{path}:{error.line}:{error.column}: {error}"]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        what = (error.problem or error.context or "not YAML").splitlines()[0]
        raise FileError([f"{path}:{where}: {what}"]) from None
    except RecursionError:
        raise FileError([f"{path}:1:1: not YAML that is meant: it is nested too deeply"]) from None
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The last three are what ruamel raises for a tag such as `!!bool` on a word that is none.
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileError([f"{path}:1:1: not YAML: {what}"]) from None


def _text(path: Path) -> str:
    """Return a file's text. Raises FileError when it cannot be read, is too large or is no text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise FileError([f"{path}:1:1: the file is larger than {MAX_BYTES >> 10} KiB"])
        return content.decode("utf-8")
    except OSError as error:
        raise FileError([f"{path}:1:1: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise FileError([f"{path}:1:1: is not UTF-8 text (byte {error.start})"]) from None


class _Refused(Exception):
    """What YAML allows and this does not, at a line and column (from 1)."""

    def __init__(self, node: Any, what: str) -> None:
        super().__init__(what)
        self.line, self.column = _position(node)


def _position(node: Any) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _index(node: Any, location: Location, positions: dict[Location, tuple[int, int]]) -> None:
    """Note the position of every key and item below a node. Raises _Refused at a key that is there twice.

    The message of ruamel for that holds both values, and a value may be secret.
    """
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    positions.setdefault(location, _position(node))
    if len(location) > MAX_DEPTH:
        raise _Refused(node, f"nested deeper than {MAX_DEPTH} levels")
    if len(positions) > MAX_ENTRIES:
        raise _Refused(node, f"more than {MAX_ENTRIES} entries, those of aliases counted wherever they are used")
    if isinstance(node, MappingNode):
        for key, value in node.value:
            below = (*location, str(key.value))
            if below in positions:
                first, _ = positions[below]
                raise _Refused(key, f"key `{below[-1]}` is there twice (first in line {first})")
            positions[below] = _position(key)
            _index(value, below, positions)
    elif isinstance(node, SequenceNode):
        for number, item in enumerate(node.value):
            _index(item, (*location, number), positions)


def _sentence(error: ErrorDetails, model: type[BaseModel], location: str) -> str:
    """Say a pydantic error as: which key, what is wrong, what is allowed."""
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        allowed = _keys_at(model, error["loc"][:-1])
        near = get_close_matches(key, allowed, n=1)
        guess = f"; did you mean `{near[0]}`?" if near else "."
        return f"unknown key `{key}`{guess} Allowed here: {', '.join(allowed)}" if allowed else f"unknown key `{key}`"
    if error["type"] == "invalid_key":
        return f"key `{error['loc'][-1]}` must be a word (in quotes, if it is a number)"
    if error["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return f"`{location}` must be keys with values"
    if error["type"] in {"tuple_type", "list_type"}:
        return f"`{location}` must be a list"
    if error["type"] == "missing":
        return f"`{location}` is missing"
    context = error.get("ctx", {})
    if error["type"] == "too_short":
        return f"`{location}` needs at least {_entries(context['min_length'])}"
    if error["type"] == "too_long":
        return f"`{location}` takes at most {_entries(context['max_length'])}"
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"} and context["discriminator"] == STEP_TAG:
        return _which_step(error, location)
    if error["type"] == "union_tag_invalid":
        return f"`{location}.{context['discriminator'].strip(chr(39))}` must be one of {context['expected_tags']}"
    if error["type"] == "union_tag_not_found":
        return f"`{location}.{context['discriminator'].strip(chr(39))}` is missing"
    message = error["msg"].removeprefix("Value error, ")
    for theirs, ours in (("Input should", "must"), ("String should", "must"), ("valid string", "string (in quotes)")):
        message = message.replace(theirs, ours)
    found = error["input"]
    # The values of an environment may be secret, and so may what stands before an @.
    secret = "environment" in error["loc"][:-1] or "@" in str(found)
    if secret or not isinstance(found, (str, int, float, bool)) or len(repr(found)) > 60:
        return f"`{location}` {message}"
    return f"`{location}` {message}, not {found!r}"


def _place_of(error: ErrorDetails) -> Location:
    """Return where an error is: of a step of an unknown kind, at the word that names the kind."""
    if error["type"] == "union_tag_invalid" and error["ctx"]["discriminator"] == STEP_TAG:
        return (*error["loc"], "fault" if str(error["ctx"]["tag"]).startswith("fault.") else "step")
    return error["loc"]


def _which_step(error: ErrorDetails, location: str) -> str:
    """Say that a step is of no kind that there is: a kind of fault when it is a fault, else a kind of step."""
    context = error["ctx"]
    if not isinstance(error["input"], dict):
        return f"`{location}` must be keys with values"
    if "tag" not in context:
        return f"`{location}.step` {'must be a word' if 'step' in error['input'] else 'is missing'}"
    tags = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
    tag, is_fault = str(context["tag"]), str(context["tag"]).startswith("fault.")
    known = [t.removeprefix("fault.") for t in tags if t.startswith("fault.") is is_fault]
    known += [] if is_fault else ["fault"]
    word = tag.removeprefix("fault.")
    near = get_close_matches(word, known, n=1)
    guess = f"; did you mean `{near[0]}`?" if near else "."
    return f"`{location}.{'fault' if is_fault else 'step'}` is not {word!r}{guess} Allowed: {', '.join(sorted(known))}"


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
    return sorted({one.alias or name for candidate in found for name, one in candidate.model_fields.items()})


def _is_tag(model: type[BaseModel], tag: str) -> bool:
    """Tell whether a union's tag selects this model: it is its name, or one of its fields can only be that word."""
    words = [getattr(one.annotation, "__args__", ()) for one in model.model_fields.values()]
    return tag == model.__name__ or any(tag.removeprefix("fault.") in allowed for allowed in words)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
