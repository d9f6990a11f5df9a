"""How a store is, as far as the application on it needs to know."""

from __future__ import annotations

import attrs


@attrs.frozen
class StoreHealth:
    """A store that answers, at one moment."""

    head: int
    """The last position of the log."""
    holder: str | None = None
    """Who keeps all others from appending just now, in words: mostly a writer in its turn, and gone in a moment."""
    is_listening: bool | None = None
    """Whether it hears at once of what other processes append, and not by looking; None where there is no such way."""
    troubles: tuple[str, ...] = ()
    """Why appends that are on their way have not arrived, a sentence for each way that they go."""
