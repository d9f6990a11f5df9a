"""What caused what can be told from the log lines alone, and from the stored events alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

import pytest
import structlog

from framework import Application, MemoryEventStore
from framework.messages import CAUSED_BY
from framework.observe import COMMAND_ACCEPTED, COMMAND_REJECTED, EVENT_RECEIVED, LEASE_RELEASED, LEASE_TAKEN
from framework.store.protocol import StoredEvent
from framework.testing import eventually
from sample_bank.accounts import CloseAccount, DepositMoney, OpenAccount, SendMoney
from sample_bank.bank import router
from sample_bank.transfers import CompleteTransfer

Line: TypeAlias = Mapping[str, Any]

Tree: TypeAlias = set[tuple[str, str]]
"""Pairs of ids, a cause and what it led to; commands and events by turns."""


@pytest.fixture
def lines() -> Iterator[Sequence[Line]]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        with structlog.testing.capture_logs(
            processors=[structlog.contextvars.merge_contextvars, of_causes]
        ) as captured:
            yield captured
    finally:
        structlog.configure(**before)


def of_causes(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out what no message causes: a process takes its slots."""
    if line["event"] in {LEASE_TAKEN, LEASE_RELEASED}:
        raise structlog.DropEvent
    return line


async def stored(store: MemoryEventStore, correlation_id: str) -> list[StoredEvent]:
    page = await store.read_log()
    return [event for event in page.events if str(event.correlation_id) == correlation_id]


def tree_of_lines(lines: Sequence[Line], correlation_id: str) -> Tree:
    """Return what the *lines* of one chain of causes tell.

    A line of a command has its id and its cause. One of an event has the event's id as the cause of all that follows;
    the command that led to it is the one that was accepted at its place in its stream.
    """
    chain = [line for line in lines if line["correlation_id"] == correlation_id]
    tree: Tree = set()
    accepted: dict[tuple[str, int], str] = {}
    for line in chain:
        if line["event"] in {COMMAND_ACCEPTED, COMMAND_REJECTED} and line["causation_id"] is not None:
            tree.add((line["causation_id"], line["command_id"]))
        if line["event"] == COMMAND_ACCEPTED:
            first = line["version"] - line["events"] + 1
            accepted |= {(line["stream"], at): line["command_id"] for at in range(first, line["version"] + 1)}
    for line in chain:
        if line["event"] == EVENT_RECEIVED:
            tree.add((accepted[line["stream"], line["version"]], line["causation_id"]))
    return tree


def tree_of_events(events: Sequence[StoredEvent]) -> Tree:
    """Return what the stored *events* of one chain tell: each has its command's id, and that command's cause."""
    tree: Tree = set()
    for event in events:
        tree.add((str(event.causation_id), str(event.event_id)))
        if cause := json.loads(event.metadata).get(CAUSED_BY):
            tree.add((cause, str(event.causation_id)))
    return tree


async def transfer(store: MemoryEventStore, *, target: str) -> str:
    """Have money sent to *target*, wait until the transfer has ended, and return its correlation id."""
    async with Application(store=store, router=router, processes=[CompleteTransfer]) as bank:
        for account in ("a", "b", "closed"):
            await bank.dispatch(OpenAccount(account))
        await bank.dispatch(CloseAccount("closed"))
        await bank.dispatch(DepositMoney("a", 100))
        sent = await bank.dispatch(SendMoney("a", 30, target, "t"))
        correlation_id = str(sent.correlation_id)

        async def has_ended() -> None:
            assert len(await stored(store, correlation_id)) == 2
            (slot,) = await store.subscriptions.slots(["CompleteTransfer"])
            assert slot.position == await store.head()

        await eventually(has_ended)
    return correlation_id


async def test_lines_and_events_tell_the_same_of_a_transfer_that_arrived(lines: Sequence[Line]) -> None:
    store = MemoryEventStore()

    correlation_id = await transfer(store, target="b")

    sent, arrived = await stored(store, correlation_id)
    deposit = str(arrived.causation_id)
    assert tree_of_lines(lines, correlation_id) == {
        (correlation_id, str(sent.event_id)),  # the first command's id is that of the whole chain
        (str(sent.event_id), deposit),
        (deposit, str(arrived.event_id)),
    }
    assert tree_of_events([sent, arrived]) == tree_of_lines(lines, correlation_id)


async def test_a_refused_command_is_told_of_by_the_lines_and_named_by_what_it_led_to(lines: Sequence[Line]) -> None:
    store = MemoryEventStore()

    correlation_id = await transfer(store, target="closed")

    sent, returned = await stored(store, correlation_id)
    deposit = json.loads(returned.metadata)[CAUSED_BY]
    refused = [line["command_id"] for line in lines if line["event"] == COMMAND_REJECTED]
    assert refused == [deposit]
    told = tree_of_lines(lines, correlation_id)
    # A refusal records nothing, so what it was caused by stands in the lines alone.
    assert told == tree_of_events([sent, returned]) | {(str(sent.event_id), deposit)}
    assert len(told) == 4


async def test_every_line_and_every_event_belongs_to_a_chain_of_causes(lines: Sequence[Line]) -> None:
    store = MemoryEventStore()

    await transfer(store, target="b")

    events = (await store.read_log()).events
    firsts = {str(event.correlation_id) for event in events}
    assert len(firsts) == 6  # what was dispatched from outside
    assert {line["correlation_id"] for line in lines} == firsts
    assert all("causation_id" in line for line in lines)


async def test_what_a_caller_says_of_the_cause_is_recorded(lines: Sequence[Line]) -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=router) as bank:
        first = await bank.dispatch(OpenAccount("a"))
        assert first.command_id is not None
        assert first.correlation_id is not None

        await bank.dispatch(OpenAccount("b"), correlation_id=first.correlation_id, causation_id=first.command_id)

    events = (await store.read_log()).events
    assert {event.correlation_id for event in events} == {first.correlation_id}
    assert json.loads(events[1].metadata) == {CAUSED_BY: str(first.command_id)}
    assert lines[-1]["causation_id"] == str(first.command_id)
