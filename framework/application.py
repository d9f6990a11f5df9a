"""The facade: everything wired together, opened and closed as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from framework.clock import SYSTEM_CLOCK, Clock
from framework.codec import Codec
from framework.dispatching import Dispatching
from framework.evolution import Upcaster
from framework.handler import EventHandler
from framework.middleware import Middleware
from framework.policies import Defaults
from framework.process_manager import ProcessManager
from framework.projector import Projector
from framework.router import Router
from framework.runtime.watch import UNWATCHED, Watch
from framework.runtime.wiring import wire
from framework.store.protocol import EventStore
from framework.viewing import Viewing

DEFAULTS: Final = Defaults()


class Application(Dispatching, Viewing):
    """Commands in, events remembered, read models kept: open it with `async with`, then `dispatch`.

    Everything that can be wrong with the wiring raises a `ConfigurationError` here, before anything runs.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        router: Router,
        handlers: Sequence[EventHandler[Any]] = (),
        processes: Sequence[type[ProcessManager[Any, Any]]] = (),
        projectors: Sequence[Projector[Any]] = (),
        middleware: Sequence[Middleware] = (),
        upcasters: Sequence[Upcaster] = (),
        read_models: str | None = None,
        codec: Codec | None = None,
        clock: Clock = SYSTEM_CLOCK,
        defaults: Defaults = DEFAULTS,
        telemetry: Watch = UNWATCHED,
    ) -> None:
        """Wire the parts together.

        *middleware* lies around every dispatch, the first outermost. *upcasters* bring events that were stored in an
        older form to that of today. *read_models* is the DSN of the database that
        projectors write to; the store's own unless given. *codec* holds the types you registered with it, if you did.
        *telemetry* is told of all that is done, `framework.telemetry.Telemetry()` for one; nobody unless given.
        """
        super().__init__(
            wire(
                store=store,
                router=router,
                handlers=handlers,
                processes=processes,
                projectors=projectors,
                middleware=middleware,
                upcasters=upcasters,
                read_models=read_models,
                codec=codec or Codec(),
                clock=clock,
                defaults=defaults,
                watch=telemetry,
            )
        )
