"""What the journals still tell of rows that hold no more.

The rule: an earlier row is there until compaction has taken it, which is an hour at least, and as long as
the newest segment is not closed; so nothing that must be true rests on it. Who asks says for which
keys: of all others nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from southbound.directory.forward import Forward
from southbound.directory.topologies import CurrentTopology
from southbound.directory.verdict import Held, better
from southbound.settings import DirectorySettings

Chronicle = Mapping[str, Mapping[int, str]]
"""By key text and epoch, the row that held at that epoch."""


class Chronicler:
    """Reads journals from where they begin. Thread-safe; raises `EdgeError`."""

    def __init__(
        self, forward: Forward, current: CurrentTopology, settings: DirectorySettings
    ) -> None:
        self._forward = forward
        self._current = current
        self._settings = settings

    def of(self, texts: Iterable[str]) -> Chronicle:
        """Return the rows that some keys have had, as far as the journals still tell them."""
        wanted = set(texts)
        found: dict[str, dict[int, Held]] = {text: {} for text in wanted}
        for az in self._current.topology.azs if wanted else ():
            with self._forward.lane(az.id) as journal:
                at, end = journal.bounds()
                while at < end:
                    until = min(at + self._settings.round, end)
                    for one in journal.read(at, until)[0]:
                        if one.text in wanted:
                            rows = found[one.text]
                            rows[one.entry.epoch] = better(rows.get(one.entry.epoch), one.entry)
                    at = until
        return {
            text: {epoch: held.row for epoch, held in rows.items()} for text, rows in found.items()
        }
