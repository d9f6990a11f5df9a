"""What an aggregate has been through: event by event, or what lies between two moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from framework.messages import Recorded

A = TypeVar("A")


@attrs.frozen
class Step(Generic[A]):
    """One event, and what it made of the state."""

    event: Recorded[Any]
    before: A
    after: A


@attrs.frozen
class Difference(Generic[A]):
    """What became of a state between two moments."""

    before: A
    after: A
    events: Sequence[Recorded[Any]]
    """What has happened between, in order."""

    @property
    def fields(self) -> Mapping[str, tuple[Any, Any]]:
        """The fields that differ, with what they were and what they are."""
        names: list[str] = [field.name for field in attrs.fields(type(self.before))]  # type: ignore[arg-type]  # an aggregate is an attrs class
        values = {name: (getattr(self.before, name), getattr(self.after, name)) for name in names}
        return {name: (was, now) for name, (was, now) in values.items() if was != now}
