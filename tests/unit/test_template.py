"""Variables, includes and conditions of a playbook, and the places that their mistakes are told at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import playbook as playbooks
from drillctl import template
from drillctl.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path, text: str, **variables: str) -> object:
    path.write_text(text)
    return template.load(path, variables).data


def problems(path: Path, text: str, **variables: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        load(path, text, **variables)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book.yaml"


def test_a_value_that_is_one_variable_keeps_its_type(book: Path) -> None:
    text = "variables: {rate: 50, on: true, who: a b}\ntraffic: {rate: '${rate}', x: 'at ${rate} ${on}', y: '${who}'}\n"
    assert load(book, text) == {"traffic": {"rate": 50, "x": "at 50 true", "y": "a b"}}
    assert load(book, text, rate="2.5") == {"traffic": {"rate": 2.5, "x": "at 2.5 true", "y": "a b"}}


def test_a_dollar_of_a_shell_is_written_twice(book: Path) -> None:
    assert load(book, "variables: {}\nrun: [sh, -c, 'echo $${HOME} $X']\n") == {"run": ["sh", "-c", "echo ${HOME} $X"]}


def test_an_unknown_variable_is_told_with_its_place(book: Path) -> None:
    text = "variables: {rate: 50}\ntraffic:\n  rate: ${rat}\n"
    (problem,) = problems(book, text)
    assert problem == "3:3: there is no variable `rat`; did you mean `rate`? The playbook has: rate"
    assert problems(book, text, rte="1") == [
        "--var rte: there is no variable `rte`; did you mean `rate`? The playbook has: rate"
    ]
    assert problems(book, text, foo="1") == ["--var foo: there is no variable `foo`. The playbook has: rate"]


@pytest.mark.parametrize(("condition", "kept"), [
    ("both", False), ("not both", True), ("rate == 50", True), ("rate != 50", False), ("who == zone-b", True),
    ("true", True), ("false", False),
])  # fmt: skip
def test_a_step_whose_condition_does_not_hold_is_left_out(book: Path, condition: str, kept: bool) -> None:
    text = "variables: {both: false, rate: 50, who: zone-b}\nsteps:\n  - {step: a}\n"
    text += f"  - {{step: b, when: {condition}}}\n"
    assert load(book, text) == {"steps": [{"step": "a"}, *([{"step": "b"}] if kept else [])]}


@pytest.mark.parametrize("condition", ["both ==", "a b", "not a == 1", "'1 + 1'", "[a]", "__import__('os')"])
def test_a_condition_is_no_program(book: Path, condition: str) -> None:
    text = f"variables: {{both: false}}\nsteps:\n  - {{step: b, when: {condition}}}\n"
    assert problems(book, text)[0].startswith("3:")


def test_steps_of_another_file_are_put_in_where_they_are_included(book: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.yaml").write_text("- {step: x, n: '${n}'}\n- include: two.yaml\n")
    (tmp_path / "parts" / "two.yaml").write_text("- {step: y}\n")
    text = "variables: {n: 3}\nsteps:\n  - {step: a}\n  - include: parts/one.yaml\n  - {step: z}\n"
    steps = [{"step": "a"}, {"step": "x", "n": 3}, {"step": "y"}, {"step": "z"}]
    assert load(book, text) == {"steps": steps}


def test_a_mistake_in_an_included_file_is_told_with_that_files_place(tmp_path: Path, playbook_file: Path) -> None:
    part = playbook_file.parent / "part.yaml"
    part.write_text("- step: fault\n- step: detect\n  failures: 0\n")
    text = playbook_file.read_text().replace("  - step: fault\n  - step: detect\n", "  - include: part.yaml\n")
    playbook_file.write_text(text)
    with pytest.raises(FileError) as caught:
        playbooks.load(playbook_file)
    assert caught.value.problems == [f"{part}:3:3: `steps.1.failures` must be greater than or equal to 1, not 0"]


def test_includes_that_never_end_are_refused(book: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- include: b.yaml\n")
    (tmp_path / "b.yaml").write_text("- include: a.yaml\n")
    (problem,) = problems(book, "steps:\n  - include: a.yaml\n")
    assert "a.yaml includes itself" in problem


@pytest.mark.parametrize("include", ["nowhere.yaml", "/", "''", "[a]", "{a: 1}", "3"])
def test_an_include_that_leads_nowhere_is_told(book: Path, include: str) -> None:
    assert problems(book, f"steps:\n  - include: {include}\n")


def test_an_included_file_holds_a_list(book: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("steps: []\n")
    (problem,) = problems(book, "steps:\n  - include: a.yaml\n")
    assert problem.endswith("an included file must be a list of steps")


def test_variables_are_words_numbers_and_truth_values(book: Path) -> None:
    assert problems(book, "variables: [a]\n") == ["1:1: `variables` must be keys with values"]
    assert problems(book, "variables: {a: [1]}\n") == ["1:13: variable `a` must be a word, a number, true or false"]
    assert problems(book, "variables: {'a b': 1}\n")[0].startswith("1:13: a variable's name is letters")


@pytest.mark.parametrize("value", ["!!bool foo", "!!timestamp foo", "!!float foo"])
def test_a_value_that_is_no_yaml_is_a_word(book: Path, value: str) -> None:
    assert load(book, "variables: {w: a}\nx: ${w}\n", w=value) == {"x": value}
    text = f"variables: {{w: a}}\nsteps:\n  - {{step: b, when: 'w == {value}'}}\n"
    assert load(book, text, w=value) == {"steps": [{"step": "b"}]}


def test_a_path_of_an_include_that_no_file_can_have_is_told_with_its_place(book: Path) -> None:
    text = 'steps:\n  - include: "a\\0b"\n'
    assert problems(book, text) == ["2:5: a file's path holds no zero byte"]
