"""Commands from the caller to the answer: over many accounts, over one, from two processes, in memory, and alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final
from uuid import uuid4

from bench import append, bare, nodes, peer
from bench.bank import AMOUNT, Account, bank, deposit, opening
from bench.harness import Bench, Row, Run, Sample, Sides, alone, at_least, at_most, check, steadily
from framework import Application, MemoryEventStore, PostgresEventStore

ACCOUNTS: Final = 1_000
OPENED: Final = 10_000
CALLERS: Final = 256
CALLERS_OF_ONE: Final = 64

DEPOSITS: Final = """
    SELECT count(data -> 'amount'), max(version), coalesce(sum((data ->> 'amount')::bigint), 0)::bigint FROM events
"""

HOT: Final = "hot"
"""The account where there is only one."""


class Tellers:
    """Callers who pay into the same accounts, run after run."""

    def __init__(self, application: Application, accounts: Sequence[str]) -> None:
        self._application = application
        self._accounts = accounts
        self._deposits = 0

    async def deposit(self, callers: int, seconds: float) -> Sample:
        """Have *callers* pay in, each into accounts of its own if there are enough, and check all balances."""
        sample = await deposit_steadily(self._application, self._accounts, callers, seconds)
        self._deposits += len(sample.latencies)
        check("sum of balances", await self._balances(), AMOUNT * self._deposits)
        return sample

    async def _balances(self) -> int:
        """Return the sum of all balances, as the log has them."""
        return sum([(await self._application.state(Account, each)).balance for each in self._accounts])


async def deposit_steadily(application: Application, accounts: Sequence[str], callers: int, seconds: float) -> Sample:
    """Have *callers* pay in, and check nothing: others may pay in, too."""
    shares = [accounts[caller::callers] or accounts for caller in range(callers)]

    async def act(caller: int, turn: int) -> None:
        share = shares[caller]
        await application.dispatch(deposit(share[turn % len(share)]))

    return await steadily(seconds, callers, act)


# Ours ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _bank(bench: Bench) -> AsyncGenerator[Application, None]:
    async with bench.schema() as schema, bank(PostgresEventStore(bench.dsn, schema=schema)) as application:
        yield application


async def _tellers(application: Application, number: int) -> Tellers:
    """Open *number* accounts, which also brings them to life."""
    accounts = [str(uuid4()) for _ in range(number)]
    for account in accounts:
        await application.dispatch(opening(account))
    return Tellers(application, accounts)


@asynccontextmanager
async def warm(bench: Bench) -> AsyncGenerator[Run, None]:
    async with _bank(bench) as application:
        tellers = await _tellers(application, bench.count(ACCOUNTS))
        yield partial(tellers.deposit, CALLERS)


@asynccontextmanager
async def _hot(bench: Bench) -> AsyncGenerator[Run, None]:
    async with _bank(bench) as application:
        tellers = await _tellers(application, 1)
        yield partial(tellers.deposit, CALLERS_OF_ONE)


# Theirs ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _peer(bench: Bench) -> AsyncGenerator[peer.Bank, None]:
    async with bench.schema() as schema:
        async with bench.connection("public") as connection:
            await connection.execute(f"CREATE SCHEMA {schema}")
        with peer.opened(peer.postgres(bench.dsn, schema)) as other:
            yield other


async def _peer_tellers(other: peer.Bank, number: int) -> peer.Tellers:
    return peer.Tellers(other, await peer.open_accounts(other, number))


PEER: Final = f"eventsourcing, {peer.THREADS} threads"


# Rows ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _dispatch_warm(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with warm(bench) as run, _peer(bench) as other:
        tellers = await _peer_tellers(other, bench.count(ACCOUNTS))
        yield Sides(run, {PEER: partial(tellers.deposit, peer.THREADS)})


@asynccontextmanager
async def _dispatch_of_append(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with warm(bench) as run, append.grouped(bench) as appended:
        yield Sides(run, {"append_grouped": appended})


@asynccontextmanager
async def _dispatch_hot(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _hot(bench) as run, _peer(bench) as other:
        tellers = await _peer_tellers(other, 1)
        threads = (1, 2, peer.THREADS)
        yield Sides(run, {f"eventsourcing, threads: {each}": partial(tellers.deposit, each) for each in threads})


@asynccontextmanager
async def _dispatch_hot_of_warm(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _hot(bench) as hot, warm(bench) as all_of_them:
        yield Sides(hot, {"dispatch_warm": all_of_them})


@asynccontextmanager
async def _dispatch_hot_nodes(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with bench.schema() as schema:
        async with bank(PostgresEventStore(bench.dsn, schema=schema)) as application:
            await application.dispatch(opening(HOT))

        async def deposited(processes: int, seconds: float) -> Sample:
            before = await _deposits(bench, schema)
            works = [nodes.Work("deposit", bench.dsn, schema, CALLERS_OF_ONE // processes, seconds)] * processes
            done = await nodes.together(works)
            check("deposits", await _deposits(bench, schema), before + done.count)
            return Sample(done.value)

        yield Sides(partial(deposited, 2), {"one process": partial(deposited, 1)})


async def _deposits(bench: Bench, schema: str) -> int:
    """Return how many deposits there are in the log, by the sum of their amounts and by their versions."""
    async with bench.connection(schema) as connection:
        ((number, last, paid),) = await connection.fetch(DEPOSITS)
    check("version and balance", (last, paid), (number + 1, AMOUNT * number))
    deposits: int = number
    return deposits


@asynccontextmanager
async def _dispatch_open(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _bank(bench) as application, _peer(bench) as other:
        at_least_each = -(-bench.count(OPENED) // CALLERS)
        streams: set[str] = set()

        async def act(_: int, __: int) -> None:
            result = await application.dispatch(opening(str(uuid4())))
            if result.version == 1:
                streams.add(result.stream)

        async def ours(seconds: float) -> Sample:
            before = len(streams)
            sample = await steadily(seconds, CALLERS, act, at_least_each=at_least_each)
            check("accounts opened", len(streams), before + len(sample.latencies))
            return sample

        async def theirs(seconds: float) -> Sample:
            return await peer.open_steadily(other, seconds, bench.count(OPENED))

        yield Sides(ours, {PEER: theirs})


@asynccontextmanager
async def _dispatch_memory(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with AsyncExitStack() as stack:
        number = bench.count(ACCOUNTS)
        application = await stack.enter_async_context(bank(MemoryEventStore()))
        tellers = await _tellers(application, number)
        other = await _peer_tellers(stack.enter_context(peer.opened(peer.CACHE)), number)
        threads = (1, peer.THREADS)
        yield Sides(
            partial(tellers.deposit, CALLERS),
            {f"eventsourcing in memory, threads: {each}": partial(other.deposit, each) for each in threads},
        )


@asynccontextmanager
async def _dispatch_latency(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _bank(bench) as application, AsyncExitStack() as stack:
        await application.dispatch(opening(HOT))
        table, schema = await stack.enter_async_context(bare.table(bench))
        connection = await stack.enter_async_context(bench.connection(schema))
        deposits = 0

        async def act(_: int, __: int) -> None:
            await application.dispatch(deposit(HOT))

        async def ours(seconds: float) -> Sample:
            nonlocal deposits
            sample = await alone(seconds, act)
            deposits += len(sample.latencies)
            check("balance", (await application.state(Account, HOT)).balance, AMOUNT * deposits)
            return sample

        yield Sides(ours, {append.BARE_COMMIT: await append.bare_commits(connection, table)})


ROWS: Final[Sequence[Row]] = (
    Row("dispatch_warm", "commands/s", at_least(15), _dispatch_warm),
    Row("dispatch_of_append", "commands/s", at_least(0.4), _dispatch_of_append),
    Row("dispatch_hot", "commands/s", at_least(15), _dispatch_hot),
    Row("dispatch_hot_of_warm", "commands/s", at_least(0.4), _dispatch_hot_of_warm),
    Row("dispatch_hot_nodes", "commands/s", at_least(0.3), _dispatch_hot_nodes),
    Row("dispatch_open", "commands/s", at_least(10), _dispatch_open),
    Row("dispatch_memory", "commands/s", at_least(2), _dispatch_memory),
    Row("dispatch_latency", "ms", at_most(2.2), _dispatch_latency),
)
