"""One nginx host: read, test, stage, switch and prove, by the programs of `nginx_scripts.py`."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import time
from posixpath import dirname, join
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError, HostError
from drillctl.gateway import access_log
from drillctl.gateway import nginx_scripts as scripts
from drillctl.gateway.gateway import ActivatedHost, HostConfig, LogPosition, Served, StagedHost
from drillctl.gateway.nginx_config import diff, read_upstream, select
from drillctl.gateway.nginx_output import last, position, refusal, said, seconds, sections
from drillctl.gateway.nginx_processes import missing_proof, read_processes, younger_than
from drillctl.gateway.nginx_staging import build_tree, misread, only_replaced, parse_dump

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drillctl.gateway.nginx_staging import ReadFile
    from drillctl.hosts.transport import Completed, Transport
    from drillctl.inventory import Nginx

TEST_TIMEOUT = 30.0
"""Seconds for `nginx -t`, which may have to resolve names."""

SWITCH_TIMEOUT = 30.0
"""Seconds for a switch: a test, a rename and a reload."""

WAIT_MARGIN = 5.0
"""Seconds that a host has beyond a given time to say that it was not enough."""

SAME_MOMENT = 0.05
"""Seconds between a change and the workers of its reload that cannot be told apart."""

_REFUSED = 3
_UNKNOWN = "unknown: the switch may or may not have happened; restoring settles it"


class NginxHost:
    """nginx on one host, reached through `transport`, configured as the inventory's gateway says."""

    def __init__(self, options: Nginx, transport: Transport, run_id: str) -> None:
        self.name = transport.host
        self._options = options
        self._transport = transport
        self._mark = f".drillctl-{run_id}"
        self._reload = shlex.join(options.reload)

    def read(self) -> HostConfig:
        """Return the live config. Raises GatewayError when it cannot be read or has no such upstream."""
        done = self._script(scripts.READ, self._options.config)
        resolved, rights, content = done.stdout.split(b"\n", 2)
        mode, _, owner = rights.decode().partition(" ")
        try:
            servers = read_upstream(content, self._options.upstream)
        except GatewayError as error:
            raise self._error(f"{self._options.config}: {error.message}", hint=error.hint) from None
        digest = hashlib.sha256(content).hexdigest()
        path = resolved.decode("utf-8", "surrogateescape")
        if self._transport.installed is not None and path != self._options.config:
            raise self._error(
                f"{self._options.config} leads to {path}, and the programs installed here know only the former",
                hint=f"set `gateway.config` to {path}, then install them again (`drillctl privileges --help`)",
                state="nothing was changed",
            )
        return HostConfig(self.name, self._options.config, path, content, digest, int(mode, 8), owner, servers)

    def test(self) -> str:
        """Test the live config; return what nginx said. Raises GatewayError when it refuses."""
        done = self._test()
        if done.exit_code != 0:
            raise self._error(f"nginx does not accept its live config: {said(done)}")
        return said(done)

    def places(self) -> tuple[str, ...]:
        """Return the paths that `stage` will make: its folder, and the main config of the test tree."""
        folder = join(dirname(self.read().resolved), self._mark)
        if self._transport.installed is not None:
            return (folder,)
        return folder, join(dirname(self.files_read()[0].path), f"{self._mark}.conf")

    def stage(self, zone: str, enable: Collection[str], disable: Collection[str]) -> StagedHost:
        """Stage a candidate that serves `enable` and not `disable`, and test it in the live file's place.

        Raises GatewayError with nothing left behind.
        """
        config = self.read()
        try:
            content = select(config.content, self._options.upstream, enable, disable)
        except GatewayError as error:
            raise self._error(f"{config.path}: {error.message}", hint=error.hint) from None
        return self.stage_content(config, content, f"{zone}.candidate")

    def stage_content(self, config: HostConfig, content: bytes, name: str) -> StagedHost:
        """Stage bytes as a candidate of this name, and test it in the place of the live file that was read.

        Raises GatewayError with nothing left behind.
        """
        folder = join(dirname(config.resolved), self._mark)
        candidate = join(folder, name)
        test_root = ""
        try:
            read = self.files_read()
            if self._transport.installed is None:
                resolved = self._resolve([file.path for file in read])
                self._check_live(config, read, resolved)
                tree = build_tree(
                    read,
                    resolved,
                    live=config.resolved,
                    candidate=candidate,
                    content=content,
                    root=f"{self._mark}.conf",
                )
                test_root = tree.root
                self._script(scripts.PREPARE, config.resolved, folder, self._options.pidfile)
                self._write(candidate, config.resolved, content)
                for path, copy in tree.files.items():
                    self._write(path, tree.copy_of[path], copy)
                tested = self._test("-c", tree.root, "-T")
                seen_at = candidate if candidate in tree.expected else tree.root
                self._check_test(tested, tree.expected, seen_at, content)
            else:
                self._script(scripts.PREPARE, config.resolved, folder, self._options.pidfile)
                self._write(candidate, config.resolved, content)
                tested = self._test_in_place(candidate, config, read, content)
        except BaseException:
            with contextlib.suppress(HostError):  # what went wrong first is what matters
                self._discard(folder, test_root)
            raise
        return StagedHost(
            host=self.name,
            live=config.resolved,
            folder=folder,
            candidate=candidate,
            test_root=test_root,
            content=content,
            sha256=hashlib.sha256(content).hexdigest(),
            original_sha256=config.sha256,
            diff=diff(config.content, content, config.path),
            tested=said(tested),
        )

    def activate(self, staged: StagedHost) -> ActivatedHost:
        """Put a candidate in place and reload, in one round trip."""
        return self._switch(
            staged.sha256,
            scripts.ACTIVATE,
            staged.live,
            staged.candidate,
            staged.folder,
            staged.test_root,
            staged.original_sha256,
            staged.sha256,
            self._options.pidfile,
            self._options.error_log,
            shlex.join(
                [*self._options.test, "-c", staged.test_root]
                if staged.test_root
                else scripts.in_place(staged.candidate, staged.live, self._options.test)
            ),
            self._reload,
        )

    def restore(self, original: HostConfig, over: Collection[str]) -> ActivatedHost:
        """Put the original back, unless the live file is neither it nor one of `over` (sha256 sums)."""
        begun = time.monotonic()
        options = self._options
        facts = sections(self._script(scripts.FACTS, original.resolved, options.pidfile, options.error_log).stdout)
        digest, rights, changed, *_ = [*facts["file"].splitlines(), "", "", ""]
        if digest == original.sha256 and rights == f"{original.mode:o} {original.owner}":
            now, uptime, *_ = facts["clock"].split()
            processes = read_processes(facts["workers"])
            if younger_than(processes, seconds(changed), seconds(now), seconds(uptime)):
                pids = tuple(worker.pid for worker in processes.serving)
                return ActivatedHost(
                    host=self.name,
                    sha256=digest,
                    master=processes.master,
                    before=pids,
                    after=pids,
                    error_log=position(facts["log"]),
                    seconds=time.monotonic() - begun,
                )
            return self._switch(digest, scripts.RELOAD, options.pidfile, options.error_log, self._reload)
        if digest and digest not in {original.sha256, *over}:
            raise self._error(
                f"someone changed {original.resolved} during the drill: it is neither the original nor the drill's",
                state="their version was left in place",
                hint=f"compare it with the original, then put the upstream `{options.upstream}` right by hand",
            )
        return self._switch(
            original.sha256,
            scripts.PUT,
            original.resolved,
            join(dirname(original.resolved), self._mark),
            f"{original.mode:o}",
            original.owner,
            original.sha256,
            digest,
            options.pidfile,
            options.error_log,
            self._reload,
            stdin=original.content,
        )

    def check_in_force(self, config: HostConfig) -> None:
        """Raise GatewayError unless all workers are younger than the live file: else they may not go by it."""
        options = self._options
        facts = sections(self._script(scripts.FACTS, config.resolved, options.pidfile, options.error_log).stdout)
        _, _, changed, *_ = [*facts["file"].splitlines(), "", "", ""]
        now, uptime, *_ = facts["clock"].split()
        # Workers of a reload right behind the change may seem a little older: start times are told to 10 ms.
        since = seconds(changed) - SAME_MOMENT
        if not younger_than(read_processes(facts["workers"]), since, seconds(now), seconds(uptime)):
            raise self._error(
                f"{config.path} was changed after nginx has read it: nobody knows what nginx goes by",
                state="nothing was changed",
                hint=f"reload nginx ({self._reload}), see that all is well, and try again",
            )

    def prove_applied(self, activated: ActivatedHost, timeout: float) -> None:
        """Return when the host serves by the new config; raise GatewayError when not within `timeout` seconds."""
        options, log = self._options, activated.error_log
        before = activated.before if activated.reloaded else ()
        done = self._script(
            scripts.WAIT,
            options.pidfile,
            options.error_log,
            str(log.inode),
            str(log.size),
            " ".join(map(str, before)),
            str(max(1, round(timeout * 100))),
            timeout=timeout + WAIT_MARGIN,
        )
        shown = sections(done.stdout)
        reason = missing_proof(
            master=activated.master,
            before=before,
            now=read_processes(shown["workers"]),
            emergencies=(*activated.emergencies, *shown["emergencies"].splitlines()),
            reloaded=activated.reloaded,
        )
        if reason is not None:
            raise self._error(
                f"the config is not in force {timeout:g} s after the reload: {reason}",
                state="the new config file is in place; the workers still go by the one before",
                hint=f"look into {options.error_log}; `{self._reload}` ending with 0 does not mean that it was applied",
            )

    def discard(self, staged: StagedHost) -> None:
        """Remove what was staged."""
        self._discard(staged.folder, staged.test_root)

    def access_mark(self) -> LogPosition:
        """Return how far the access log is written."""
        return position(self._script(scripts.LOG_POSITION, self._options.access_log).text)

    def served_since(self, mark: LogPosition, addresses: Collection[str]) -> Served:
        """Count who answered since a mark."""
        log = self._options.access_log
        wanted = [log, str(mark.inode), str(mark.size), str(access_log.MOST_BYTES)]
        done = self._transport.script(
            "reading the access log", scripts.LOG_SINCE, *wanted, check=False, privileged=True
        )
        if done.exit_code != 0:
            return Served(0, None, f"{self.name}: {refusal(done)}")
        return access_log.count_served(done.stdout, addresses)

    @property
    def shows_files(self) -> bool:
        """Tell whether the drill's user may have all files shown that nginx reads."""
        installed = self._transport.installed
        return installed is None or installed.has([*self._options.test, "-T"])

    def files_read(self) -> tuple[ReadFile, ...]:
        """Return the files that nginx reads, the main config first. Raises GatewayError when it refuses them."""
        done = self._test("-T")
        if done.exit_code != 0:
            raise self._error(f"nginx does not accept its live config: {said(done)}", state="nothing was changed")
        read = parse_dump(done.stdout)
        if not read:
            raise self._error(
                f"`{shlex.join([*self._options.test, '-T'])}` did not print the config",
                hint="`gateway.test` must pass further options on to nginx",
            )
        return read

    def _resolve(self, paths: Sequence[str]) -> dict[str, str]:
        done = self._script(
            scripts.RESOLVE, *(path.encode("latin-1").decode("utf-8", "surrogateescape") for path in paths)
        )
        lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
        return dict(zip(paths, lines, strict=False))

    def _check_live(self, config: HostConfig, read: Sequence[ReadFile], resolved: dict[str, str]) -> None:
        """Raise when nginx sees other bytes at the live path than we do, as in a container with its own files."""
        for file in read:
            if resolved.get(file.path) == config.resolved and file.content != config.content:
                raise self._error(
                    f"nginx reads other bytes from {file.path} than drillctl does",
                    hint="does nginx run in a container with files of its own? name that as the gateway host",
                    state="nothing was changed",
                )

    def _check_test(self, done: Completed, expected: Sequence[str], candidate: str, content: bytes) -> None:
        """Raise unless nginx accepted the test tree, and the tree was what it really read."""
        if done.exit_code != 0:
            raise self._error(
                f"nginx does not accept the candidate: {said(done)}",
                state="nothing was changed; the live config serves",
            )
        other = misread(parse_dump(done.stdout), expected, candidate, content)
        if other:
            raise self._error(
                f"the test of the candidate did not read the files it should have: {other}",
                state="nothing was changed",
                hint="did someone change nginx's files at this moment? try again",
            )

    def _test_in_place(
        self, candidate: str, config: HostConfig, before: Sequence[ReadFile], content: bytes
    ) -> Completed:
        """Test a candidate where nginx sees it in the live file's place. Raises GatewayError when it is refused."""
        words = (candidate, config.resolved, *self._options.test, "-T")
        done = self._script_as_it_ends(scripts.IN_PLACE, *words, timeout=TEST_TIMEOUT)
        if done.exit_code != 0:
            raise self._error(
                f"nginx does not accept the candidate: {said(done)}",
                state="nothing was changed; the live config serves",
            )
        if not only_replaced(before, parse_dump(done.stdout), config.content, content):
            files = ", ".join(file.path for file in before[:8]) + (", …" if len(before) > 8 else "")
            raise self._error(
                f"the test of the candidate did not read it in the place of {config.resolved}; nginx reads {files}",
                state="nothing was changed",
                hint="set `gateway.config` to the file that holds the upstream, as nginx itself sees it",
            )
        return done

    def _test(self, *options: str) -> Completed:
        return self._transport.run([*self._options.test, *options], timeout=TEST_TIMEOUT, check=False, privileged=True)

    def _write(self, path: str, like: str, content: bytes) -> None:
        done = self._transport.script(
            f"writing {path}", scripts.WRITE, path, like, stdin=content, check=False, privileged=True
        )
        if done.exit_code != 0:
            raise self._error(f"{path} could not be written: {done.complaint}", state="nothing was changed")

    def _discard(self, folder: str, test_root: str) -> None:
        self._transport.script("removing the staged config", scripts.DISCARD, folder, test_root, privileged=True)

    def _switch(self, sha256: str, source: str, *arguments: str, stdin: bytes = b"") -> ActivatedHost:
        begun = time.monotonic()
        try:
            done = self._script(source, *arguments, stdin=stdin, timeout=SWITCH_TIMEOUT)
        except (GatewayError, HostError) as error:
            error.state = error.state if isinstance(error, GatewayError) and error.state else _UNKNOWN
            raise
        shown = sections(done.stdout)
        if "end" not in shown:
            raise self._error(f"the switch broke off: {done.complaint}", state=_UNKNOWN)
        code, start, end = shown["end"].split()
        if code != "0":
            raise self._error(
                f"`{self._reload}` ended with exit code {code}: {last(shown['reload'])}",
                state="the new config file is in place, but nginx was not told; it serves by the one before",
            )
        before, after = read_processes(shown["before"]), read_processes(shown["after"])
        return ActivatedHost(
            host=self.name,
            sha256=sha256,
            master=before.master,
            before=tuple(worker.pid for worker in before.serving),
            after=tuple(worker.pid for worker in after.serving),
            emergencies=tuple(shown["emergencies"].splitlines()),
            error_log=position(shown["log"]),
            reloaded=True,
            seconds=time.monotonic() - begun,
            switch_seconds=seconds(end) - seconds(start),
        )

    def _script_as_it_ends(self, source: str, *arguments: str, stdin: bytes = b"", timeout: float) -> Completed:
        return self._transport.script(
            "a program on the host", source, *arguments, stdin=stdin, timeout=timeout, check=False, privileged=True
        )

    def _script(self, source: str, *arguments: str, stdin: bytes = b"", timeout: float = TEST_TIMEOUT) -> Completed:
        done = self._script_as_it_ends(source, *arguments, stdin=stdin, timeout=timeout)
        if done.exit_code == _REFUSED:
            raise self._error(refusal(done), state="nothing was changed")
        if done.exit_code != 0:
            raise self._error(f"a program on the host ended with exit code {done.exit_code}: {done.complaint}")
        return done

    def _error(self, message: str, *, hint: str | None = None, state: str | None = None) -> GatewayError:
        return GatewayError(message, host=self.name, hint=hint, state=state)
