"""What lies around a dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import attrs
import pytest
import structlog

from framework import (
    Application,
    CommandContext,
    CommandRejected,
    Consistency,
    DispatchResult,
    MemoryEventStore,
    Middleware,
    Next,
)
from framework.errors import ConfigurationError, InvalidIdentity, NoAnswer, NotRunning, UnknownCommand
from framework.policies import Options
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, Shake, TakeOut, Till, tills


class Forbidden(CommandRejected):
    """Not for you."""


@attrs.define(eq=False)
class Noting:
    """Writes down what passes, and how it came back."""

    name: str
    notes: list[str]

    async def __call__(self, context: CommandContext, call_next: Next) -> DispatchResult:
        self.notes.append(f"{self.name} in")
        try:
            result = await call_next(context)
        except Exception as error:
            self.notes.append(f"{self.name} {type(error).__name__}")
            raise
        self.notes.append(f"{self.name} out {result.version}")
        return result


def changing(**changes: Any) -> Middleware:
    async def change(context: CommandContext, call_next: Next) -> DispatchResult:
        return await call_next(attrs.evolve(context, **changes))

    return change


def bank(*middleware: Middleware, store: MemoryEventStore | None = None) -> Application:
    return Application(store=store or MemoryEventStore(), router=tills(), middleware=middleware)


async def test_layers_lie_around_each_other_the_first_outermost() -> None:
    notes: list[str] = []
    async with bank(Noting("outer", notes), Noting("inner", notes)) as app:
        await app.dispatch(PutIn("a", 1))

    assert notes == ["outer in", "inner in", "inner out 1", "outer out 1"]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (TakeOut("a", 1), NotEnough),
        (Shake("a"), RuntimeError),
        (PutIn("", 1), InvalidIdentity),
        (object(), UnknownCommand),
    ],
)
async def test_layers_see_how_a_dispatch_fails(command: object, error: type[Exception]) -> None:
    notes: list[str] = []
    async with bank(Noting("outer", notes), Noting("inner", notes)) as app:
        with pytest.raises(error):
            await app.dispatch(command)

    assert notes == ["outer in", "inner in", f"inner {error.__name__}", f"outer {error.__name__}"]


async def test_a_layer_changes_the_command_and_its_metadata() -> None:
    store = MemoryEventStore()
    async with bank(changing(command=PutIn("b", 5), metadata={"by": "me"}), store=store) as app:
        result = await app.dispatch(PutIn("a", 1))

    (stored,) = (await store.read_log()).events
    assert (result.stream, result.events) == ("till-b", (Moved(5),))
    assert stored.metadata == b'{"by":"me"}'


async def test_a_layer_changes_the_ids_and_the_options() -> None:
    command_id, correlation_id, causation_id = uuid4(), uuid4(), uuid4()
    store = MemoryEventStore()
    ids = {"command_id": command_id, "correlation_id": correlation_id, "causation_id": causation_id}
    async with bank(changing(**ids, is_repeatable=True, expected_version=0), store=store) as app:
        first = await app.dispatch(PutIn("a", 1))
        again = await app.dispatch(PutIn("a", 1))

    (stored,) = (await store.read_log()).events
    assert first.version == again.version == 1
    assert (stored.causation_id, stored.correlation_id) == (command_id, correlation_id)
    assert str(causation_id).encode() in stored.metadata


async def test_a_layer_is_shown_what_the_caller_said() -> None:
    seen: list[CommandContext] = []

    async def look(context: CommandContext, call_next: Next) -> DispatchResult:
        seen.append(context)
        return await call_next(context)

    command_id, correlation_id = uuid4(), uuid4()
    async with bank(look) as app:
        await app.dispatch(
            PutIn("a", 1),
            command_id=command_id,
            correlation_id=correlation_id,
            metadata={"by": "me"},
            consistency=Consistency.STRONG,
            retry=3,
            expected_version=0,
            returning=Till,
        )
        await app.dispatch(PutIn("a", 1))

    assert seen[0] == CommandContext(
        command=PutIn("a", 1),
        command_id=command_id,
        correlation_id=correlation_id,
        causation_id=None,
        metadata={"by": "me"},
        is_repeatable=True,
        options=Options(consistency=Consistency.STRONG, retry=3),
        expected_version=0,
        returning=Till,
    )
    assert not seen[1].is_repeatable
    assert seen[1].correlation_id == seen[1].command_id


async def test_a_layer_refuses_and_nothing_is_decided() -> None:
    async def forbid(context: CommandContext, call_next: Next) -> DispatchResult:
        raise Forbidden(f"{context.command} and {call_next}")

    notes: list[str] = []
    store = MemoryEventStore()
    async with bank(Noting("outer", notes), forbid, Noting("inner", notes), store=store) as app:
        with pytest.raises(Forbidden):
            await app.dispatch(PutIn("a", 1))

    assert notes == ["outer in", "outer Forbidden"]
    assert await store.head() == 0


async def test_a_layer_answers_by_itself() -> None:
    async def answer(context: CommandContext, call_next: Next) -> DispatchResult:
        del call_next
        return DispatchResult("elsewhere", 7, 7, command_id=context.command_id)

    store = MemoryEventStore()
    async with bank(answer, store=store) as app:
        assert (await app.dispatch(PutIn("a", 1))).stream == "elsewhere"

    assert await store.head() == 0


async def test_a_layer_tries_again_what_failed() -> None:
    async def insist(context: CommandContext, call_next: Next) -> DispatchResult:
        try:
            return await call_next(context)
        except NotEnough:
            await call_next(attrs.evolve(context, command=PutIn("a", 10)))
            return await call_next(context)

    async with bank(insist) as app:
        assert (await app.dispatch(TakeOut("a", 4))).version == 2
        assert await app.state(Till, "a") == Till(6)


async def test_a_layer_hands_a_command_to_another_application() -> None:
    async with bank() as other:

        async def elsewhere(context: CommandContext, call_next: Next) -> DispatchResult:
            if context.metadata.get("tenant") == "other":
                return await other.dispatch(context.command)
            return await call_next(context)

        async with bank(elsewhere) as app:
            await app.dispatch(PutIn("a", 1), metadata={"tenant": "other"})
            await app.dispatch(PutIn("a", 5))

            assert await other.state(Till, "a") == Till(1)
            assert await app.state(Till, "a") == Till(5)


async def never(context: CommandContext, call_next: Next) -> Any:
    """Never calls on."""
    del context, call_next


async def forgetful(context: CommandContext, call_next: Next) -> Any:
    """Forgets to return the answer."""
    await call_next(context)


def sync(context: CommandContext, call_next: Next) -> Any:
    """Is no coroutine."""
    del context, call_next
    return "done"


@pytest.mark.parametrize(
    ("layer", "message", "recorded"),
    [
        (never, "never returned None and not what call_next answered; nothing was recorded", 0),
        (sync, "sync returned 'done' .*nothing was recorded", 0),
        (forgetful, "forgetful returned None .*what the command led to may be recorded", 1),
    ],
)
async def test_a_layer_that_gives_no_answer_is_named(layer: Middleware, message: str, recorded: int) -> None:
    store = MemoryEventStore()
    async with bank(layer, store=store) as app:
        with pytest.raises(NoAnswer, match=message) as raised:
            await app.dispatch(PutIn("a", 1))

    assert raised.value.has_asked is (recorded > 0)
    assert await store.head() == recorded


@pytest.mark.parametrize(("layer", "message"), [(Noting, "Noting is a class: give an instance"), (7, "7 cannot be")])
def test_what_is_no_layer_is_found_when_the_application_is_built(layer: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        bank(layer)


async def test_cancellation_comes_out_of_call_next_and_a_waiting_command_is_withdrawn() -> None:
    notes: list[str] = []

    async def watch(context: CommandContext, call_next: Next) -> DispatchResult:
        try:
            return await call_next(context)
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise

    store = GatedStore()
    async with bank(watch, store=store) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        waiting = asyncio.ensure_future(app.dispatch(PutIn("a", 10)))
        await asyncio.sleep(0)

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        store.gate.set()
        await first

        assert await app.state(Till, "a") == Till(1)
    assert notes == ["cancelled"]


async def test_a_layer_that_is_still_at_it_when_the_application_closes_is_told_by_call_next() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def dawdle(context: CommandContext, call_next: Next) -> DispatchResult:
        arrived.set()
        await go_on.wait()
        return await call_next(context)

    store = MemoryEventStore()
    async with bank(dawdle, store=store) as app:
        late = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await arrived.wait()
    go_on.set()

    with pytest.raises(NotRunning):
        await late
    assert await store.head() == 0


async def test_commands_of_a_load_pass_the_layers() -> None:
    notes: list[str] = []
    async with bank(Noting("layer", notes)) as app:
        await app.dispatch_many([PutIn("a", 1), PutIn("b", 1)])

    assert notes.count("layer in") == 2


async def test_the_ids_of_a_dispatch_are_on_what_a_layer_logs() -> None:
    lines: list[Any] = []
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, _collect(lines)])

    async def speak(context: CommandContext, call_next: Next) -> DispatchResult:
        structlog.get_logger().info("passing", amount=1)
        return await call_next(context)

    command_id = uuid4()
    async with bank(speak) as app:
        await app.dispatch(PutIn("a", 1), command_id=command_id)

    assert [line["command_id"] for line in lines if line["event"] == "passing"] == [str(command_id)]


def _collect(lines: list[Any]) -> Callable[..., Any]:
    def collect(logger: object, name: str, line: dict[str, Any]) -> Any:
        del logger, name
        lines.append(line)
        raise structlog.DropEvent

    return collect
