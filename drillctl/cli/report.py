"""`drillctl report [RUN]`: the report of a run that has ended, in any form; `--bundle` packs it as evidence."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drillctl.cli import completion

if TYPE_CHECKING:
    from drillctl.report.bundle import Finding
    from drillctl.report.stored import StoredRun


class Format(StrEnum):
    """The forms of a report."""

    html = "html"
    markdown = "markdown"
    junit = "junit"
    json = "json"
    csv = "csv"


def report(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's id, or the beginning of it; by default the last run.", autocompletion=completion.runs
        ),
    ] = "latest",
    form: Annotated[Format, typer.Option("--format", "-f", help="csv: every request of the run.")] = Format.html,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there; - is stdout.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the HTML report in the browser.")] = False,
    bundle: Annotated[bool, typer.Option("--bundle", help="Pack all of the run as one evidence file.")] = False,
    sign_key: Annotated[
        Path | None, typer.Option(help="With --bundle: the SSH key that vouches for it; a public one uses the agent.")
    ] = None,
) -> None:
    """Render a run's report: HTML into its folder, the other forms to stdout, or as --output says."""
    from drillctl.cli.console import err
    from drillctl.errors import UsageError
    from drillctl.journal import runs_folder
    from drillctl.report import stored

    if sign_key is not None and not bundle:
        raise UsageError("--sign-key signs a bundle", hint="say --bundle as well", state="nothing was written")
    if show and (bundle or form is not Format.html):
        raise UsageError("--open opens the HTML report", hint="leave --format and --bundle out")
    found = stored.read(stored.find(run, runs_folder()))
    if found.probes_lost:
        err().print(f"{found.probes_lost} lines of probes.jsonl are no requests and were left out.")
    if bundle:
        target = output or Path(f"{found.report.run_id}.evidence.tar")
        _write(target, _bundle(found, sign_key))
        return
    if form is Format.html and output is None:
        output = found.folder / "report.html"
    text = _rendered(found, form)
    _write(output or Path("-"), text.encode())
    if show and output is not None:
        import webbrowser

        if not webbrowser.open(output.absolute().as_uri()):
            err().print("No browser could be opened here; open that file in one.")


def verify_bundle(
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    allowed_signers: Annotated[
        Path | None, typer.Option(help="Who may vouch, and by which keys: ssh-keygen's ALLOWED SIGNERS.")
    ] = None,
    identity: Annotated[str | None, typer.Option(help="Who must have signed, as that file names them.")] = None,
) -> None:
    """Check an evidence bundle: every part, the journal's chain, and who vouches for it.

    Exit codes: 0 whole and signed by that identity · 1 changed, or not signed by it · 3 whole, but nobody vouches.
    """
    from drillctl.errors import UsageError
    from drillctl.report import bundle

    if (allowed_signers is None) != (identity is None):
        raise UsageError("--allowed-signers and --identity belong together", hint="give both, or none of them")
    try:
        with file.open("rb") as stream:
            found = bundle.verify(stream, allowed_signers, identity)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    raise typer.Exit(_say(found, file, identity))


def _rendered(found: StoredRun, form: Format) -> str:
    if form is Format.html:
        from drillctl.report.page import render as page

        return page(found)
    if form is Format.markdown:
        from drillctl.report.markdown import render as markdown

        return markdown(found.report)
    if form is Format.junit:
        from drillctl.report.junit import render as junit

        return junit(found.report)
    if form is Format.csv:
        from drillctl.report.csvfile import render as csv

        first = found.probes[0].scheduled if found.probes else 0.0
        return csv(found.probes, found.report.timeline.clock or first)
    # As it was written, not as this drillctl would write it.
    return (found.folder / "report.json").read_text(encoding="utf-8")


def _bundle(found: StoredRun, key: Path | None) -> bytes:
    from drillctl.cli.console import err
    from drillctl.report import bundle

    content = bundle.make(found, key)
    if key is None:
        err().print("It is not signed: nobody vouches for it. --sign-key KEY signs with a key or an agent.")
    return content


def _write(target: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, and name it; `-` is stdout. Raises UsageError."""
    from drillctl.cli.console import out
    from drillctl.errors import UsageError

    if str(target) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    new = target.with_name(f".{target.name}.new")
    try:
        new.write_bytes(content)
        new.replace(target)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError(
            f"{target} cannot be written: {error.strerror}",
            hint="name another file with --output; - is stdout",
            state="nothing was written",
        ) from None
    out().print(str(target), soft_wrap=True, markup=False)


def _say(found: Finding, file: Path, identity: str | None) -> int:
    """Say what a check found; return the exit code."""
    from drillctl.cli.console import out

    def line(text: str) -> None:
        out().print(text, soft_wrap=True, markup=False)

    for problem in found.problems:
        line(f"✗ {problem}")
    if found.problems:
        line(f"CHANGED: {file} is not what was packed, or no bundle at all. Do not rely on it.")
        return 1
    line(f"✓ {found.members} members, {found.size} bytes: every one is what the manifest says")
    line(f"✓ run {found.run_id}, verdict {found.verdict or 'not read'}")
    if found.chained:
        line("✓ the journal's chain is whole")
    for note in found.notes:
        line(f"? {note}")
    if found.vouched:
        line(f"✓ {found.words}")
        line(f"VERIFIED: whole, and {identity} vouches for it.")
        return 0
    if identity is not None:
        line(f"✗ {found.words}")
        line(f"NOT VOUCHED FOR: whole, but {identity} did not sign it with a key of that file.")
        return 1
    if found.signed:
        line(f"? {found.words}")
    line(
        "NOBODY VOUCHES: it is whole, but anybody could have made it"
        + (
            "; whose key that is was not checked: --allowed-signers FILE --identity WHO"
            if found.signed
            else ": it carries no signature"
        )
    )
    return 3
