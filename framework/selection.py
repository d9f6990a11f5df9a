"""Which events of the log a reader wants."""

from __future__ import annotations

import attrs


@attrs.frozen
class Selection:
    """Events of certain types, of one stream, of streams whose names begin alike; all that is said must hold."""

    types: frozenset[str] | None = None
    """Their names of today; None for any."""
    prefix: str = ""
    stream: str | None = None

    @property
    def common_prefix(self) -> str:
        """What the names of all wanted streams begin with."""
        return self.prefix if self.stream is None else self.stream

    def wants(self, event_type: str, stream: str) -> bool:
        """Say whether an event of that type in that stream is one of them."""
        return (self.types is None or event_type in self.types) and self.wants_stream(stream)

    def wants_stream(self, stream: str) -> bool:
        """Say whether events of that stream may be some of them."""
        return (self.stream is None or stream == self.stream) and stream.startswith(self.prefix)
