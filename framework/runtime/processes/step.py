"""What events do to the instances they name, worked out before any of it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import attrs

from framework.errors import StepTooSlow
from framework.messages import Recorded
from framework.process_manager import Interest, ProcessManager, Stop, handles
from framework.runtime.processes.declared import ProcessType
from framework.runtime.processes.yielded import Source
from framework.store.protocol import InstanceRow, ProcessChange
from framework.store.subscriptions import ParkedEvent
from framework.subscription.failure import handling


@attrs.frozen
class Instance:
    """An instance while events are applied to it."""

    version: int = 0
    state: ProcessManager[Any, Any] | None = None
    """None where it does not run."""
    document: bytes | None = None
    """The state as it is stored."""


class Step:
    """Instances, and what becomes of them."""

    def __init__(self, process: ProcessType, rows: Mapping[str, InstanceRow], heard_at: datetime) -> None:
        """Begin with what is stored of the instances, *rows*; times are counted from *heard_at*."""
        self._process = process
        self._rows = rows
        self._heard_at = heard_at
        self._instances: dict[str, Instance] = {}
        """Those that were looked at."""
        self._changed: set[str] = set()
        self._yielded = process.yielded()

    def take(self, event: Recorded[Any], interest: Interest) -> None:
        """Have the instance that *interest* names take *event*. If that raises, it is as if it had not been tried."""
        id_ = interest.id
        instance = self._instance(id_)
        with handling(self._process.name, (event,)):
            if isinstance(interest, Stop):
                self.end(id_)
            elif handles(self._process.name, interest, is_running=instance.state is not None):
                self._keep(id_, self._handled(event, id_, instance))

    def end(self, id_: str) -> None:
        """Have the instance *id_* end, as far as it runs."""
        instance = self._instance(id_)
        if instance.state is not None:
            self._yielded.end(id_)
            self._keep(id_, Instance(instance.version))

    def change(self, parked: Collection[ParkedEvent] = (), released: Collection[ParkedEvent] = ()) -> ProcessChange:
        """Return all that is to be stored, with the events that are *parked* and *released*."""
        instances = ((id_, self._instances[id_]) for id_ in self._instances if id_ in self._changed)
        return ProcessChange(
            saved=[InstanceRow(id_, instance.version, instance.document) for id_, instance in instances],
            commands=self._yielded.commands,
            withdrawn=self._yielded.withdrawn,
            timers=self._yielded.timers,
            parked=tuple(parked),
            released=tuple(released),
        )

    def _handled(self, event: Recorded[Any], id_: str, before: Instance) -> Instance:
        process = self._process
        state, version = (process.initial, 0) if before.state is None else (before.state, before.version)
        clock = asyncio.get_running_loop().time
        began = clock()
        yielded = list(state.handle(event.data))
        state = state.apply(event.data)
        if (took_s := clock() - began) > process.step_timeout_s:
            raise StepTooSlow(process.name, id_, took_s, process.step_timeout_s)
        document = process.codec.encode(state)
        # Last, since it is the one that keeps something.
        self._yielded.take(id_, yielded, Source(event.event_id, event.correlation_id, self._heard_at))
        return Instance(version + 1, state, document)

    def _keep(self, id_: str, instance: Instance) -> None:
        self._instances[id_] = instance
        self._changed.add(id_)

    def _instance(self, id_: str) -> Instance:
        if id_ not in self._instances:
            self._instances[id_] = self._loaded(id_)
        return self._instances[id_]

    def _loaded(self, id_: str) -> Instance:
        row = self._rows.get(id_)
        if row is None or row.state is None:
            return Instance()
        return Instance(row.version, self._process.load(row.state), row.state)
