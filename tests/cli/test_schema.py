"""`python -m framework schema`: the code is compared with what was written down of it, and with the log."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from framework import PostgresEventStore
from framework.cli import main
from framework.store.protocol import Expected, NewEvent, StreamWrite
from tests.sample_bank.databases import fresh_schema

ROOT = Path(__file__).parent.parent.parent
BANK = "sample_bank.app:application"
SHOP = """
import attrs
from framework import Aggregate, Application, MemoryEventStore, Router, event_type

@attrs.frozen
class Order:
    number: int

@event_type("ordered", version={version})
@attrs.frozen
class Ordered:
    number: int
{field}

@attrs.frozen
class Shop(Aggregate[Order, Ordered]):
    def execute(self, command):
        yield Ordered(command.number)
    def apply(self, event):
        return self

router = Router()
router.register(Shop, identity="number", prefix="shop-")

def application():
    return Application(store=MemoryEventStore(), router=router)

nothing = 5
"""

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run() -> Run:
    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, ["schema", *arguments])

    return run


class Shop:
    """A program that is edited."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._edits = 0

    def edited(self, *, version: int = 1, field: str = "") -> str:
        """Write it as it is now, and return the name of its application."""
        self._edits += 1
        module = f"shop_{uuid4().hex}"
        (self._folder / f"{module}.py").write_text(SHOP.format(version=version, field=field))
        return f"{module}:application"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return Shop(tmp_path)


async def test_the_sample_bank_is_as_it_was_written_down(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    checked = await run("check", "--app", BANK, "--file", "sample_bank/schema.json")

    assert (checked.output, checked.exit_code) == ("nothing has changed\n", 0)


async def test_an_edit_that_breaks_is_found_with_what_to_write(run: Run, shop: Shop) -> None:
    await run("write", "--app", shop.edited())

    checked = await run("check", "--app", shop.edited(field="    customer: str"))

    assert checked.exit_code == 1
    assert checked.output == (
        "BREAKS  ordered.customer is new and must be there, and is absent from what is stored: give it a default; or"
        " count its version up, @event_type('ordered', version=2), and write class …(Upcaster, event='ordered',"
        " version=1)\n"
    )


async def test_a_version_without_its_upcaster_is_found_with_what_to_write(run: Run, shop: Shop) -> None:
    await run("write", "--app", shop.edited())

    checked = await run("check", "--app", shop.edited(version=2))

    assert checked.exit_code == 1
    assert checked.output.startswith("BREAKS  event type 'ordered' has come to version 2, and nothing leads on from")


async def test_an_edit_that_does_not_break_is_to_be_written_down(run: Run, shop: Shop) -> None:
    await run("write", "--app", shop.edited())
    app = shop.edited(field='    customer: str = ""')

    checked, in_json = await run("check", "--app", app), await run("check", "--app", app, "--json")
    await run("write", "--app", app)
    again = await run("check", "--app", app)

    assert checked.exit_code == in_json.exit_code == 1
    assert checked.output == (
        "reads  ordered.customer is new: what is stored without it takes the default\n"
        f"all of it can be read; write it down: python -m framework schema write --app {app} --file schema.json\n"
    )
    assert json.loads(in_json.output) == {
        "changes": [
            {
                "what": "ordered.customer is new: what is stored without it takes the default",
                "is_read": True,
                "remedy": "",
            }
        ],
        "is_current": False,
    }
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no schema.json"),
        ("{", "is not as"),
        ('{"events": []}', "is not as"),
        ("[]", "is not as"),
        ('{"events": {"a": {}}, "snapshots": {}, "values": {}}', "is not as"),
    ],
)
async def test_a_file_that_was_edited_by_hand_or_is_not_there_is_refused(
    run: Run, shop: Shop, tmp_path: Path, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "schema.json").write_text(text)

    checked = await run("check", "--app", shop.edited())

    assert checked.exit_code == 2
    assert reason in checked.output


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shop", "write module:name"),
        ("no_such_module:application", "there is no module 'no_such_module'"),
        ("{module}:nobody", "has no application called 'nobody'"),
        ("{module}:nothing", "has no application called 'nothing': it is 5"),
    ],
)
async def test_what_names_no_application_is_refused(run: Run, shop: Shop, name: str, reason: str) -> None:
    module = shop.edited().partition(":")[0]

    checked = await run("check", "--app", name.format(module=module))

    assert checked.exit_code == 2
    assert reason in checked.output


async def test_the_catalog_says_who_yields_and_who_handles_what(run: Run) -> None:
    listed, in_json = await run("catalog", "--app", BANK), await run("catalog", "--app", BANK, "--json")

    assert "AccountOpened version 1, of Account, handled by Balances" in listed.output
    assert "  account_id: str\n" in listed.output
    (opened,) = [each for each in json.loads(in_json.output)["events"] if each["name"] == "AccountOpened"]
    assert opened["class"] == "sample_bank.accounts.AccountOpened"
    assert (opened["yielded_by"], "Balances" in opened["handled_by"]) == (["Account"], True)


# The log -------------------------------------------------------------------------------------------


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as schema:
        yield schema


async def record(dsn: str, schema: str, *types: tuple[str, int]) -> None:
    events = [NewEvent(uuid4(), name, version, b"{}", b"{}", uuid4(), uuid4()) for name, version in types]
    async with PostgresEventStore(dsn, schema=schema) as store:
        await store.append([StreamWrite("shop-1", Expected.ANY, events)])


async def test_a_log_that_the_code_can_read_is_listed(run: Run, shop: Shop, dsn: str, schema: str) -> None:
    await record(dsn, schema, ("ordered", 1), ("ordered", 1))

    checked = await run("check", "--app", shop.edited(), "--dsn", dsn, "--schema", schema)

    assert (checked.output, checked.exit_code) == ("reads  ordered version 1: 2 events, positions 1 to 2\n", 0)


async def test_a_log_with_something_that_nobody_reads_is_found(run: Run, shop: Shop, dsn: str, schema: str) -> None:
    await record(dsn, schema, ("ordered", 2), ("paid", 1), ("ordered", 1))

    checked = await run("check", "--app", shop.edited(), "--dsn", dsn, "--schema", schema)

    assert checked.exit_code == 1
    assert checked.output.splitlines() == [
        "reads  ordered version 1: 1 events, positions 3 to 3",
        "BREAKS  ordered version 2: 1 events, positions 1 to 1",
        "BREAKS  paid version 1: 1 events, positions 2 to 2",
    ]


async def test_a_log_that_is_not_there_is_refused(run: Run, shop: Shop, dsn: str) -> None:
    checked = await run("check", "--app", shop.edited(), "--dsn", dsn, "--schema", "nowhere")

    assert checked.exit_code == 2
    assert "schema 'nowhere' holds no event store" in checked.output
