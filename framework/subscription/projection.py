"""Delivers to a projector: rows and progress in one transaction, each event once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from framework.errors import LeaseLost, StorageUnavailable
from framework.messages import Recorded
from framework.policies import Backoff
from framework.read_models import ReadModel
from framework.store.subscriptions import Lease, Subscriptions
from framework.subscription.delivery import handling, patiently
from framework.subscription.slots import Hold


class ProjectorSink:
    """Projects batches; where one fails, event by event, so that only the one at fault is tried again."""

    def __init__(self, model: ReadModel, subscriptions: Subscriptions, retry: Backoff) -> None:
        self._model = model
        self._subscriptions = subscriptions
        self._retry = retry

    async def take_over(self, lease: Lease) -> int:
        """Return the position up to which the rows are those of the log."""
        return await self._model.take_over(lease)

    async def deliver(self, hold: Hold, events: Sequence[Recorded[Any]], *, position: int) -> None:
        """Project *events* and move to *position*, in one transaction if all goes well."""
        try:
            await self._project(hold, events, position)
        except (LeaseLost, StorageUnavailable):
            raise
        except Exception:  # noqa: BLE001 - which event is at fault is found below, and its error raised from there
            for event in events:
                await self._project_alone(hold, event)
            if not events or position > events[-1].position:
                await self._project(hold, (), position)
        # What others look at from afar: it may trail what the rows' own database says, and never leads.
        await self._subscriptions.advance(hold.lease, position)

    async def _project_alone(self, hold: Hold, event: Recorded[Any]) -> None:
        async def attempt() -> None:
            await self._project(hold, (event,), event.position)

        await patiently(self._model.name, event.position, self._retry, attempt)

    async def _project(self, hold: Hold, events: Sequence[Recorded[Any]], position: int) -> None:
        async with self._model.advancing(hold.lease, position) as db:
            for event in events:
                hold.check()
                with handling(self._model.name, event):
                    await self._model.projector.project(event, db)
