"""Variables, includes and conditions of a playbook, worked out before it is checked (no host is touched).

    variables: {rate: 50, kill_standby: false}
    traffic: {rate: ${rate}}                    # a value that is one variable keeps its type
    steps:
      - include: steps/kill-and-switch.yaml     # a list of steps, put in here; relative to this file
      - {step: fault, fault: kill, zone: standby, when: kill_standby}

`--var NAME=VALUE` sets a variable that the playbook has. `$${` stands for `${` itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from drillctl import yamlfile
from drillctl.errors import FileError
from drillctl.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drillctl.yamlfile import Location

MAX_DEPTH = 8
"""Includes within includes."""

STEPS = ("steps", "restore")
"""The lists whose items may be includes and may have conditions."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_CONDITION = re.compile(r"(?:(not)\s+)?([A-Za-z_][A-Za-z0-9_]*)(?:\s*(==|!=)\s*(.+))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Scalar = str | int | float | bool | None


def load(path: Path, given: Mapping[str, str]) -> YamlFile:
    """Read a YAML file and work out its variables, includes and conditions. Raises FileError with every problem."""
    file = yamlfile.load(path)
    if not isinstance(file.data, dict):
        return file
    work = _Work(file, _variables(file, given))
    data = {key: value for key, value in file.data.items() if key != "variables"}
    result = {key: work.top(key, value) for key, value in data.items()}
    if work.problems:
        raise FileError(work.problems)
    return YamlFile(path, result, work.positions, work.origins)


def _variables(file: YamlFile, given: Mapping[str, str]) -> dict[str, Scalar]:
    """Return the variables with the values that count. Raises FileError for what is no variable of the file."""
    declared = file.data.get("variables", {})
    if not isinstance(declared, dict):
        raise FileError([f"{file.at(('variables',))}: `variables` must be keys with values"])
    problems = [
        f"{file.at(('variables', str(name)))}: a variable's name is letters, digits and `_`, not {name!r}"
        for name in declared
        if not isinstance(name, str) or not _NAME.fullmatch(name)
    ]
    problems += [
        f"{file.at(('variables', name))}: variable `{name}` must be a word, a number, true or false"
        for name, value in declared.items()
        if not isinstance(value, Scalar)
    ]
    problems += [f"--var {name}: {_unknown(name, declared)}" for name in given if name not in declared]
    if problems:
        raise FileError(problems)
    return {**declared, **{name: _typed(value) for name, value in given.items()}}


def _typed(text: str) -> Scalar:
    """Return what a value of the command line means in YAML: `5` is a number, `true` is true."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError):
        return text  # some are what ruamel.yaml makes of a tag with a value that is none of it
    return value if isinstance(value, Scalar) and value is not None else text


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name, list(known), n=1)
    guess = f"; did you mean `{near[0]}`?" if near else "."
    return f"there is no variable `{name}`{guess} The playbook has: {', '.join(known) or 'none'}"


@dataclass
class _Work:
    """What is being put together: problems, and where everything in the result came from."""

    file: YamlFile
    values: dict[str, Scalar]
    problems: list[str] = field(default_factory=list)
    positions: dict[Location, tuple[int, int]] = field(default_factory=dict)
    origins: dict[Location, Path] = field(default_factory=dict)

    def top(self, key: str, value: Any) -> Any:
        """Return what a key at the top of the playbook becomes."""
        location: Location = (str(key),)
        if key not in STEPS or not isinstance(value, list):
            return self.value(self.file, location, location, value)
        self._note(self.file, location, location)
        items: list[Any] = []
        self._items(self.file, location, value, location, items, (self.file.path.resolve(),))
        return items

    def value(self, file: YamlFile, source: Location, target: Location, value: Any) -> Any:
        """Return a value with its variables replaced; `source` is where it is in the file, `target` in the result."""
        self._note(file, source, target)
        if isinstance(value, dict):
            return {
                key: self.value(file, (*source, str(key)), (*target, str(key)), inner) for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.value(file, (*source, n), (*target, n), inner) for n, inner in enumerate(value)]
        return self._replaced(file, source, value) if isinstance(value, str) else value

    def _items(
        self,
        file: YamlFile,
        source: Location,
        items: list[Any],
        target: Location,
        into: list[Any],
        opened: tuple[Path, ...],
    ) -> None:
        """Add the steps of a list to `into`: includes opened, and without those whose condition does not hold."""
        for number, item in enumerate(items):
            here = (*source, number)
            if isinstance(item, dict) and "when" in item:
                if not self._holds(file, (*here, "when"), item["when"]):
                    continue
                item = {key: value for key, value in item.items() if key != "when"}
            if isinstance(item, dict) and "include" in item:
                self._include(file, here, item, target, into, opened)
            else:
                into.append(self.value(file, here, (*target, len(into)), item))

    def _include(
        self,
        file: YamlFile,
        here: Location,
        item: dict[str, Any],
        target: Location,
        into: list[Any],
        opened: tuple[Path, ...],
    ) -> None:
        name = self._replaced(file, (*here, "include"), item["include"])
        at = file.at((*here, "include"))
        if len(item) > 1 or not isinstance(name, str) or not name:
            self.problems.append(f"{at}: `include` takes a file's path, and stands alone (with `when` at most)")
            return
        path = file.path.parent / name
        if "\0" in name:
            self.problems.append(f"{at}: a file's path holds no zero byte")
            return
        if path.resolve() in opened:
            self.problems.append(f"{at}: {name} includes itself")
            return
        if len(opened) > MAX_DEPTH:
            self.problems.append(f"{at}: includes are nested deeper than {MAX_DEPTH}")
            return
        try:
            included = yamlfile.load(path)
        except FileError as error:
            self.problems += [f"{at}: {problem}" for problem in error.problems]
            return
        if not isinstance(included.data, list):
            self.problems.append(f"{included.at(())}: an included file must be a list of steps")
            return
        self._items(included, (), included.data, target, into, (*opened, path.resolve()))

    def _note(self, file: YamlFile, source: Location, target: Location) -> None:
        if source in file.positions:
            self.positions[target] = file.positions[source]
            if file is not self.file:
                self.origins[target] = file.path

    def _replaced(self, file: YamlFile, location: Location, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        whole = _REFERENCE.fullmatch(text)
        if whole and whole[1] is not None:
            return self._look_up(file, location, whole[1])

        def put(match: re.Match[str]) -> str:
            if match[1] is None:
                return "${"
            found = self._look_up(file, location, match[1])
            return str(found).lower() if isinstance(found, bool) else str(found)

        return _REFERENCE.sub(put, text)

    def _look_up(self, file: YamlFile, location: Location, name: str) -> Scalar:
        if name in self.values:
            return self.values[name]
        self.problems.append(f"{file.at(location)}: {_unknown(name, self.values)}")
        return ""

    def _holds(self, file: YamlFile, location: Location, condition: Any) -> bool:
        """Tell whether a condition holds; a condition that is none is a problem, and does not."""
        if isinstance(condition, bool):
            return condition
        match = _CONDITION.fullmatch(condition.strip()) if isinstance(condition, str) else None
        if match is None or (match[1] and match[3]):
            self.problems.append(
                f"{file.at(location)}: a condition is `NAME`, `not NAME`, `NAME == VALUE` or `NAME != VALUE`"
            )
            return False
        value = self._look_up(file, location, match[2])
        if match[3]:
            equal = str(value).lower() == str(_typed(match[4].strip())).lower()
            return equal is (match[3] == "==")
        true = value not in (None, False, 0, "", "no", "off", "false")
        return true is not bool(match[1])
