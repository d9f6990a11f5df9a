"""What the slots that run here are like: written down where everybody can read it, a moment after it has changed."""

from __future__ import annotations

import asyncio
from typing import Final

from framework.clock import jitter
from framework.errors import StorageUnavailable
from framework.observe import REPORTS_LOST, log
from framework.runtime.supervisor import Supervisor
from framework.runtime.watch import Watch
from framework.store.protocol import EventStore
from framework.store.subscriptions import Report
from framework.subscription.delivery import SlotRunner

REPORT_SECONDS: Final = 2.0
"""How long, with jitter, after a change it is written down: many changes are one."""


class Reports:
    """The slots that run here, and what was last said of them. While nothing changes it costs nothing."""

    def __init__(self, store: EventStore, supervisor: Supervisor, watch: Watch) -> None:
        self._store = store
        self._supervisor = supervisor
        self._watch = watch
        self._runners: dict[tuple[str, int], SlotRunner] = {}
        self._said: dict[tuple[str, int], Report] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def begin(self) -> None:
        """Tell who watches, now and then, if he wants to hear of it."""
        if self._watch.wants_lag:
            self._supervisor.every(REPORT_SECONDS, "lag", self._tell)

    def add(self, runner: SlotRunner) -> None:
        """Say from now on how the slot of *runner* is."""
        self._runners[runner.lease[:2]] = runner

    def changed(self) -> None:
        """Note that something is not as it was."""
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(jitter(REPORT_SECONDS), self._due)

    def close(self) -> None:
        """Say no more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._watch.lagging(self._store.namespace, ())

    def _due(self) -> None:
        self._timer = None
        _ = self._supervisor.spawn("reports", self._write)

    async def _write(self) -> None:
        reports: list[Report] = []
        for key, runner in list(self._runners.items()):
            report = runner.report(self._store.woken_by)
            if report is None:
                del self._runners[key]
            else:
                runner.attend()  # so that a slot nobody has anything for does not look as if it were behind
                reports.append(report)
        news = [report for report in reports if self._said.get(report.lease[:2]) != report]
        try:
            await self._store.subscriptions.report(news)
        except StorageUnavailable as error:
            log.warning(REPORTS_LOST, error=str(error))
            self.changed()
            return
        self._said = {report.lease[:2]: report for report in reports}
        if any(report.rate for report in reports):
            self.changed()  # or it would be said to be busy for ever

    async def _tell(self) -> None:
        mine = self._runners
        lag = await self._store.subscriptions.lag({name for name, _ in mine})
        self._watch.lagging(self._store.namespace, [slot for slot in lag if (slot.name, slot.slot) in mine])
