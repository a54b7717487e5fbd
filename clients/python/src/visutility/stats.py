"""Stats: what became of the events that a client was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping


@dataclass(frozen=True)
class Stats:
    """What became of the events since the client (in this process) began.

    Every event is in one place: given = ``accepted`` + ``lost`` + ``queued``. A call of ``log``
    gives one event for each metric.
    """

    accepted: int = 0
    """The server has them on disk."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Those that will not arrive, by reason:

    =================  ====================================================================
    ``invalid``        an argument of the wrong type, too long, no name, no metric …
    ``nan``, ``inf``   the value is not finite
    ``queue_full``     events come faster than they go, or the server is away for long
    ``too_large``      one event over what the server takes
    ``refused_…``      the server refused the event, with its word for why (``refused_future`` …)
    ``http_…``         an answer that sending again does not mend, such as ``http_404``
    ``expired``        perhaps accepted, perhaps not, and too old to ask again: see README
    ``undelivered``    the client was closed, or the program ended, before they could go
    ``closed``         logged after ``close``
    ``internal``       a fault of this package; please report it
    =================  ====================================================================
    """

    retried: int = 0
    """Requests that were sent again."""

    queued: int = 0
    """Not decided yet: they wait, or are being sent."""

    last_error: str = ""
    """The newest trouble in words, "" for none so far."""

    @property
    def lost(self) -> int:
        """All that were dropped."""
        return sum(self.dropped.values())
