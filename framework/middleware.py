"""Middleware: layers around every dispatch, each of which may look, change, refuse, or answer itself."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import attrs

from framework.errors import ConfigurationError, NoAnswer
from framework.messages import DispatchResult, Metadata
from framework.policies import Options


@attrs.frozen
class CommandContext:
    """A command on its way, and all that its caller has said about it.

    It does not change: to change something, hand `attrs.evolve(context, …)` to `call_next`.
    """

    command: object
    command_id: UUID
    correlation_id: UUID
    causation_id: UUID | None
    """What caused the command; None at the start of a chain."""
    metadata: Metadata
    """What will be recorded with every event."""
    is_repeatable: bool
    """Whether the caller has given the id: the answer is then kept under it, and a repeat is answered alike."""
    options: Options
    """As the call has them; what it leaves open is taken from the registration and the defaults further in."""
    expected_version: int | None
    """The version that the aggregate must be at."""
    returning: type[Any] | None
    """The aggregate class, if its state is to come with the answer."""
    is_together: bool = False
    """Whether it is decided as one with others: then no layer can answer it by itself."""


Next: TypeAlias = Callable[[CommandContext], Awaitable[DispatchResult]]
"""The rest of the way: the next layer, or at last the aggregate. It raises as `Application.dispatch` does."""


class Middleware(Protocol):
    """A layer around every dispatch; a function of this form is one, too.

    `return await call_next(context)` passes the command on, changed or not. To refuse, raise, best a `CommandRejected`.
    To answer without the aggregate, return a `DispatchResult` of your own. One layer serves all dispatches, many at a
    time, so it keeps nothing about a command on itself. Cancellation comes out of `call_next` as it does out of every
    `await`.
    """

    async def __call__(self, context: CommandContext, call_next: Next) -> DispatchResult: ...


def onion(middleware: Sequence[Middleware], core: Next) -> Next:
    """Return the way through all *middleware*, the first outermost, to *core*; without any, *core* itself."""
    way = core
    for layer in reversed(middleware):
        way = _around(layer, way)
    return way


def check_middleware(middleware: Sequence[Middleware]) -> None:
    """Raise `ConfigurationError` for what cannot be a layer."""
    for layer in middleware:
        given: object = layer
        if isinstance(given, type):
            raise ConfigurationError(f"middleware {given.__name__} is a class: give an instance, {given.__name__}()")
        if not callable(given):
            raise ConfigurationError(f"middleware {given!r} cannot be called: see framework.Middleware")


def _around(layer: Middleware, inner: Next) -> Next:
    async def way(context: CommandContext) -> DispatchResult:
        has_asked = False

        def call_next(context: CommandContext) -> Awaitable[DispatchResult]:
            nonlocal has_asked
            has_asked = True
            return inner(context)

        answer: Any = layer(context, call_next)
        given = await answer if inspect.isawaitable(answer) else answer
        if not isinstance(given, DispatchResult):
            raise NoAnswer(_name(layer), given, has_asked=has_asked)
        return given

    return way


def _name(layer: Middleware) -> str:
    name: str = getattr(layer, "__qualname__", "") or type(layer).__qualname__
    return name
