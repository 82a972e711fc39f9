"""YAML files: what cannot be read is refused with file:line:column, and no file eats time or memory."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

from drillctl import yamlfile
from drillctl.errors import FileError
from drillctl.inventory import Inventory

if TYPE_CHECKING:
    from pathlib import Path

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe\x00", "1:1: is not UTF-8 text (byte 0)"),
        (b"name: \x93quoted\x94", "1:1: is not UTF-8 text (byte 6)"),
        (b"\x7fELF\x00", "1:1: not YAML: unacceptable character #x007f: special characters are not allowed"),
        (b"name: {", "1:8: expected the node content, but found '<stream end>'"),
        (b"name: a\n\trole: b", "2:1: found character '\\t' that cannot start any token"),
        (b"name: 'a", "1:9: found unexpected end of stream"),
        (b"a: 1\n---\nb: 1\n", "2:1: but found another document"),
        (b"a: *nowhere", "1:4: found undefined alias 'nowhere'"),
        (b"one:\n  a: 1\n  b: 2\n  a: 3\n", "4:3: key `a` is there twice (first in line 2)"),
        (b"? {a: b}\n: c", "1:3: found unhashable key"),
        (b"when: 2001-99-99", "1:1: not YAML: month must be in 1..12"),
        (b"a: !!bool perhaps", "1:1: not YAML: 'perhaps'"),
        (b"a: !!python/object:os.system x", "1:4: could not determine a constructor for the tag "),
        (b"a: &a [*a]", "1:4: nested deeper than 32 levels"),
        (b"- " * 200, "nested deeper than 32 levels"),
        (b"{a: " * 50 + b"1" + b"}" * 50, "nested deeper than 32 levels"),
        (b"[\n" * 20_000, "1:1: not YAML that is meant: it is nested too deeply"),
        (LAUGHS.encode(), "more than 20000 entries, those of aliases counted wherever they are used"),
        (b"a: " + b"x" * yamlfile.MAX_BYTES, "1:1: the file is larger than 128 KiB"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
def test_what_is_no_usable_yaml_is_refused_with_its_place(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    with pytest.raises(FileError) as caught:
        yamlfile.load(file)
    (said,) = caught.value.problems
    assert said.startswith(f"{file}:")
    assert problem in said
    assert "\n" not in said
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [LAUGHS, "a: &a [*a, *a, *a, *a]", "&x {a: *x, b: *x}", "[\n" * 20_000])
def test_a_file_that_stands_for_billions_of_entries_takes_no_time_and_no_memory(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bomb.yaml"
    file.write_text(content)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(FileError, match=r"more than 20000 entries|nested"):
        yamlfile.load(file).parse(Inventory)
    assert time.process_time() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "KiB"


def test_a_file_of_many_bytes_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "sparse.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(64 << 30)
    with pytest.raises(FileError, match="larger than 128 KiB"):
        yamlfile.load(file)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda file: None, "1:1: cannot be read: No such file or directory"),
        (lambda file: file.mkdir(), "1:1: cannot be read: Is a directory"),
        (lambda file: file.symlink_to(file), "1:1: cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, make: object, problem: str) -> None:
    file = tmp_path / "file.yaml"
    assert callable(make)
    make(file)
    with pytest.raises(FileError) as caught:
        yamlfile.load(file)
    assert caught.value.problems == [f"{file}:{problem}"]


@pytest.mark.parametrize("content", ["", "# nothing but a comment\n", "---\n", "[]", "- a\n- b\n", "word", "12", "~"])
def test_a_file_without_keys_at_its_top_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(content)
    with pytest.raises(FileError) as caught:
        yamlfile.load(file).parse(Inventory)
    (problem,) = caught.value.problems
    assert problem.endswith(":1: `the top of the file` must be keys with values")


def test_places_are_those_of_keys_and_items(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("# a comment\nzones:\n  - name: a\n    hosts:\n      - {name: b, 'x': 1}\n")
    found = yamlfile.load(file)
    assert found.at(("zones",)) == f"{file}:2:1"
    assert found.at(("zones", 0)) == f"{file}:3:5"
    assert found.at(("zones", 0, "hosts", 0, "x")) == f"{file}:5:19"
    assert found.at(("zones", 0, "nowhere", "deep")) == f"{file}:3:5", "the nearest that is there"
    assert found.at(("zones", 0, "a union's member", "hosts")) == f"{file}:4:5", "pydantic's own words are passed over"


def test_aliases_that_are_meant_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("shared: &s {a: 1}\none: *s\ntwo: {<<: *s, b: 2}\n")
    assert yamlfile.load(file).data == {"shared": {"a": 1}, "one": {"a": 1}, "two": {"a": 1, "b": 2}}
