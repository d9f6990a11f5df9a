"""What every event store must do, as tests: the shipped contract of `framework.store.protocol`.

Subclass it in a test module and say how a store is made::

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self) -> AsyncIterator[MyStore]:
            async with MyStore() as store:
                yield store

It is written for pytest-asyncio in auto mode, fixture and tests on one loop. For readable failures, name this
module to `pytest.register_assert_rewrite` in a conftest.
"""

from __future__ import annotations

from uuid import UUID

import pytest

from framework.errors import StoreError
from framework.store.protocol import EventStore
from framework.testing.store_contract.appending import AppendContract
from framework.testing.store_contract.backward import BackwardContract
from framework.testing.store_contract.bad_input import BadInputContract
from framework.testing.store_contract.concurrency import ConcurrencyContract
from framework.testing.store_contract.deleting import DeleteContract
from framework.testing.store_contract.expectations import ExpectationContract
from framework.testing.store_contract.filtering import FilterContract
from framework.testing.store_contract.going_through import PagesContract
from framework.testing.store_contract.history import HistoryContract
from framework.testing.store_contract.instances import InstanceContract
from framework.testing.store_contract.parts import log_of, new_event, new_events, new_receipt, write, write_to
from framework.testing.store_contract.processes import ProcessContract
from framework.testing.store_contract.reading import ReadContract
from framework.testing.store_contract.receipts import ReceiptContract
from framework.testing.store_contract.repeats import RepeatContract
from framework.testing.store_contract.snapshots import SnapshotContract
from framework.testing.store_contract.streams import StreamContract
from framework.testing.store_contract.subscriptions import SubscriptionContract
from framework.testing.store_contract.timers import TimerContract
from framework.testing.store_contract.turns import TurnContract
from framework.testing.store_contract.waiting import WaitContract

__all__ = ["StoreContract", "log_of", "new_event", "new_events", "new_receipt", "write", "write_to"]


class StoreContract(
    AppendContract,
    ExpectationContract,
    RepeatContract,
    ReceiptContract,
    ReadContract,
    BackwardContract,
    FilterContract,
    PagesContract,
    HistoryContract,
    StreamContract,
    DeleteContract,
    SnapshotContract,
    BadInputContract,
    WaitContract,
    ConcurrencyContract,
    TurnContract,
    SubscriptionContract,
    ProcessContract,
    InstanceContract,
    TimerContract,
):
    """All that every event store must do."""

    async def test_every_refusal_is_a_store_error(self, store: EventStore) -> None:
        with pytest.raises(StoreError):
            await write(store, "s", new_event(), expected=1)

    async def test_a_log_has_an_id_and_a_name_for_its_read_models(self, store: EventStore) -> None:
        assert isinstance(store.log_id, UUID)
        assert store.log_id == store.log_id
        assert store.namespace

    async def test_a_store_that_works_says_how_far_its_log_is_and_of_no_trouble(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        health = await store.health()

        assert (health.head, health.troubles) == (3, ())
