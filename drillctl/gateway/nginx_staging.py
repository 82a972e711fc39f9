"""A test tree: how nginx can be made to test a candidate while the live file stays as it is. Pure.

`nginx -T` prints every file that it reads. From that, a second main config is made, in which each `include` on the
way to the live file names a copy instead, until one names the candidate. `nginx -t -c` on that main config reads
everything else from its real place. The second main config lies in the folder of the first, because nginx resolves
relative paths from there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from posixpath import basename, dirname, join
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_syntax import ENCODING, Directive, directives, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MARKER = re.compile(rb"^# configuration file (/[^\n]*):$", re.MULTILINE)
_WILD = re.compile(r"[*?[]")


@dataclass(frozen=True)
class ReadFile:
    """A file that nginx read: its path as nginx names it (links not followed) and its bytes."""

    path: str
    content: bytes


@dataclass(frozen=True)
class TestTree:
    """The files to write so that `nginx -t -c ROOT` tests the candidate.

    `files` maps each path to its bytes; `copy_of` maps it to the file whose mode and owner it takes. `expected` are
    the paths that nginx will then read, in its order: reading anything else would be a test of something else.
    """

    __test__ = False  # to pytest: no tests in here

    root: str
    files: Mapping[str, bytes]
    copy_of: Mapping[str, str]
    expected: tuple[str, ...]


def parse_dump(output: bytes) -> tuple[ReadFile, ...]:
    """Return the files that `nginx -T` printed, the main config first; empty when it printed none.

    nginx writes `# configuration file PATH:`, the bytes of the file, and a line end, for each.
    """
    marks = list(_MARKER.finditer(output))
    ends = [mark.start() for mark in marks[1:]] + [len(output)] * bool(marks)
    return tuple(
        ReadFile(mark[1].decode(ENCODING), output[mark.end() + 1 : end].removesuffix(b"\n"))
        for mark, end in zip(marks, ends, strict=True)
    )


def misread(read: Sequence[ReadFile], expected: Sequence[str], candidate: str, content: bytes) -> str:
    """Return the files that a test of a tree read otherwise than it should have; empty when it read just those."""
    seen = {file.path: file.content for file in read}
    if list(seen) == list(expected) and seen[candidate] == content:
        return ""
    return ", ".join(sorted(set(seen) ^ set(expected))) or candidate


def only_replaced(before: Sequence[ReadFile], read: Sequence[ReadFile], live: bytes, content: bytes) -> bool:
    """Tell whether a test read the files of before, with `content` wherever one had the bytes of the live file."""
    changed = [(was.content, now.content) for was, now in zip(before, read, strict=False) if was != now]
    same_files = [file.path for file in before] == [file.path for file in read]
    return same_files and bool(changed) and all(pair == (live, content) for pair in changed)


def build_tree(
    read: Sequence[ReadFile], resolved: Mapping[str, str], *, live: str, candidate: str, content: bytes, root: str
) -> TestTree:
    """Return the tree that tests `content` in the place of the live file.

    `read` is what nginx reads now, `resolved` the file behind the links of each of its paths, `live` the resolved
    live file, `candidate` the path at which `content` is staged, `root` the name of the second main config, to be
    put beside the first. Raises GatewayError when nginx does not read the live file at all.
    """
    if not any(resolved.get(file.path) == live for file in read):
        files = ", ".join(file.path for file in read[:8]) + (", …" if len(read) > 8 else "")
        raise GatewayError(
            f"nginx does not read {live}; it reads {files}",
            hint="set `gateway.config` to the file that holds the upstream",
        )
    return _Builder(read, resolved, live, candidate, content).tree(root)


class _Builder:
    def __init__(
        self, read: Sequence[ReadFile], resolved: Mapping[str, str], live: str, candidate: str, content: bytes
    ) -> None:
        self.main = read[0].path
        self.contents = {file.path: file.content for file in read}
        self.live_paths = {path for path in self.contents if resolved.get(path) == live}
        self.candidate = candidate
        self.content = content
        self.staged: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.copy_of: dict[str, str] = {}

    def tree(self, name: str) -> TestTree:
        root = join(dirname(self.main), name)
        self.files[root] = self.content if self.main in self.live_paths else self._edited(self.main)
        self.copy_of[root] = self.main
        self.staged[self.main] = root
        expected = dict.fromkeys(self.staged.get(path, path) for path in self.contents)
        return TestTree(root, self.files, self.copy_of, tuple(expected))

    def _place(self, path: str) -> str:
        """Return where a file is read from in the tree: its own place unless the live file is below it."""
        if path not in self.staged:
            self.staged[path] = path  # until it is known; nginx itself refuses files that include themselves
            if path in self.live_paths:
                self.staged[path] = self.candidate
            else:
                edited = self._edited(path)
                if edited != self.contents[path]:
                    copy = join(dirname(self.candidate), f"{len(self.files)}-{basename(path)}")
                    self.staged[path], self.files[copy], self.copy_of[copy] = copy, edited, path
        return self.staged[path]

    def _edited(self, path: str) -> bytes:
        """Return a file with the includes that lead to the live file naming copies; unchanged when none does."""
        text = self.contents[path].decode(ENCODING)
        if "include" not in text:
            return self.contents[path]
        found = [d for d in directives(text) if d.name == "include" and len(d.words) == 2 and d.body is None]
        for directive in reversed(found):
            before = self._matches(directive)
            after = [self._place(file) for file in before]
            if after != before:
                explicit = " ".join(f"include {quoted(_literal(file))};" for file in after)
                text = text[: directive.start] + explicit + text[directive.end :]
        return text.encode(ENCODING)

    def _matches(self, directive: Directive) -> list[str]:
        """Return the files that an include reads, in nginx's order: that of glob(3), by byte."""
        pattern = join(dirname(self.main), directive.arguments[0])
        if not _WILD.search(pattern):
            return [pattern] if pattern in self.contents else []
        return sorted(path for path in self.contents if _glob_matches(pattern, path))


def _glob_matches(pattern: str, path: str) -> bool:
    """Tell whether a path matches as in glob(3): part by part, and a leading dot only by a dot."""
    parts, names = pattern.split("/"), path.split("/")
    return len(parts) == len(names) and all(
        (not name.startswith(".") or part.startswith("."))
        and re.match(translate(part.replace("[^", "[!")), name) is not None
        for part, name in zip(parts, names, strict=True)
    )


def _literal(path: str) -> str:
    """Return an include's pattern that matches exactly one path."""
    return re.sub(r"([*?\[\\])", r"\\\1", path) if _WILD.search(path) else path
