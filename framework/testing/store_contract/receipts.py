"""The answers of commands, kept under their ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from framework.clock import new_id
from framework.errors import (
    DuplicateEvent,
    ReceiptTaken,
    WrongExpectedVersion,
)
from framework.store.protocol import (
    Appended,
    EventStore,
)
from framework.testing.store_contract.parts import (
    OnAStore,
    advance,
    as_json,
    contents_of,
    log_of,
    new_command,
    new_event,
    new_events,
    new_receipt,
    value_of,
    write,
    write_to,
)


class ReceiptContract(OnAStore):
    """The answers of commands, kept under their ids."""

    async def test_receipts_are_written_with_their_events(self, store: EventStore) -> None:
        one, two = new_receipt(count=2), new_receipt(count=0)

        await write_to(store, new_events(2), one, two)

        assert await store.receipts([one.command_id, two.command_id]) == {
            one.command_id: one,
            two.command_id: two,
        }

    async def test_only_the_receipts_asked_for_and_there_are_returned(self, store: EventStore) -> None:
        one, two = new_receipt(), new_receipt()
        await store.append((), [one, two])

        assert await store.receipts([one.command_id, new_id()]) == {one.command_id: one}
        assert await store.receipts([]) == {}

    async def test_receipts_may_be_written_alone(self, store: EventStore) -> None:
        receipt = new_receipt(count=0)

        assert await store.append((), [receipt]) == ()

        assert await store.receipts([receipt.command_id]) == {receipt.command_id: receipt}
        assert await store.head() == 0

    async def test_a_refusal_is_kept_with_its_receipt(self, store: EventStore) -> None:
        refusal = as_json({"name": "InsufficientFunds", "args": ["30 exceeds 20", {"é": [1, 2.5, None]}]})
        receipt = new_receipt(count=0, refusal=refusal)

        await store.append((), [receipt])

        kept = (await store.receipts([receipt.command_id]))[receipt.command_id]
        assert kept.refusal is not None
        assert value_of(kept.refusal) == value_of(refusal)
        assert kept._replace(refusal=refusal) == receipt

    async def test_a_receipt_written_alone_may_be_repeated(self, store: EventStore) -> None:
        receipt = new_receipt(count=0, refusal=b'{"name": "Closed", "args": []}')
        await store.append((), [receipt])

        assert await store.append((), [receipt]) == ()

    async def test_a_receipt_is_repeated_with_its_events(self, store: EventStore) -> None:
        events, receipt = new_events(2), new_receipt(count=2)
        first = await write_to(store, events, receipt)

        again = await write_to(store, events, receipt)

        assert again == first
        assert await store.head() == 2

    async def test_a_receipt_with_another_answer_is_refused(self, store: EventStore) -> None:
        receipt, new = new_receipt(count=0), new_receipt()
        await store.append((), [receipt])

        with pytest.raises(ReceiptTaken) as caught:
            await store.append((), [new, receipt._replace(digest=b"another")])

        assert caught.value.command_ids == (receipt.command_id,)
        assert await store.receipts([receipt.command_id, new.command_id]) == {receipt.command_id: receipt}

    @pytest.mark.parametrize("refusal", [None, b'{"name": "Late", "args": []}'])
    async def test_a_receipt_with_another_refusal_is_refused(self, store: EventStore, refusal: bytes | None) -> None:
        receipt = new_receipt(count=0, refusal=b'{"name": "Closed", "args": []}')
        await store.append((), [receipt])

        with pytest.raises(ReceiptTaken):
            await store.append((), [receipt._replace(refusal=refusal)])

    async def test_new_events_with_a_taken_receipt_are_refused(self, store: EventStore) -> None:
        receipt, new = new_receipt(), new_receipt()
        await write_to(store, new_events(1), receipt)

        with pytest.raises(ReceiptTaken) as caught:
            await write_to(store, new_events(2), new, receipt, expected=1)

        assert caught.value.command_ids == (receipt.command_id,)
        assert await store.head() == 1
        assert not await store.receipts([new.command_id])

    async def test_a_command_decided_again_learns_of_its_receipt_and_not_of_its_events(self, store: EventStore) -> None:
        # Its event has the id it had the first time and, decided on another state, another content.
        event, receipt = new_event({"balance": 10}), new_receipt()
        await write_to(store, [event], receipt)
        other = event._replace(data=b'{"balance": 20}')

        with pytest.raises(ReceiptTaken):
            await write_to(store, [other], receipt._replace(first_version=2), expected=1)

        assert contents_of(await log_of(store)) == contents_of([event])

    async def test_recorded_events_with_a_new_receipt_are_refused(self, store: EventStore) -> None:
        events, receipt = new_events(1), new_receipt()
        await write_to(store, events)

        with pytest.raises(DuplicateEvent):
            await write_to(store, events, receipt)

        assert not await store.receipts([receipt.command_id])

    async def test_an_append_refused_for_its_version_writes_no_receipt(self, store: EventStore) -> None:
        receipt = new_receipt()

        with pytest.raises(WrongExpectedVersion):
            await write_to(store, new_events(1), receipt, expected=3)

        assert not await store.receipts([receipt.command_id])

    async def test_receipts_older_than_a_moment_are_pruned(self, store: EventStore) -> None:
        old, new = new_receipt(), new_receipt("t")
        first = await write_to(store, new_events(1), old)
        moment = await moment_after(store, first)
        await write_to(store, new_events(1), new, stream="t")

        assert await store.prune_receipts(moment) == 1
        assert await store.prune_receipts(moment) == 0

        assert await store.receipts([old.command_id, new.command_id]) == {new.command_id: new}
        assert await store.head() >= 2, "the events stay"

    async def test_receipts_of_commands_that_wait_to_be_sent_are_not_pruned(self, store: EventStore) -> None:
        command, receipt = new_command(), new_receipt(count=0)
        await store.append((), [receipt, receipt._replace(command_id=command.command_id)])
        await advance(store, command)
        moment = datetime.now(UTC) + timedelta(days=1)

        assert await store.prune_receipts(moment) == 1
        assert set(await store.receipts([receipt.command_id, command.command_id])) == {command.command_id}

        await store.settle("p", [command.command_id])
        assert await store.prune_receipts(moment) == 1

    async def test_the_id_of_a_pruned_receipt_is_free_again(self, store: EventStore) -> None:
        receipt = new_receipt(count=0)
        await store.append((), [receipt])
        await store.prune_receipts(datetime.now(UTC) + timedelta(days=1))

        await store.append((), [receipt._replace(digest=b"another")])

        kept = await store.receipts([receipt.command_id])
        assert kept[receipt.command_id].digest == b"another"

    async def test_where_nothing_is_old_nothing_is_pruned(self, store: EventStore) -> None:
        receipt = new_receipt(count=0)
        await store.append((), [receipt])

        assert await store.prune_receipts(datetime(1970, 1, 1, tzinfo=UTC)) == 0
        assert await store.receipts([receipt.command_id])


async def moment_after(store: EventStore, appended: Appended) -> datetime:
    """Return a moment after *appended* that no later append is before, once the store's clock has passed it."""
    assert appended.recorded_at is not None
    moment = appended.recorded_at + timedelta(microseconds=1)
    while (await write(store, "clock", new_event())).recorded_at == appended.recorded_at:
        pass
    return moment
