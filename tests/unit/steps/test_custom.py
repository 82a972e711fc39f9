"""Functions of the user's own packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from drillctl.errors import NotStarted
from drillctl.language import PythonCall
from drillctl.steps import custom


def test_a_function_that_cannot_be_imported_refuses_the_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("warm", "no_such_package.steps:warm", custom.GROUP)
    monkeypatch.setattr(custom, "entry_points", lambda **_: [point])
    with pytest.raises(
        NotStarted, match=r"`warm` cannot be loaded from no_such_package\.steps:warm: ModuleNotFoundError"
    ):
        custom._function(PythonCall(function="warm"))
