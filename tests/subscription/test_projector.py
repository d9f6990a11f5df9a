"""A projector's rows and its place in the log are one, whatever happens between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import pytest

from framework import Application, Backoff, Connection, Consistency, MemoryEventStore, Projector, Recorded
from framework.clock import SYSTEM_CLOCK
from framework.codec import Codec
from framework.connections import quoted
from framework.errors import (
    ConfigurationError,
    DuplicateName,
    LeaseLost,
    SchemaMismatch,
    StorageUnavailable,
    TransactionEnded,
)
from framework.evolution import EventTypes
from framework.journal import Journal
from framework.policies import Defaults
from framework.reactions import PARK, Halt, Park
from framework.read_models import ReadModel, schema_name
from framework.selection import Selection
from framework.store.subscriptions import Definition, Lease, Life
from framework.subscription.delivery import Subscription
from framework.subscription.failure import Halted, Policy
from framework.subscription.projection import ProjectorSink
from framework.subscription.slots import Hold
from framework.testing import eventually
from framework.testing.store_contract.parts import take
from tests.runtime.till import Moved, PutIn, tills

LOG = uuid4()
FIRST, SECOND = Lease("Contents v1", 0, 1), Lease("Contents v1", 0, 2)
"""What one owner has, and the next."""
AT_ONCE = Backoff(attempts=3, first=timedelta(milliseconds=1))

Interfere = Callable[[Recorded[Moved], Connection], Awaitable[None]]


async def leave_alone(event: Recorded[Moved], db: Connection) -> None:
    """Do nothing."""


class Contents(Projector[Moved]):
    """What is in each till, and what was projected in which transaction; no position can be there twice."""

    schema = """
        CREATE TABLE contents (till text PRIMARY KEY, amount bigint NOT NULL);
        CREATE TABLE projected (position bigint PRIMARY KEY, transaction bigint NOT NULL DEFAULT txid_current());
    """

    def __init__(self, interfere: Interfere = leave_alone) -> None:
        self.interfere = interfere
        """Comes in after the rows are written and before they are committed."""

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await db.execute("INSERT INTO projected VALUES ($1)", event.position)
        await db.execute(
            "INSERT INTO contents VALUES ($1, $2) ON CONFLICT (till) DO UPDATE SET amount = contents.amount + $2",
            event.stream,
            event.data.amount,
        )
        await self.interfere(event, db)


class ContentsAnew(Contents):
    """The next version of the same."""

    name = "Contents"
    version = 2


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session of the test's own."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def namespace(sql: asyncpg.Connection[Any]) -> AsyncIterator[str]:
    """A name for a log, whose read models are there for one test."""
    name = f"projected_{uuid4().hex[:12]}"
    yield name
    await remove_read_models(sql, name)


async def remove_read_models(sql: asyncpg.Connection[Any], namespace: str) -> None:
    for row in await sql.fetch("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", namespace):
        await sql.execute(f"DROP SCHEMA {quoted(row['nspname'])} CASCADE")
    if await sql.fetchval("SELECT to_regclass('framework_projections.progress') IS NOT NULL"):
        await sql.execute("DELETE FROM framework_projections.progress WHERE starts_with(schema_name, $1)", namespace)


@pytest.fixture
async def store(sql: asyncpg.Connection[Any]) -> AsyncIterator[MemoryEventStore]:
    store = MemoryEventStore()
    yield store
    await remove_read_models(sql, store.namespace)


@pytest.fixture
async def model(dsn: str, namespace: str) -> AsyncIterator[ReadModel]:
    model = ReadModel(dsn, Contents(), namespace)
    await model.open(LOG)
    await model.take_over(FIRST, 1)
    yield model
    await model.close()


def moved(position: int, amount: int = 1) -> Recorded[Moved]:
    return Recorded(
        data=Moved(amount),
        event_id=UUID(int=position),
        type="Moved",
        type_version=1,
        stream="till-a",
        version=position,
        position=position,
        recorded_at=SYSTEM_CLOCK.now(),
        metadata={},
        correlation_id=LOG,
        causation_id=LOG,
    )


async def deliver(
    model: ReadModel, events: Sequence[Recorded[Moved]], *, position: int, after_retries: Park | Halt = PARK
) -> None:
    """Have *events* projected, as the slot's owner does."""
    store = MemoryEventStore()
    subscriptions = store.subscriptions
    await subscriptions.define(Definition("Contents v1", None, 1, "stream"), start=0)
    lease = await take(store, "Contents v1")
    projector = model.projector
    policy = Policy("Contents", projector.on_error, AT_ONCE, after_retries)
    sink = ProjectorSink(model, Journal(store, Codec(), EventTypes([Moved])), policy)
    subscription = Subscription("Contents v1", Selection(), 1, None, sink)
    terms = await subscriptions.terms(lease)
    slot = await sink.take_over(Hold(lease, Life()), subscription, terms, lambda _position, _parks: None)
    try:
        await slot.deliver(events, position=position)
    finally:
        (state,) = await subscriptions.slots()
        assert state.position <= await model.position()


async def projected(model: ReadModel) -> tuple[int, list[int]]:
    """Return where *model* stands, and the positions whose rows it holds."""
    async with model.reading() as db:
        rows = await db.fetch("SELECT position FROM projected ORDER BY position")
    return await model.position(), [row["position"] for row in rows]


# One transaction -----------------------------------------------------------------------------------


async def test_rows_and_position_are_committed_together(model: ReadModel) -> None:
    async with model.advancing(FIRST, 7) as db:
        await model.projector.project(moved(3), db)
        assert await projected(model) == (0, [])

    assert await projected(model) == (7, [3])


async def test_an_owner_does_not_go_on_above_rows_that_are_not_there_any_more(
    model: ReadModel, sql: asyncpg.Connection[Any]
) -> None:
    async with model.advancing(FIRST, 1) as db:
        await model.projector.project(moved(1), db)
    # As where a standby took over that had not heard of it.
    await sql.execute(f"DELETE FROM {quoted(model.schema)}.projected")
    await sql.execute("UPDATE framework_projections.progress SET position = 0 WHERE schema_name = $1", model.schema)

    with suppress(StorageUnavailable):
        async with model.advancing(FIRST, 2) as db:
            await model.projector.project(moved(2), db)

    assert await projected(model) == (0, [])
    assert await model.take_over(FIRST, 1) == 0
    async with model.advancing(FIRST, 2) as db:
        await model.projector.project(moved(1), db)
        await model.projector.project(moved(2), db)
    assert await projected(model) == (2, [1, 2])


async def test_who_waits_for_rows_goes_on_before_others_can_see_from_afar_how_far_they_are(
    dsn: str, store: MemoryEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn)
    async with app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        told, may_tell = asyncio.Event(), asyncio.Event()
        advance = store.subscriptions.advance

        async def slowly(lease: Lease, position: int) -> None:
            told.set()
            await may_tell.wait()
            await advance(lease, position)

        with monkeypatch.context() as slow:
            slow.setattr(store.subscriptions, "advance", slowly)
            result = await app.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)
            rows = await app.query(Contents, "SELECT amount FROM contents")
            await told.wait()
            (behind,) = await store.subscriptions.slots()
        may_tell.set()

        async def is_seen() -> None:
            (state,) = await store.subscriptions.slots()
            assert state.position == 2

        await eventually(is_seen)

    assert (result.waited, [row["amount"] for row in rows]) == ({"Contents": "handled"}, [3])
    assert behind.position == 1


async def test_a_new_owner_has_seen_from_afar_what_one_before_committed_and_did_not_tell(
    dsn: str, store: MemoryEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        raise StorageUnavailable("it was killed here")

    async with Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn) as app:
        with monkeypatch.context() as killed:
            killed.setattr(store.subscriptions, "advance", never)
            await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        (before,) = await store.subscriptions.slots()
    async with Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn):

        async def is_seen() -> None:
            (state,) = await store.subscriptions.slots()
            assert state.position == 1

        await eventually(is_seen)

    assert before.position == 0


async def test_an_error_inside_undoes_both(model: ReadModel) -> None:
    async def fail() -> None:
        async with model.advancing(FIRST, 3) as db:
            await model.projector.project(moved(3), db)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    assert await projected(model) == (0, [])


async def test_a_cancellation_inside_undoes_both_and_the_next_one_goes_through(
    model: ReadModel, sql: asyncpg.Connection[Any]
) -> None:
    pids: list[int] = []

    async def linger() -> None:
        async with model.advancing(FIRST, 3) as db:
            await model.projector.project(moved(3), db)
            pids.append(await db.fetchval("SELECT pg_backend_pid()"))
            await db.execute("SELECT pg_sleep(60)")

    async def sleeps() -> None:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1) AND wait_event = 'PgSleep'"
        assert await sql.fetchval(asked, pids)

    lingering = asyncio.create_task(linger())
    await eventually(sleeps)
    lingering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lingering

    assert await projected(model) == (0, [])
    async with model.advancing(FIRST, 3) as db:
        await model.projector.project(moved(3), db)
    assert await projected(model) == (3, [3])


async def terminate(sql: asyncpg.Connection[Any], db: Connection) -> None:
    """End the connection *db*, and return when its backend is gone."""
    pid = await db.fetchval("SELECT pg_backend_pid()")
    await sql.execute("SELECT pg_terminate_backend($1)", pid)

    async def gone() -> None:
        assert not await sql.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid)

    await eventually(gone)


async def test_a_connection_lost_inside_undoes_both_and_the_next_one_is_new(
    model: ReadModel, sql: asyncpg.Connection[Any]
) -> None:
    async def lose() -> None:
        async with model.advancing(FIRST, 3) as db:
            await model.projector.project(moved(3), db)
            await terminate(sql, db)

    with pytest.raises(StorageUnavailable, match="the database of projector 'Contents' does not answer"):
        await lose()

    assert await projected(model) == (0, [])
    async with model.advancing(FIRST, 3) as db:
        await model.projector.project(moved(3), db)
    assert await projected(model) == (3, [3])


# Batches -------------------------------------------------------------------------------------------


async def transactions(model: ReadModel) -> list[list[int]]:
    """Return the positions that were projected together."""
    async with model.reading() as db:
        rows = await db.fetch(
            "SELECT array_agg(position ORDER BY position) AS positions FROM projected"
            " GROUP BY transaction ORDER BY min(position)"
        )
    return [row["positions"] for row in rows]


async def test_a_batch_is_one_transaction(model: ReadModel) -> None:
    await deliver(model, [moved(1), moved(2), moved(5)], position=9)

    assert await transactions(model) == [[1, 2, 5]]
    assert await model.position() == 9


async def test_a_batch_that_fails_keeps_what_came_before_the_event_at_fault(dsn: str, namespace: str) -> None:
    failures = 2

    async def fail_at_2(event: Recorded[Moved], db: Connection) -> None:
        nonlocal failures
        if event.position == 2 and failures:
            failures -= 1
            await db.execute("SELECT 1 / 0")

    model = ReadModel(dsn, Contents(fail_at_2), namespace)
    await model.open(LOG)

    await deliver(model, [moved(1), moved(2), moved(5)], position=9)

    assert await transactions(model) == [[1], [2], [5]]
    assert await model.position() == 9
    await model.close()


async def test_an_event_that_fails_for_good_leaves_those_before_it_done(dsn: str, namespace: str) -> None:
    attempts: list[int] = []

    async def fail_at_2(event: Recorded[Moved], _: Connection) -> None:
        attempts.append(event.position)
        if event.position == 2:
            raise LookupError

    model = ReadModel(dsn, Contents(fail_at_2), namespace)
    await model.open(LOG)

    with pytest.raises(Halted) as halted:
        await deliver(model, [moved(1), moved(2), moved(5)], position=9, after_retries=Halt())
    assert isinstance(halted.value.__cause__, LookupError)

    assert attempts == [1, 2, 1, 2, 2]
    assert await projected(model) == (1, [1])
    await model.close()


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
async def test_a_projector_that_ends_its_transaction_halts_at_once_and_is_not_tried_again(
    dsn: str, namespace: str, ending: str
) -> None:
    attempts: list[int] = []

    async def end_at_2(event: Recorded[Moved], db: Connection) -> None:
        attempts.append(event.position)
        if event.position == 2:
            await db.execute(ending)

    model = ReadModel(dsn, Contents(end_at_2), namespace)
    await model.open(LOG)

    with pytest.raises(Halted) as halted:
        await deliver(model, [moved(1), moved(2), moved(5)], position=9)

    assert isinstance(halted.value.__cause__, TransactionEnded)
    assert attempts == [1, 2, 5], "once more, and its rows would be there twice"
    assert await model.position() == 0
    await model.close()


async def test_a_transaction_that_was_broken_off_half_way_does_not_meet_the_next_one(model: ReadModel) -> None:
    async with model.advancing(FIRST, 1) as db:
        pass
    await db.execute("BEGIN")

    async with model.advancing(FIRST, 2) as db:
        await model.projector.project(moved(2), db)

    assert await projected(model) == (2, [2])


# Two processes -------------------------------------------------------------------------------------


async def test_the_next_owner_waits_for_what_the_one_before_has_open_and_begins_behind_it(
    dsn: str, namespace: str, model: ReadModel, sql: asyncpg.Connection[Any]
) -> None:
    other = ReadModel(dsn, Contents(), namespace)
    await other.open(LOG)
    assert await model.take_over(FIRST, 1) == 0

    async with model.advancing(FIRST, 1) as db:
        await model.projector.project(moved(1), db)
        pid = await db.fetchval("SELECT pg_backend_pid()")
        second = asyncio.create_task(other.take_over(SECOND, 1))

        async def waits() -> None:
            assert await sql.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))", pid
            )

        await eventually(waits)

    assert await second == 1
    assert await projected(model) == (1, [1])
    await other.close()


async def test_an_owner_that_has_been_replaced_forgets_nothing_that_the_next_one_is_to_tell(model: ReadModel) -> None:
    assert await model.take_over(SECOND, 1) == 0
    async with model.advancing(SECOND, 1) as db:
        await model.owe(db, 0, [1])

    await model.settle(FIRST)
    assert await model.owed(0) == [1]

    await model.settle(SECOND)
    assert await model.owed(0) == []


async def test_an_owner_that_has_been_replaced_is_told_before_it_writes(
    dsn: str, namespace: str, model: ReadModel
) -> None:
    other = ReadModel(dsn, Contents(), namespace)
    await other.open(LOG)
    await model.take_over(FIRST, 1)
    assert await other.take_over(SECOND, 1) == 0
    entered: list[int] = []

    async def go_on() -> None:
        async with model.advancing(FIRST, 1):
            entered.append(1)

    with pytest.raises(LeaseLost, match="slot 0 of Contents v1 is not held under fence 1"):
        await go_on()
    with pytest.raises(LeaseLost):
        await model.take_over(FIRST, 1)

    assert not entered
    assert await projected(model) == (0, [])
    await other.close()


async def test_an_owner_that_stops_in_the_middle_of_a_batch_does_not_keep_the_next_one_waiting(
    dsn: str, namespace: str, model: ReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.read_models.LEASE", timedelta(milliseconds=50))
    hung, other = ReadModel(dsn, Contents(), namespace), ReadModel(dsn, Contents(), namespace)
    await hung.open(LOG)
    await other.open(LOG)
    await hung.take_over(FIRST, 1)

    async def hang() -> None:
        async with hung.advancing(FIRST, 1) as db:
            await hung.projector.project(moved(1), db)
            assert await other.take_over(SECOND, 1) == 0

    with pytest.raises(StorageUnavailable):
        await hang()

    assert await projected(model) == (0, [])
    await hung.close()
    await other.close()


async def test_two_processes_project_each_event_once(dsn: str, store: MemoryEventStore) -> None:
    both = [Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn) for _ in range(2)]
    async with both[0] as one, both[1] as other:
        for number in range(50):
            await (one, other)[number % 2].dispatch(PutIn("a", number))

        for app in (one, other):
            result = await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
            assert result.waited == {"Contents": "handled"}

        assert await one.query(Contents, "SELECT amount FROM contents") == [(sum(range(50)) + 2,)]
        assert await other.query(Contents, "SELECT count(*), max(position) FROM projected") == [(51, 51)]


async def test_a_lost_connection_is_made_anew_and_nothing_is_projected_twice(
    dsn: str, store: MemoryEventStore, sql: asyncpg.Connection[Any]
) -> None:
    cut: list[int] = []

    async def cut_once(event: Recorded[Moved], db: Connection) -> None:
        if event.position == 2 and not cut:
            cut.append(event.position)
            await terminate(sql, db)

    app = Application(store=store, router=tills(), projectors=[Contents(cut_once)], read_models=dsn)
    async with app:
        for amount in (10, 20, 30):
            await app.dispatch(PutIn("a", amount))
        result = await app.dispatch(PutIn("a", 40), consistency=Consistency.STRONG)

        assert cut == [2]
        assert result.waited == {"Contents": "handled"}
        assert await app.query(Contents, "SELECT amount FROM contents") == [(100,)]
        assert await app.query(Contents, "SELECT position FROM projected ORDER BY 1") == [(1,), (2,), (3,), (4,)]


async def test_an_error_of_the_machine_in_a_projector_is_not_taken_for_a_lost_database(
    dsn: str, store: MemoryEventStore
) -> None:
    attempts: list[int] = []

    async def read_a_file(event: Recorded[Moved], _: Connection) -> None:
        attempts.append(event.position)
        raise FileNotFoundError("rates.csv")

    app = Application(
        store=store,
        router=tills(),
        projectors=[Contents(read_a_file)],
        read_models=dsn,
        defaults=Defaults(handler_retry=AT_ONCE),
    )

    async with app:
        result = await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        (parked,) = await app.subscriptions.parked(Contents)

    assert attempts == [1] * AT_ONCE.attempts
    assert result.waited == {"Contents": "parked"}
    assert (parked.key, parked.error) == ("till-a", "FileNotFoundError: rates.csv")


# Versions, and whose tables they are -----------------------------------------------------------------


async def test_a_new_version_is_filled_from_the_first_event_and_the_old_one_stays(
    dsn: str, store: MemoryEventStore, sql: asyncpg.Connection[Any]
) -> None:
    async with Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
    async with Application(store=store, router=tills(), projectors=[ContentsAnew()], read_models=dsn) as app:
        await app.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)

        assert await app.query(ContentsAnew, "SELECT position FROM projected ORDER BY 1") == [(1,), (2,)]

    assert await sql.fetch(f"SELECT position FROM {store.namespace}_contents_v1.projected") == [(1,)]


async def test_a_projector_goes_on_where_it_was(dsn: str, store: MemoryEventStore) -> None:
    for amount in (1, 2):
        async with Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn) as app:
            await app.dispatch(PutIn("a", amount), consistency=Consistency.STRONG)

            assert await app.query(Contents, "SELECT count(*) FROM projected") == [(amount,)]


@pytest.mark.usefixtures("model")
async def test_tables_filled_from_another_log_are_refused(dsn: str, namespace: str) -> None:
    other = ReadModel(dsn, Contents(), namespace)

    with pytest.raises(SchemaMismatch, match=r"'Contents': its tables in schema .* were filled from another log"):
        await other.open(uuid4())

    await other.close()


@pytest.mark.usefixtures("model")
async def test_tables_of_another_projector_are_refused(dsn: str, namespace: str) -> None:
    class Lookalike(Contents):
        name: ClassVar[str] = "contents"

    other = ReadModel(dsn, Lookalike(), namespace)

    with pytest.raises(SchemaMismatch, match=r"'contents': the tables in schema .* are those of 'Contents'"):
        await other.open(LOG)

    await other.close()


async def test_a_schema_that_is_nobodys_is_left_alone(dsn: str, namespace: str, sql: asyncpg.Connection[Any]) -> None:
    model = ReadModel(dsn, Contents(), namespace)
    await sql.execute(f"CREATE SCHEMA {model.schema}; CREATE TABLE {model.schema}.precious ()")

    with pytest.raises(SchemaMismatch, match="exists but is not of projector 'Contents': drop it, or rename"):
        await model.open(LOG)

    await model.close()
    assert await sql.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{model.schema}.precious")


async def test_a_schema_that_fails_half_way_leaves_nothing(
    dsn: str, namespace: str, sql: asyncpg.Connection[Any]
) -> None:
    class Broken(Contents):
        schema = "CREATE TABLE first (); CREATE TABLE second (amount money_of_mine)"

    model = ReadModel(dsn, Broken(), namespace)

    with pytest.raises(
        ConfigurationError, match=r"the schema of projector 'Broken' cannot be created: .*money_of_mine"
    ):
        await model.open(LOG)

    await model.close()
    assert await sql.fetchval("SELECT to_regnamespace($1) IS NULL", model.schema)
    assert not await sql.fetch("SELECT FROM framework_projections.progress WHERE schema_name = $1", model.schema)


async def test_many_may_create_one_projectors_tables_at_once(dsn: str, namespace: str) -> None:
    models = [ReadModel(dsn, Contents(), namespace) for _ in range(4)]

    await asyncio.gather(*(model.open(LOG) for model in models))

    assert [await model.position() for model in models] == [0] * 4
    await asyncio.gather(*(model.close() for model in models))


async def test_a_place_that_somebody_removed_is_told_with_the_remedy(
    model: ReadModel, sql: asyncpg.Connection[Any]
) -> None:
    await sql.execute("DELETE FROM framework_projections.progress WHERE schema_name = $1", model.schema)

    with pytest.raises(SchemaMismatch, match=rf"its row .* is gone.*: drop schema {model.schema}"):
        await model.take_over(FIRST, 1)


# Names ---------------------------------------------------------------------------------------------


def test_a_schema_is_named_for_log_projector_and_version() -> None:
    assert schema_name("bank", "OpenBalances", 3) == "bank_open_balances_v3"


def test_a_name_too_long_is_shortened_and_stays_its_own() -> None:
    names = {schema_name("bank", "Ü" * 40 + end, 1) for end in "abc"} | {schema_name("bank", "Ü" * 40 + "a", 2)}

    assert len(names) == 4
    assert all(len(name.encode()) <= 63 for name in names)


@pytest.mark.parametrize("claimed", ["Contents", "contents"])
def test_two_projectors_whose_tables_would_be_one_are_refused(claimed: str) -> None:
    class Other(Contents):
        name = claimed

    with pytest.raises(DuplicateName, match=f"handler name '{claimed}' is claimed by .*: give one another name"):
        Application(
            store=MemoryEventStore(), router=tills(), projectors=[Contents(), Other()], read_models="postgresql://"
        )


def test_two_spellings_of_one_schema_are_one_name() -> None:
    class TillContents(Contents):
        pass

    class Other(Contents):
        name = "till_contents"

    with pytest.raises(DuplicateName, match="'till_contents' is claimed by"):
        Application(
            store=MemoryEventStore(), router=tills(), projectors=[TillContents(), Other()], read_models="postgresql://"
        )


# Reading -------------------------------------------------------------------------------------------


async def test_nothing_is_written_by_a_query(dsn: str, store: MemoryEventStore) -> None:
    async with Application(store=store, router=tills(), projectors=[Contents()], read_models=dsn) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        for attempt in ("DELETE FROM contents", "CREATE TABLE mine ()", "DROP TABLE contents"):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await app.query(Contents, attempt)
        await app.query(Contents, "SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await app.query(Contents, "DELETE FROM contents")

        assert await app.query(Contents, "SELECT till, amount FROM contents WHERE amount = $1", 1) == [("till-a", 1)]


async def test_an_error_of_the_reader_is_not_taken_for_a_lost_database(model: ReadModel) -> None:
    async def fail() -> None:
        async with model.reading():
            raise FileNotFoundError("rates.csv")

    with pytest.raises(FileNotFoundError):
        await fail()


async def test_a_database_that_does_not_answer_is_named_and_all_is_closed_again(store: MemoryEventStore) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    app = Application(store=store, router=tills(), projectors=[Contents()], read_models=nowhere)

    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="the database of projector 'Contents' does not answer"):
            await app.__aenter__()
