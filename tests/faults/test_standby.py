"""A primary and a synchronous standby: one is killed under load, the other takes over, and nobody was told a lie."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, quote, urlsplit

import attrs
import pytest

from framework import PostgresEventStore
from framework.errors import StorageUnavailable
from framework.store.protocol import Expected, StreamWrite
from framework.testing import eventually
from tests.faults.servers import Server
from tests.faults.witnesses import Witnesses, event


@attrs.frozen
class Pair:
    primary: Server
    standby: Server

    @property
    def dsn(self) -> str:
        """Leads to whichever of the two takes writes."""
        hosts = ",".join(quote(_host(server.dsn), safe="") for server in (self.primary, self.standby))
        return f"postgresql://postgres@/postgres?host={hosts}&port=5432,5432&target_session_attrs=read-write"


@pytest.fixture(scope="module")
async def pair() -> AsyncGenerator[Pair, None]:
    """Both, for all tests; what kills the primary comes last."""
    with TemporaryDirectory(prefix="faults-") as place:
        Path(place).chmod(0o755)
        async with Server.running(Path(place) / "a") as primary:
            await primary.copy_to(Path(place) / "b")
            async with Server.running(Path(place) / "b") as standby:
                await primary.set("synchronous_standby_names", "*")
                await eventually(lambda: is_in_step(primary))
                yield Pair(primary, standby)


async def test_followers_read_the_log_from_the_standby(pair: Pair) -> None:
    async with asyncio.timeout(20), AsyncExitStack() as stores:
        store = await stores.enter_async_context(PostgresEventStore(pair.dsn))
        await eventually(lambda: has_caught_up(pair))
        follower = await stores.enter_async_context(
            PostgresEventStore(pair.standby.dsn, migrate=False, give_up_after_s=0)
        )
        waiting = asyncio.ensure_future(follower.wait_beyond(0))

        await store.append([StreamWrite("a", Expected.NO_STREAM, [event(), event()])])

        assert await waiting == 2
        assert await follower.read_log() == await store.read_log()
        with pytest.raises(StorageUnavailable, match="takes no writes"):
            await follower.append([StreamWrite("a", 2, [event()])])


async def test_when_a_standby_takes_over_nothing_that_was_acknowledged_is_lost(pair: Pair) -> None:
    async with Witnesses.of(pair.dsn) as witnesses:
        async with pair.standby.sql() as sql:
            receiver = await sql.fetchval("SELECT pid FROM pg_stat_wal_receiver")
        # From here on what the primary commits does not get to the standby, so that nobody may be told that it is safe.
        os.kill(receiver, signal.SIGSTOP)
        try:
            await witnesses.fall_silent()
            await pair.primary.kill()
        finally:
            os.kill(receiver, signal.SIGCONT)
        await witnesses.hear_of_trouble()
        await pair.standby.control("promote")

        await witnesses.check()


async def is_in_step(primary: Server) -> bool:
    async with primary.sql() as sql:
        return bool(await sql.fetchval("SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"))


async def has_caught_up(pair: Pair) -> bool:
    """Return whether whoever reads from the standby sees what is committed by now."""
    async with pair.primary.sql() as primary, pair.standby.sql() as standby:
        committed = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", committed))


def _host(dsn: str) -> str:
    (host,) = parse_qs(urlsplit(dsn).query)["host"]
    return host
