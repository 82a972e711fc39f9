"""What others said, made fit to be shown, stored and sent: without control characters, and not endless."""

from __future__ import annotations

LONGEST = 400
"""Characters of a reason, an answer or an error that are kept."""


def printable(said: object, longest: int = LONGEST) -> str:
    """Return it as text in which what a terminal would act on, or a database refuse, stands by its number."""
    text = str(said)
    kept = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:longest])
    return kept if len(text) <= longest else kept + "…"
