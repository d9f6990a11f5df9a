"""What no log can hold, and what one can though it looks bad."""

from __future__ import annotations

from typing import Any

import pytest

from framework.errors import AppendRefused, InvalidRequest, StoreError
from framework.store.protocol import Appended, EventStore, Expected, StreamWrite
from framework.testing.store_contract.parts import (
    OnAStore,
    as_json,
    contents_of,
    log_of,
    new_event,
    new_events,
    new_receipt,
    outcomes,
    value_of,
    write,
)

NO_NAMES = ["", "a\0b", "\0", "a\ud800b", "\udfff", "x" * 1_001, "ä" * 501, "\U0001f600" * 251]

NAMES = [
    " ",
    "'; DROP TABLE events; --",
    'a,b"c"',
    "100%_\\",
    "{a,b}",
    "NULL",
    "$1",
    "account-Ω-☃-😀",
    "e\u0301 \u202e\ufeff",
    "\x01\n\t\x7f",
    "x" * 1_000,
    "\U0001f600" * 250,
]
"""The last two are as long as a name may be. They are of one character, which compresses well; so are not all."""

NO_DOCUMENTS = [
    b"",
    b" ",
    b"{",
    b'{"a": }',
    b"{'a': 1}",
    b"[1,]",
    b"{} {}",
    b"NaN",
    b'{"a": NaN}',
    b"[Infinity]",
    b"-Infinity",
    b"01",
    b'"\n"',
    b'"\\u0000"',
    b'{"\\u0000": 1}',
    b'{"a": "x\\\\\\u0000"}',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud800x\\udc00"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf{}",
    b'"\0"',
    b"1e200000",
    b'{"amount": -1e131072}',
    b"1e-16384",
    b"1" * 131_073,
    b"[" * 100_000 + b"]" * 100_000,
]

DOCUMENTS = [
    b" {} ",
    b'"\\\\u0000"',
    b'"\\\\\\\\u0000"',
    b'"\\ud83d\\ude00"',
    b'"\\uD83D\\uDE00 \\u00e4"',
    b"1e400",
    b"1e131071",
    b"-1e-16383",
    b"1" * 131_072,
    b"[" * 200 + b"]" * 200,
    b'{"a": 1, "a": 2}',
    '{"": "\'\\"%_,;\\\\ ä漢😀\\u0001"}'.encode(),
]


def shown(value: object) -> str:
    """Return *value* for the name of a test."""
    return ascii(value)[:40]


class BadInputContract(OnAStore):
    """What is refused, with a clear error, by every store alike; and what is not."""

    @pytest.mark.parametrize("name", NO_NAMES, ids=shown)
    async def test_a_name_no_stream_can_have_is_refused(self, store: EventStore, name: str) -> None:
        with pytest.raises(InvalidRequest, match="stream"):
            await write(store, name, new_event())
        with pytest.raises(InvalidRequest, match="stream"):
            await store.append([], [new_receipt(name)])
        with pytest.raises(InvalidRequest, match="stream"):
            await store.delete_stream(name, Expected.ANY)

        assert await store.head() == 0

    @pytest.mark.parametrize("name", NAMES, ids=shown)
    async def test_any_other_name_is_a_name(self, store: EventStore, name: str) -> None:
        await write(store, "another", new_event())
        await write(store, name, *new_events(2), expected=0)

        assert [event.stream for event in await store.read_stream(name)] == [name, name]
        assert [event.stream for event in (await store.read_log(prefix=name)).events] == [name, name]
        info = await store.stream_info(name)
        assert info is not None
        assert list((await store.list_streams(search=name)).streams) == [info]
        assert (await store.delete_stream(name, 2)).stream == name

    async def test_a_name_that_does_not_compress_may_be_as_long(self, store: EventStore) -> None:
        name = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(333))

        await write(store, name, new_event()._replace(type=name))

        assert len(name.encode()) == 999
        assert [event.type for event in await store.read_stream(name)] == [name]

    @pytest.mark.parametrize("name", NO_NAMES, ids=shown)
    async def test_a_name_no_type_can_have_is_refused(self, store: EventStore, name: str) -> None:
        with pytest.raises(InvalidRequest, match="type"):
            await write(store, "s", new_event(type_=name))

        assert await store.head() == 0

    @pytest.mark.parametrize("version", [-1, 2**31, 2**80])
    async def test_a_version_no_type_can_have_is_refused(self, store: EventStore, version: int) -> None:
        with pytest.raises(InvalidRequest, match=str(version)):
            await write(store, "s", new_event()._replace(type_version=version))

        assert await store.head() == 0

    @pytest.mark.parametrize("text", ["a\0b", "a\ud800b"], ids=shown)
    async def test_nobody_can_ask_for_text_no_database_can_hold(self, store: EventStore, text: str) -> None:
        await write(store, "s", new_event())

        asked = await outcomes(
            [
                store.read_stream(text),
                store.read_stream_backward(text),
                store.read_log(types=[text]),
                store.read_log(prefix=text),
                store.read_log_backward(types=["a", text]),
                store.read_log_backward(prefix=text),
                store.stream_info(text),
                store.list_streams(search=text),
                store.load_snapshot(text, "Account", 1),
                store.load_snapshot("s", text, 1),
                store.delete_snapshots(text),
            ]
        )

        assert [type(answer) for answer in asked] == [InvalidRequest] * 11

    async def test_what_is_too_long_for_a_name_is_asked_for_in_vain(self, store: EventStore) -> None:
        await write(store, "s", new_event())
        text = "s" * 100_000

        assert list(await store.read_stream(text)) == []
        assert list((await store.read_log(types=[text])).events) == []
        assert list((await store.read_log(prefix=text)).events) == []
        assert await store.stream_info(text) is None
        assert list((await store.list_streams(search=text)).streams) == []

    @pytest.mark.parametrize("expected", [-3, -(2**70), 2**63, 2**70])
    async def test_a_version_no_stream_can_have_is_refused(self, store: EventStore, expected: int) -> None:
        with pytest.raises(InvalidRequest, match=str(expected)):
            await write(store, "s", new_event(), expected=expected)
        with pytest.raises(InvalidRequest, match=str(expected)):
            await store.delete_stream("s", expected)

        assert await store.head() == 0

    @pytest.mark.parametrize("document", NO_DOCUMENTS, ids=shown)
    async def test_what_is_no_json_is_refused_wherever_it_stands(self, store: EventStore, document: bytes) -> None:
        good, receipt = new_event(), new_receipt(refusal=document)
        whole = StreamWrite("a", 0, [new_event()])

        with pytest.raises(AppendRefused):
            await store.append([whole, StreamWrite("b", 0, [good, new_event()._replace(data=document)])])
        for metadata in (document, b'{"about": ' + document + b"}"):
            with pytest.raises(AppendRefused):
                await store.append([whole, StreamWrite("b", 0, [good, new_event()._replace(metadata=metadata)])])
        with pytest.raises(AppendRefused):
            await store.append([whole], [receipt])

        assert await store.head() == 0
        assert not await store.receipts([receipt.command_id])
        await write(store, "b", good, expected=0)

    @pytest.mark.parametrize("document", [b"[]", b'"text"', b"1", b"null", b"true"], ids=shown)
    async def test_metadata_that_is_no_object_is_refused(self, store: EventStore, document: bytes) -> None:
        with pytest.raises(AppendRefused):
            await write(store, "s", new_event()._replace(metadata=document))

        assert await store.head() == 0

    @pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
    async def test_any_other_json_comes_back_as_it_was(self, store: EventStore, document: bytes) -> None:
        metadata = b'{"about": ' + document + b"}"

        await write(store, "s", new_event()._replace(data=document, metadata=metadata))

        (event,) = await store.read_stream("s")
        assert value_of(event.data) == value_of(document)
        assert value_of(event.metadata) == value_of(metadata)

    @pytest.mark.parametrize("document", [b'"\\u0000"', b"NaN", b"1e200000", b'"\xff"'], ids=shown)
    async def test_a_bad_event_among_a_hundred_strangers_is_refused_alone(
        self, store: EventStore, document: bytes
    ) -> None:
        strangers = [write(store, f"s{number}", new_event(), expected=0) for number in range(128)]
        bad = write(store, "bad", new_event()._replace(data=document), expected=0)
        metadata = b'{"about": ' + document + b"}"
        worse = write(store, "worse", new_event()._replace(metadata=metadata), expected=0)

        answers = await outcomes([*strangers[:64], bad, worse, *strangers[64:]])

        assert isinstance(answers.pop(64), AppendRefused)
        assert isinstance(answers.pop(64), AppendRefused)
        assert all(isinstance(answer, Appended) for answer in answers)
        assert [event.position for event in await log_of(store)] == list(range(1, 129))

    @pytest.mark.parametrize("count", [1, 999, 1_000, 10_001])
    async def test_an_append_may_have_any_number_of_events(self, store: EventStore, count: int) -> None:
        events = new_events(count)

        appended = await write(store, "s", *events, expected=0)

        assert (appended.version, appended.position) == (count, count)
        assert contents_of(await log_of(store)) == contents_of(events)

    async def test_an_event_may_have_ten_megabytes(self, store: EventStore) -> None:
        event = new_event({"text": "0123456789" * 1_000_000})

        await write(store, "s", new_event(), event, new_event())

        stored = await store.read_stream("s")
        assert len(stored[1].data) > 10_000_000
        assert contents_of(stored[1:2]) == contents_of([event])

    async def test_metadata_may_have_ten_megabytes(self, store: EventStore) -> None:
        event = new_event()._replace(metadata=b'{"text": "%s"}' % (b"0123456789" * 1_000_000))

        await write(store, "s", event)

        stored = await store.read_stream("s")
        assert len(stored[0].metadata) > 10_000_000
        assert contents_of(stored) == contents_of([event])

    async def test_an_append_larger_than_any_document_can_be_is_refused(self, store: EventStore) -> None:
        large = b'"%s"' % (b"x" * 10_000_000)
        events = [event._replace(data=large) for event in new_events(27)]

        with pytest.raises(AppendRefused, match="s: an append holds 268435455 bytes of events, and these are 270"):
            await write(store, "s", *events)

        assert await store.head() == 0

    @pytest.mark.parametrize("limit", [0, -1, -(2**70), 2**70])
    async def test_a_page_of_no_size_is_refused(self, store: EventStore, limit: int) -> None:
        await write(store, "s", new_event())

        asked = await outcomes(
            [
                store.read_stream("s", limit=limit),
                store.read_stream_backward("s", limit=limit),
                store.read_log(limit=limit),
                store.read_log(limit=limit, types=["a"]),
                store.read_log_backward(limit=limit, prefix="a"),
                store.read_correlated(new_event().correlation_id, limit=limit),
                store.list_streams(limit=limit),
            ]
        )

        assert [type(answer) for answer in asked] == [InvalidRequest] * 7

    @pytest.mark.parametrize(("after", "count"), [(-1, 3), (-(2**80), 3), (3, 0), (2**40, 0), (2**63, 0), (2**80, 0)])
    async def test_reading_after_what_cannot_be_is_reading_after_what_is_nearest(
        self, store: EventStore, after: int, count: int
    ) -> None:
        event = new_event()
        await write(store, "s", event, *[each._replace(correlation_id=event.correlation_id) for each in new_events(2)])

        assert len(await store.read_stream("s", after=after)) == count
        assert len((await store.read_log(after=after)).events) == count
        assert len((await store.read_log(after=after, prefix="s")).events) == count
        assert len(await store.read_correlated(event.correlation_id, after=after)) == count

    @pytest.mark.parametrize(("until", "count"), [(-1, 0), (-(2**80), 0), (2**63, 3), (2**80, 3)])
    async def test_reading_until_what_cannot_be_is_reading_until_what_is_nearest(
        self, store: EventStore, until: int, count: int
    ) -> None:
        await write(store, "s", *new_events(3))

        assert len(await store.read_stream("s", until=until)) == count

    @pytest.mark.parametrize("change", [{"first_version": -1}, {"first_version": 2**70}, {"event_count": -1}])
    async def test_a_receipt_of_events_that_cannot_be_is_refused(
        self, store: EventStore, change: dict[str, Any]
    ) -> None:
        receipt = new_receipt()._replace(**change)

        with pytest.raises(InvalidRequest):
            await store.append((), [receipt])

        assert not await store.receipts([receipt.command_id])

    async def test_what_is_refused_is_a_store_error_and_a_value_error(self, store: EventStore) -> None:
        with pytest.raises(StoreError):
            await write(store, "", new_event())
        with pytest.raises(ValueError, match="''"):
            await write(store, "", new_event())

    async def test_a_page_holds_quotes_and_commas_apart(self, store: EventStore) -> None:
        texts = ["a,b", '"', "''", "{}", "{a}", "\\", "\\,", "NULL", "null", ""]
        events = [new_event(text, type_=f"t{text}") for text in texts]

        await write(store, "s", *events)

        found = (await store.read_log(types=[f"t{text}" for text in texts])).events
        assert [event.data for event in found] == [as_json(text) for text in texts]
