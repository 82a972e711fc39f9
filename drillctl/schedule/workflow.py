"""A scheduled drill as a workflow of GitHub Actions or a job of GitLab CI (pure).

Values are written as JSON strings, which are YAML too, and reach the shell as variables only: nothing that a path
holds is ever part of a script.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.errors import UsageError
from drillctl.schedule.job import Artefact, Job

if TYPE_CHECKING:
    from collections.abc import Callable


def github(job: Job) -> tuple[Artefact, ...]:
    """Return the workflow of a job. Raises UsageError for what a workflow cannot say."""
    cron = _cron(job, "GitHub Actions")
    fields = [int(part) for part in cron.split(" ")[0].split("/")[1:] if part.isdigit()]
    if cron.startswith("* ") or (fields and fields[0] < 5):
        raise _refused("GitHub Actions runs nothing more often than every five minutes", "use another time")
    content = f"""\
# Made by `drillctl schedule`. The repository needs these secrets: DRILLCTL_SSH_KEY (a private key that the hosts
# accept){_known_hosts_wanted(job)}{_also(job)}.
name: {_expression_safe(job.title)}
on:
  schedule:
    - cron: {json.dumps(cron)} # {job.expression.words}, in UTC
  workflow_dispatch:
permissions:
  contents: read
concurrency:
  group: {_expression_safe(f"drill-{job.estate}")}
  cancel-in-progress: false # a drill that has begun puts everything back first
jobs:
  drill:
    runs-on: {_expression_safe(job.runner)}
    timeout-minutes: 120
    env:
      DRILLCTL_HOME: ${{{{ github.workspace }}}}/.drillctl
      PLAYBOOK: {_expression_safe(job.playbook)}
      INVENTORY: {_expression_safe(job.inventory)}
{_each(job, lambda file: f"      {file.variable}: {_expression_safe(file.value)}")}\
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install drillctl
        env:
          SOURCE: {_expression_safe(job.source)}
        run: python -m pip install "$SOURCE"
      - name: Take the key and the host keys
        env:
{_each(job, lambda file: f"          {file.secret}: ${{{{ secrets.{file.secret} }}}}")}\
        run: |
          umask 077
{_each(job, lambda file: f"          mkdir -p {file.folder}")}\
{_each(job, lambda file: f"          {file.printed}")}\
{_github_jitter(job)}\
      - name: Drill
{_github_secrets(job)}\
        run: drillctl run "$PLAYBOOK" --inventory "$INVENTORY" {" ".join(job.agreement)}
      - name: Keep the evidence
        if: always()
        uses: actions/upload-artifact@v4
        with:
          name: {_expression_safe(f"drill-{job.estate}-{job.drill}")}
          path: .drillctl/runs
          include-hidden-files: true
          if-no-files-found: error
      - name: Remove the key
        if: always()
        run: rm -f {_files(job)[0].place}
"""
    return (Artefact(f".github/workflows/drill-{job.estate}-{job.drill}.yml", content),)


def gitlab(job: Job) -> tuple[Artefact, ...]:
    """Return the job of GitLab CI. Raises UsageError for what it cannot say."""
    cron = _cron(job, "GitLab CI")
    mark = f"{job.estate}/{job.drill}"
    path = f".gitlab/drill-{job.estate}-{job.drill}.yml"
    image = job.runner if job.runner != "ubuntu-latest" else "python:3.12"
    content = f"""\
# Made by `drillctl schedule`. In .gitlab-ci.yml: `include: [{{local: {path}}}]`
# GitLab keeps the time outside the repository: Build > Pipeline schedules > New schedule, with
#   interval pattern  {cron}    ({job.expression.words})
#   time zone         UTC
#   variable          DRILLCTL_DRILL = {mark}
# The project needs these variables of type File: DRILLCTL_SSH_KEY (a private key that the hosts
# accept){_known_hosts_wanted(job)}{_also(job)}.
{json.dumps(f"drill {mark}", ensure_ascii=False)}:
  stage: test
  image: {json.dumps(image)}
  rules:
    - if: {json.dumps(f'$CI_PIPELINE_SOURCE == "schedule" && $DRILLCTL_DRILL == "{mark}"')}
  # One drill of an estate at a time; one that has begun puts everything back first.
  resource_group: {json.dumps(f"drill-{job.estate}")}
  interruptible: false
  timeout: 2 hours
  variables:
    DRILLCTL_HOME: $CI_PROJECT_DIR/.drillctl
    SOURCE: {{value: {json.dumps(job.source, ensure_ascii=False)}, expand: false}}
    PLAYBOOK: {{value: {json.dumps(job.playbook, ensure_ascii=False)}, expand: false}}
    INVENTORY: {{value: {json.dumps(job.inventory, ensure_ascii=False)}, expand: false}}
{_each(job, lambda f: f"    {f.variable}: {{value: {json.dumps(f.value, ensure_ascii=False)}, expand: false}}")}\
  before_script:
    - python -m pip install "$SOURCE"
    - umask 077
{_each(job, lambda file: f"    - mkdir -p {file.folder} && cp {file.content} {file.place}")}\
  script:
{_gitlab_jitter(job)}\
    - drillctl run "$PLAYBOOK" --inventory "$INVENTORY" {" ".join(job.agreement)}
  after_script:
    - rm -f {_files(job)[0].place}
  artifacts:
    when: always
    paths: [.drillctl/runs]
"""
    return (Artefact(path, content),)


@dataclass(frozen=True)
class _File:
    """A file that a job writes from a secret: the secret's name, the variable that says where to, and where to."""

    secret: str
    variable: str
    path: str

    @property
    def value(self) -> str:
        """Return the variable's value: the path, without a `~/` that a shell would not expand in it."""
        return self.path.removeprefix("~/")

    @property
    def place(self) -> str:
        """Return the path as a word of a script."""
        return f'"$HOME/${self.variable}"' if self.path.startswith("~/") else f'"${self.variable}"'

    @property
    def folder(self) -> str:
        """Return its folder as a word of a script."""
        return f'"$(dirname {self.place})"'

    @property
    def content(self) -> str:
        """Return the secret as a word of a script."""
        return f'"${self.secret}"'

    @property
    def printed(self) -> str:
        """Return the line of a script that writes a secret which is a text."""
        return f"printf '%s\\n' {self.content} > {self.place}"


def _files(job: Job) -> list[_File]:
    """Return what a job writes: the key first, and the host keys unless the repository has them."""
    files = [_File("DRILLCTL_SSH_KEY", "KEY_FILE", job.key)]
    if job.known_hosts is not None:
        files.append(_File("DRILLCTL_KNOWN_HOSTS", "KNOWN_HOSTS_FILE", job.known_hosts))
    return files


def _each(job: Job, line: Callable[[_File], str]) -> str:
    return "".join(f"{line(file)}\n" for file in _files(job))


def _known_hosts_wanted(job: Job) -> str:
    if job.known_hosts is None:
        return "; the host keys are in the repository, where the inventory says"
    return ",\n# DRILLCTL_KNOWN_HOSTS (their host keys, as ssh-keyscan prints them and as you have compared them)"


def _also(job: Job) -> str:
    return f", and as variables {', '.join(job.secrets)}" if job.secrets else ""


def _github_secrets(job: Job) -> str:
    if not job.secrets:
        return ""
    lines = [f"          {name}: ${{{{ secrets.{name} }}}}\n" for name in job.secrets]
    return "        env:\n" + "".join(lines)


def _github_jitter(job: Job) -> str:
    if not job.jitter:
        return ""
    # Only when the clock started it: a person who presses the button is not to wait.
    return f"""\
      - name: Wait for a random time
        if: github.event_name == 'schedule'
        run: sleep "$(shuf -i 0-{job.jitter} -n 1)"
"""


def _gitlab_jitter(job: Job) -> str:
    return f"""    - sleep "$(shuf -i 0-{job.jitter} -n 1)"\n""" if job.jitter else ""


def _cron(job: Job, name: str) -> str:
    if job.expression.cron is None:
        raise _refused(f"{name} cannot say `{job.expression.given}`: {job.expression.why_not_cron}", "use another time")
    if job.missed == "catch-up":
        raise _refused(f"{name} does not make up for runs that were missed", "say --missed skip")
    return job.expression.cron


def _expression_safe(text: str) -> str:
    """Return a YAML string in which GitHub finds no expression: `${{` is itself written as one."""
    return json.dumps(text.replace("${{", "${{ '${{' }}"), ensure_ascii=False)


def _refused(message: str, hint: str) -> UsageError:
    return UsageError(message, hint=hint, state="nothing was changed")
