"""What becomes of an event that a handler or a projector failed at."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypeAlias

import attrs


@attrs.frozen
class Retry:
    """Try the event again."""

    after: timedelta | None = None
    """The pause before that. None for one that grows, as often as `Defaults.handler_retry` allows; then
    `Defaults.after_retries` decides. With a pause of its own it is tried for ever."""


@attrs.frozen
class Skip:
    """Go on as if the event had been handled. It is not seen again."""


@attrs.frozen
class Park:
    """Set the event aside with its error, and later events of its key behind it; those of other keys go on."""


@attrs.frozen
class Halt:
    """Stop the slot at the event, until somebody resumes it. Nothing is lost, and nothing goes on."""


PARK: Final = Park()
"""What is done unless somebody says otherwise."""

Reaction: TypeAlias = Retry | Skip | Park | Halt
"""What becomes of an event that failed."""
