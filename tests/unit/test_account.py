"""Who runs drillctl: an account without a name, as in a container, is no error."""

from __future__ import annotations

import os

import pytest

from drillctl import account
from drillctl.guard.guards import owner


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("no username set")])
def test_an_account_without_a_name_goes_by_its_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", fail)
    assert account.user() == str(os.getuid())
    assert owner().startswith(f"{os.getuid()}@")
