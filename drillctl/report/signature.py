"""Signatures over a bundle's manifest, made and checked by `ssh-keygen -Y`: with the keys that people have already.

The namespace keeps a signature made for something else, a git commit for example, from being taken for one of evidence.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from drillctl.errors import UsageError

NAMESPACE = "drillctl-evidence"

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_COLUMNS = 70
_PATIENCE = 120.0
"""Seconds for a person to type a passphrase or touch a token."""


@dataclass(frozen=True)
class Checked:
    """What a signature proves: `vouched` for by the identity that was asked for, and ssh-keygen's own words."""

    vouched: bool
    words: str


def sign(content: bytes, key: Path) -> bytes:
    """Return the armored signature of a manifest. Raises UsageError when ssh-keygen does not make one.

    `key` is a private key, or a public one whose private key an agent holds. ssh-keygen asks for a passphrase itself.
    """
    if not key.is_file():
        raise UsageError(
            f"there is no key {key}",
            hint="name a private key, or a public one whose private key is in your agent (ssh-add -L lists them)",
            state="no bundle was written",
        )
    with tempfile.TemporaryDirectory(prefix="drillctl-sign-") as folder:
        file = Path(folder) / "manifest"
        file.write_bytes(content)
        done = _run(["-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(file)], None)
        signature = Path(f"{file}.sig")
        if done.returncode != 0 or not signature.is_file():
            raise UsageError(
                f"ssh-keygen did not sign with {key}: {_last(done.stderr)}",
                hint="a public key works only while an agent holds its private key (ssh-add -L)",
                state="no bundle was written",
            )
        return signature.read_bytes()


def problem_of(signature: bytes) -> str | None:
    """Return why this is no signature in the form that ssh-keygen writes; None when it is.

    ssh-keygen reads other forms as well; a byte that it skips could change unseen.
    """
    try:
        lines = signature.decode("ascii").splitlines()
        content = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        return "the signature is damaged"
    encoded = base64.b64encode(content).decode()
    body = [encoded[at : at + _COLUMNS] for at in range(0, len(encoded), _COLUMNS)]
    if signature != "\n".join([_BEGIN, *body, _END, ""]).encode():
        return "the signature is not as ssh-keygen writes it"
    return None


def check(content: bytes, signature: bytes, allowed_signers: Path, identity: str) -> Checked:
    """Check that `identity` signed, by a key that an allowed-signers file gives it. Raises UsageError without one."""
    if not allowed_signers.is_file():
        raise UsageError(
            f"there is no allowed-signers file {allowed_signers}",
            hint="it has lines of the form `WHO ssh-ed25519 AAAA…`; man ssh-keygen, ALLOWED SIGNERS",
        )
    return _check(content, signature, ["-Y", "verify", "-f", str(allowed_signers), "-I", identity])


def check_alone(content: bytes, signature: bytes) -> Checked:
    """Check that the signature fits the content, whoever made it."""
    return _check(content, signature, ["-Y", "check-novalidate"])


def _check(content: bytes, signature: bytes, words: list[str]) -> Checked:
    with tempfile.TemporaryDirectory(prefix="drillctl-verify-") as folder:
        file = Path(folder) / "manifest.sig"
        file.write_bytes(signature)
        done = _run([*words, "-n", NAMESPACE, "-s", str(file)], content)
    said = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).decode("utf-8", "replace")
    return Checked(done.returncode == 0, re.sub(r"\s+", " ", said).strip() or f"exit code {done.returncode}")


def _run(words: list[str], stdin: bytes | None) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen; without bytes for its input it may ask a person."""
    path = shutil.which("ssh-keygen")
    if path is None:
        raise UsageError("ssh-keygen is not installed", hint="on Debian and Ubuntu: apt-get install openssh-client")
    try:
        return subprocess.run([path, *words], input=stdin, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"ssh-keygen said nothing within {_PATIENCE:g} s", state="nothing was written") from None


def _last(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
