"""States kept beside their streams."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from framework.errors import InvalidRequest, StreamDeleted, WrongExpectedVersion
from framework.store.protocol import EventStore, Snapshot
from framework.testing.store_contract.parts import OnAStore, new_events, value_of, write

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def new_snapshot(version: int, *, stream: str = "s", shape: int = 1, state: bytes = b'{"balance": 7}') -> Snapshot:
    """Return a snapshot of the state `Account`."""
    return Snapshot(stream, version, "Account", shape, state, NOON)


async def version_loaded(store: EventStore, *, shape: int = 1, until: int | None = None) -> int | None:
    """Return the version of the snapshot that is loaded for the stream s."""
    snapshot = await store.load_snapshot("s", "Account", shape, until=until)
    return None if snapshot is None else snapshot.version


class SnapshotContract(OnAStore):
    """`Snapshots`."""

    async def test_a_snapshot_comes_back_as_it_was_saved(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        snapshot = new_snapshot(3, state=b'{"balance": 10, "owner": "\xc3\xa4"}')

        await store.save_snapshot(snapshot)

        loaded = await store.load_snapshot("s", "Account", 1)
        assert loaded is not None
        assert value_of(loaded.state) == value_of(snapshot.state)
        assert loaded._replace(state=snapshot.state) == snapshot

    async def test_where_none_was_saved_there_is_none(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        assert await version_loaded(store) is None

    @pytest.mark.parametrize(
        ("until", "version"), [(None, 8), (9, 8), (8, 8), (7, 5), (5, 5), (4, 2), (2, 2), (1, None), (0, None)]
    )
    async def test_the_latest_is_loaded_or_the_latest_at_or_below_a_version(
        self, store: EventStore, until: int | None, version: int | None
    ) -> None:
        await write(store, "s", *new_events(9))
        for each in (2, 8, 5):
            await store.save_snapshot(new_snapshot(each))

        assert await version_loaded(store, until=until) == version

    async def test_a_snapshot_of_another_shape_or_type_is_passed_over(self, store: EventStore) -> None:
        await write(store, "s", *new_events(9))
        await store.save_snapshot(new_snapshot(3, shape=1))
        await store.save_snapshot(new_snapshot(6, shape=2))
        await store.save_snapshot(new_snapshot(9)._replace(state_type="Ledger"))

        assert await version_loaded(store, shape=1) == 3
        assert await version_loaded(store, shape=2) == 6
        assert await version_loaded(store, shape=3) is None

    async def test_saved_again_a_snapshot_is_replaced(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        await store.save_snapshot(new_snapshot(3))

        await store.save_snapshot(new_snapshot(3, state=b'{"balance": 8}'))

        loaded = await store.load_snapshot("s", "Account", 1)
        assert loaded is not None
        assert value_of(loaded.state) == {"balance": 8}

    async def test_snapshots_of_different_streams_are_apart(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        await write(store, "s2", *new_events(3))
        await store.save_snapshot(new_snapshot(3, stream="s2"))

        assert await version_loaded(store) is None

    @pytest.mark.parametrize(("until", "left"), [(None, None), (8, None), (7, 8), (1, 8)])
    async def test_snapshots_are_deleted_all_or_up_to_a_version(
        self, store: EventStore, until: int | None, left: int | None
    ) -> None:
        await write(store, "s", *new_events(9))
        for each in (2, 5, 8):
            await store.save_snapshot(new_snapshot(each))

        await store.delete_snapshots("s", until=until)

        assert await version_loaded(store) == left
        assert await version_loaded(store, until=7) == (5 if until == 1 else None)

    async def test_deleting_what_is_not_there_changes_nothing(self, store: EventStore) -> None:
        await store.delete_snapshots("never")

        assert await store.load_snapshot("never", "Account", 1) is None

    @pytest.mark.parametrize("events", [0, 2])
    async def test_a_snapshot_ahead_of_its_stream_is_refused(self, store: EventStore, events: int) -> None:
        await write(store, "s", *new_events(events))

        with pytest.raises(WrongExpectedVersion) as caught:
            await store.save_snapshot(new_snapshot(3))

        assert (caught.value.stream, caught.value.actual) == ("s", events)
        assert await version_loaded(store) is None

    async def test_a_deleted_stream_has_no_snapshots_and_takes_none(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        await store.save_snapshot(new_snapshot(2))
        await store.delete_stream("s", 3)

        assert await version_loaded(store) is None
        with pytest.raises(StreamDeleted):
            await store.save_snapshot(new_snapshot(3))

    @pytest.mark.parametrize("state", [b"", b"{", b"NaN", b'"\\u0000"', b'"\xff"', b"1e200000"])
    async def test_a_state_that_is_no_json_is_refused(self, store: EventStore, state: bytes) -> None:
        await write(store, "s", *new_events(3))

        with pytest.raises(InvalidRequest, match="the state at version 3"):
            await store.save_snapshot(new_snapshot(3, state=state))

        assert await version_loaded(store) is None

    @pytest.mark.parametrize("change", [{"version": 0}, {"version": -1}, {"version": 2**63}, {"state_version": -1}])
    async def test_a_snapshot_of_no_version_is_refused(self, store: EventStore, change: dict[str, Any]) -> None:
        await write(store, "s", *new_events(3))

        with pytest.raises(InvalidRequest):
            await store.save_snapshot(new_snapshot(3)._replace(**change))
