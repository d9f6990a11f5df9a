"""Applications of one making under names: each is opened when it is first asked for, and all are closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

from framework.application import Application
from framework.errors import NotRunning
from framework.messages import DispatchResult
from framework.middleware import CommandContext, Middleware, Next
from framework.tasks import Tasks


class Tenants:
    """The applications of a program that serves many, by name: open it with `async with`.

    What is open stays open until the block ends, or until it is closed: a tenant at rest holds next to nothing.
    """

    def __init__(self, build: Callable[[str], Application]) -> None:
        """Have *build* make the application of a name, unopened; it raises for a name that there is no tenant of."""
        self._build = build
        self._opened: dict[str, Application] = {}
        self._opening: dict[str, asyncio.Future[Application]] = {}
        self._tasks = Tasks()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Be ready to open applications; none is opened yet."""
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all that are open, at the same time, so that one that is slow does not take the time of the others.

        Raises the first error that one of them closed with, if nothing else was raised; by then all are closed.
        """
        self._is_open = False
        failures: list[Exception] = []
        try:
            await self._finished()  # what is being opened is closed with the others
        finally:
            for name, application in self._opened.items():
                _ = self._tasks.start(f"tenant {name}", partial(_close, application, failures))
            self._opened.clear()
            await self._finished()
        if failures and error is None:
            raise failures[0]

    @property
    def opened(self) -> Mapping[str, Application]:
        """Those that are open now, by name."""
        return MappingProxyType(self._opened)

    async def application(self, name: str) -> Application:
        """Return the application called *name*, opened if need be.

        Raises what making or opening it raises, to all who wait for it; whoever asks next tries again. `NotRunning`
        outside of `async with`. Cancellation leaves the others who wait alone.
        """
        if (application := self._opened.get(name)) is not None:
            return application
        if not self._is_open:
            raise NotRunning
        opening = self._opening.get(name)
        if opening is None:
            opening = self._opening[name] = asyncio.get_running_loop().create_future()
            # What the application starts outlives whoever asks for it, so that it gets nothing of that one's context.
            _ = self._tasks.start(f"tenant {name}", partial(self._open, name, opening), context=Context())
        return await asyncio.shield(opening)

    async def close(self, name: str) -> None:
        """Close the application called *name*, if it is open; for whoever asks next it is made and opened anew.

        So one of which a part has died comes back without the others. Raises what closing it raises.
        """
        application = self._opened.pop(name, None)
        if application is not None:
            await application.__aexit__(None, None, None)

    def choosing(self, tenant_of: Callable[[CommandContext], str | None]) -> Middleware:
        """Return a middleware that hands each command to the application that *tenant_of* names, with all its options.

        None leaves a command where it is. Commands that are dispatched together are refused unless they stay, as
        `Application.dispatch_context` does: what is decided as one is decided by one application.
        """

        async def choose(context: CommandContext, call_next: Next) -> DispatchResult:
            name = tenant_of(context)
            if name is None:
                return await call_next(context)
            return await (await self.application(name)).dispatch_context(context)

        return choose

    async def _finished(self) -> None:
        """Return when all tasks have ended; where the time is over, end them first."""
        try:
            await self._tasks.finish()
        finally:
            await self._tasks.end()

    async def _open(self, name: str, opening: asyncio.Future[Application]) -> None:
        try:
            application = await self._build(name).__aenter__()
        except Exception as error:  # noqa: BLE001 - it is for those who wait
            opening.set_exception(error)
        else:
            self._opened[name] = application
            opening.set_result(application)
        finally:
            del self._opening[name]
            if not opening.done():  # whoever closes has no time left
                opening.set_exception(NotRunning("stopping"))
            opening.exception()  # those who waited may all have been cancelled


async def _close(application: Application, failures: list[Exception]) -> None:
    try:
        await application.__aexit__(None, None, None)
    except Exception as error:  # noqa: BLE001 - the others are closed all the same
        failures.append(error)
