"""The base of every part of the report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A part of the report: data that is not changed once it was made."""

    model_config = ConfigDict(frozen=True)
