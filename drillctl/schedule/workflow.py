"""A scheduled drill as a workflow of GitHub Actions or a job of GitLab CI (pure).

Values are written as JSON strings, which are YAML too, and reach the shell as variables only: nothing that a path
holds is ever part of a script.
"""

from __future__ import annotations

import json

from drillctl.errors import UsageError
from drillctl.schedule.job import Artefact, Job


def github(job: Job) -> tuple[Artefact, ...]:
    """Return the workflow of a job. Raises UsageError for what a workflow cannot say."""
    cron = _cron(job, "GitHub Actions")
    fields = [int(part) for part in cron.split(" ")[0].split("/")[1:] if part.isdigit()]
    if cron.startswith("* ") or (fields and fields[0] < 5):
        raise _refused("GitHub Actions runs nothing more often than every five minutes", "use another time")
    content = f"""\
# Made by `drillctl schedule`. The repository needs these secrets: DRILLCTL_SSH_KEY (a private key that the hosts
# accept), DRILLCTL_KNOWN_HOSTS (their host keys, as ssh-keyscan prints them and as you have compared them){_also(job)}.
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
          KEY: ${{{{ secrets.DRILLCTL_SSH_KEY }}}}
          KNOWN_HOSTS: ${{{{ secrets.DRILLCTL_KNOWN_HOSTS }}}}
        run: |
          umask 077
          mkdir -p ~/.ssh
          printf '%s\\n' "$KEY" > ~/.ssh/id_ed25519
          printf '%s\\n' "$KNOWN_HOSTS" > ~/.ssh/known_hosts
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
        run: rm -f ~/.ssh/id_ed25519
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
# The project needs these variables of type File: DRILLCTL_SSH_KEY (a private key that the hosts accept) and
# DRILLCTL_KNOWN_HOSTS (their host keys, as ssh-keyscan prints them and as you have compared them){_also(job)}.
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
  before_script:
    - python -m pip install "$SOURCE"
    - umask 077 && mkdir -p ~/.ssh
    - cp "$DRILLCTL_SSH_KEY" ~/.ssh/id_ed25519
    - cp "$DRILLCTL_KNOWN_HOSTS" ~/.ssh/known_hosts
  script:
{_gitlab_jitter(job)}\
    - drillctl run "$PLAYBOOK" --inventory "$INVENTORY" {" ".join(job.agreement)}
  after_script:
    - rm -f ~/.ssh/id_ed25519
  artifacts:
    when: always
    paths: [.drillctl/runs]
"""
    return (Artefact(path, content),)


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
