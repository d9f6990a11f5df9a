"""Delivers to a projector: rows and progress in one transaction, each event once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from framework.errors import ProgressMoved, StorageUnavailable
from framework.messages import Recorded
from framework.policies import Backoff
from framework.read_models import ReadModel
from framework.subscription.delivery import handling, patiently


class ProjectorSink:
    """Projects batches; where one fails, event by event, so that only the one at fault is tried again."""

    def __init__(self, model: ReadModel, retry: Backoff) -> None:
        self.name = model.name
        self._model = model
        self._retry = retry

    async def load(self) -> int:
        """Return the position up to which the rows are those of the log."""
        return await self._model.position()

    async def deliver(self, events: Sequence[Recorded[Any]], *, position: int, expected: int) -> None:
        """Project *events* and move to *position*, in one transaction if all goes well."""
        try:
            await self._project(events, position, expected)
        except (ProgressMoved, StorageUnavailable):
            raise
        except Exception:  # noqa: BLE001 - which event is at fault is found below, and its error raised from there
            for event in events:
                await self._project_alone(event, expected)
                expected = event.position
            if position > expected:
                await self._project((), position, expected)

    async def _project_alone(self, event: Recorded[Any], expected: int) -> None:
        async def attempt() -> None:
            await self._project((event,), event.position, expected)

        await patiently(self.name, event.position, self._retry, attempt)

    async def _project(self, events: Sequence[Recorded[Any]], position: int, expected: int) -> None:
        async with self._model.advancing(position=position, expected=expected) as db:
            for event in events:
                with handling(self.name, event):
                    await self._model.projector.project(event, db)
