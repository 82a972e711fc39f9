"""A history that cannot be opened yet, as at boot before its server is up: opened when a look is to be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drillctl.history.sample import Sample
    from drillctl.history.store import History


class LateHistory:
    """Stores samples as the history does, once `opening` gives one; `opened` is told of it before the first is stored.

    Until then every attempt raises what `opening` does: HistoryError.
    """

    def __init__(self, opening: Callable[[], History]) -> None:
        self.opened: Callable[[History], None] = lambda _history: None
        self._opening = opening
        self._history: History | None = None

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Store samples. Raises HistoryError while the history cannot be opened, or cannot be used."""
        if self._history is None:
            history = self._opening()
            try:
                self.opened(history)
            except BaseException:
                history.close()
                raise
            self._history = history
        self._history.add_samples(samples)

    def close(self) -> None:
        """Close the history, if there is one by now."""
        if self._history is not None:
            self._history.close()
