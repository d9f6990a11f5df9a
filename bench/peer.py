"""The same bank over `eventsourcing` at its best: aggregates cached and not asked for anew, a connection a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import conninfo_to_dict

from bench.bank import AMOUNT, HOLDER, REFERENCE
from bench.harness import Sample, check
from framework.clock import new_id

THREADS: Final = 8

CACHE: Final = {"AGGREGATE_CACHE_MAXSIZE": "0", "AGGREGATE_CACHE_FASTFORWARD": "n"}
"""Without bounds and without a look at the log: the fastest there is, and right while there is one process only."""


class Account(Aggregate):
    @event("Opened")
    def __init__(self, customer_id: UUID, limit: int, holder: str) -> None:
        self.customer_id = customer_id
        self.limit = limit
        self.holder = holder
        self.balance = 0

    @event("MoneyDeposited")
    def deposit(self, payment_id: UUID, amount: int, reference: str) -> None:  # noqa: ARG002 - they are the event's
        self.balance += amount


class Bank(Application[UUID]):
    def open(self) -> UUID:
        account = Account(new_id(), 100_000, HOLDER)
        self.save(account)
        return account.id

    def deposit(self, account_id: UUID) -> None:
        """Pay `AMOUNT` in, and try again where another thread was first."""
        while True:
            account: Account = self.repository.get(account_id)
            account.deposit(new_id(), AMOUNT, REFERENCE)
            try:
                self.save(account)
            except IntegrityError:
                continue
            return

    def balance(self, account_id: UUID) -> int:
        """Return the balance by the log, whatever the cache says."""
        account: Account = self.repository.get(account_id, version=self.repository.get(account_id).version)
        return account.balance


def postgres(dsn: str, schema: str) -> dict[str, str]:
    """Return its settings for the database at *dsn*; its functions in the database are off, since they lose events."""
    place: dict[str, Any] = dict(conninfo_to_dict(dsn))
    return CACHE | {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(place.get("dbname", "postgres")),
        "POSTGRES_HOST": str(place.get("host", "127.0.0.1")),
        "POSTGRES_PORT": str(place.get("port", "5432")),
        "POSTGRES_USER": str(place.get("user", "postgres")),
        "POSTGRES_PASSWORD": str(place.get("password", "postgres")),
        "POSTGRES_SCHEMA": schema,
        "POSTGRES_POOL_SIZE": str(THREADS),
        "POSTGRES_MAX_OVERFLOW": str(THREADS),
    }


@contextmanager
def opened(settings: dict[str, str]) -> Generator[Bank, None, None]:
    with Bank(settings) as bank:
        yield bank


async def open_accounts(bank: Bank, number: int) -> list[UUID]:
    """Open *number* accounts, and return their ids."""
    with ThreadPoolExecutor(THREADS) as pool:
        loop = asyncio.get_running_loop()
        return [await each for each in [loop.run_in_executor(pool, bank.open) for _ in range(number)]]


async def open_steadily(bank: Bank, seconds: float, at_least: int) -> Sample:
    """Open accounts, so many at the least, and check that each is a new one in the log."""
    opened: list[UUID] = []
    sample = await steadily(
        seconds, THREADS, lambda _, __: opened.append(bank.open()), at_least_each=at_least // THREADS
    )
    check("accounts opened", len(set(opened)), len(sample.latencies))
    check("balance of the last", bank.balance(opened[-1]), 0)
    return sample


class Tellers:
    """Threads that pay into the same accounts, run after run."""

    def __init__(self, bank: Bank, accounts: Sequence[UUID]) -> None:
        self._bank = bank
        self._accounts = accounts
        self._deposits = 0

    async def deposit(self, threads: int, seconds: float) -> Sample:
        """Have *threads* pay in, each into accounts of its own if there are enough, and check all balances."""
        shares = [self._accounts[thread::threads] or self._accounts for thread in range(threads)]

        def act(thread: int, turn: int) -> None:
            self._bank.deposit(shares[thread][turn % len(shares[thread])])

        sample = await steadily(seconds, threads, act)
        self._deposits += len(sample.latencies)
        check("sum of balances", sum(map(self._bank.balance, self._accounts)), AMOUNT * self._deposits)
        return sample


async def steadily(
    seconds: float, threads: int, act: Callable[[int, int], object], *, at_least_each: int = 1
) -> Sample:
    """Have *threads* `act(thread, turn)` again and again, each at least so often; the value is acts a second."""
    began = perf_counter()
    until = began + seconds

    def work(thread: int) -> list[float]:
        latencies: list[float] = []
        asked = perf_counter()
        while asked < until or len(latencies) < at_least_each:
            act(thread, len(latencies))
            answered = perf_counter()
            latencies.append(answered - asked)
            asked = answered
        return latencies

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(threads) as pool:
        done = [await each for each in [loop.run_in_executor(pool, work, thread) for thread in range(threads)]]
    latencies = [latency for each in done for latency in each]
    return Sample(len(latencies) / (perf_counter() - began), latencies)
