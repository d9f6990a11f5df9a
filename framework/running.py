"""An application's life: opened and closed as one, and well or not in between."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

import attrs

from framework.errors import ConfigurationError, NotRunning
from framework.policies import HEALTH_WITHIN
from framework.read_models import ReadModels
from framework.runtime.control import Control
from framework.runtime.engine import Engine
from framework.runtime.health import CLOSED, Health
from framework.runtime.instances import Instances
from framework.runtime.schedules import Schedules
from framework.runtime.wiring import Wiring


class Running:
    """What is open and closed, whatever may be asked of it."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._engine: Engine | None = None
        self._opened = AsyncExitStack()

    @property
    def wiring(self) -> Wiring:
        """The parts it was built of, checked: for tools that say what it is made of, open or not."""
        return self._wiring

    async def __aenter__(self) -> Self:
        """Open the store, prepare the read models, start what runs; raises what they raise, with all closed again."""
        if self._engine is not None:
            message = "the application is open already: open it once, or build another"
            raise ConfigurationError(message)
        store = self._wiring.journal.store
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(store)
            models = None
            if self._wiring.read_dsn is not None and self._wiring.projectors:
                models = await opened.enter_async_context(
                    ReadModels(
                        self._wiring.read_dsn,
                        self._wiring.projectors,
                        namespace=store.namespace,
                        log_id=store.log_id,
                    )
                )
            engine = Engine(attrs.evolve(self._wiring, watch=self._wiring.watch.opened()), models)
            opened.push_async_callback(engine.stop)
            await engine.start()
            self._opened = opened.pop_all()
        self._engine = engine
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was accepted and close; raises the `SubsystemFailed` of a part that died, if nothing else did."""
        engine = self._engine
        try:
            await self._opened.aclose()
        finally:
            self._engine = None
        if engine is not None and engine.supervisor.failure is not None and error is None:
            raise engine.supervisor.failure

    async def health(self, *, within: timedelta = HEALTH_WITHIN) -> Health:
        """Return how the application is, open or not; what is wrong with it is said there, and not raised.

        A store that has not answered *within* that time counts as one that does not answer.
        """
        engine = self._engine
        return CLOSED if engine is None else await engine.health(within.total_seconds())

    @property
    def subscriptions(self) -> Control:
        """Where the handlers, processes and projectors stand, and what they have set aside; raises `NotRunning`."""
        return self._alive().control

    @property
    def processes(self) -> Instances:
        """The instances of the processes, to be looked at and got going again; raises `NotRunning`."""
        return self._alive().instances

    @property
    def schedules(self) -> Schedules:
        """What is scheduled outside of processes, to be looked at and cancelled; raises `NotRunning`."""
        return self._alive().schedules

    def _alive(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise NotRunning
        if engine.is_stopping:
            raise NotRunning("stopping")
        if engine.supervisor.failure is not None:
            raise engine.supervisor.failure
        return engine
