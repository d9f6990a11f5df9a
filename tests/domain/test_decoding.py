"""The shorter way from a document to a value leads to the same value as the forms of the types, or nowhere."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import attrs
import cattrs
import msgspec
import pytest
from hypothesis import given, settings

from framework.codec import Codec
from framework.codec.decoding import document_hook
from framework.codec.forms import Forms
from framework.testing.strategies import from_type

forms = Forms()
converter = forms.install(cattrs.Converter(detailed_validation=False))


@attrs.frozen
class Parsed:
    text: str
    whole: int
    real: float
    truth: bool
    one: UUID
    moment: datetime
    perhaps: UUID | None = None
    either: int | str = 1


def upper(text: str) -> str:
    return text.upper()


@attrs.frozen
class Shouted:
    text: str = attrs.field(converter=upper)


@attrs.frozen
class Hidden:
    _text: str


MOMENTS = [
    "2026-11-24T17:18:45.012345+00:00",
    "2026-11-24T17:18:45Z",
    "2026-11-24 17:18:45+05:30",
    "2026-11-24T17:18:45+01:00:30",
    "2026-11-24T17:18:45",
    "2026-11-24T17:18:45+01:00[Europe/Berlin]",
    "2026-11-24T24:00:00+00:00",
    "2026-11-24",
    "20261124T171845Z",
    "2026-W48-2T17:18:45Z",
    "2016-12-31T23:59:60Z",
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59",
]
ID = "00112233-4455-6677-8899-aabbccddeeff"
PLAIN = ["null", "true", "0", "1", "-0", "-0.0", "1.0", "1e2", "0.1", "1e-400", "5e-324", "1e23", "1e308", "1e309"]
LARGE = [str(2**53 + 1), str(-(2**63) - 1), str(2**64), str(10**23), str(2**1_023 + 1), "1.7976931348623159e308"]
TEXTS = ["", "a", "true", "1", ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", *MOMENTS]
DOCUMENTS = [*PLAIN, *LARGE, *(f'"{text}"' for text in TEXTS), '"\\u0000\\ud83d\\ude00"', "[]", "{}", "[1]"]

FITTING = {"text": '""', "whole": "1", "real": "1.0", "truth": "true", "one": f'"{ID}"', "moment": f'"{MOMENTS[0]}"'}


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("field", attrs.fields_dict(Parsed))
def test_a_document_leads_to_the_same_value_on_both_ways_or_the_shorter_one_says_no(field: str, document: str) -> None:
    fields = {**FITTING, field: document}
    whole = "{" + ", ".join(f'"{name}": {each}' for name, each in fields.items()) + "}"
    forms.check(Parsed)

    try:
        shorter = document_hook(Parsed, converter, forms.is_registered)(whole.encode())
    except msgspec.ValidationError:
        return
    longer = converter.structure(msgspec.json.decode(whole), Parsed)

    assert [(type(each), each) for each in attrs.astuple(shorter)] == [
        (type(each), each) for each in attrs.astuple(longer)
    ]


@given(from_type(Parsed))
@settings(deadline=None)
def test_what_the_codec_has_written_is_read_on_the_shorter_way_unless_a_moment_names_its_zone(event: Parsed) -> None:
    at_once = document_hook(Parsed, converter, forms.is_registered)
    known = attrs.evolve(event, moment=event.moment.astimezone(UTC))

    assert at_once(Codec().encode(known)) == known


def test_a_form_of_the_users_own_is_used_in_the_place_of_the_parsers() -> None:
    codec = Codec()
    codec.register(UUID, lambda value: value.hex[::-1], lambda text: UUID(text[::-1]))
    event = Parsed("", 1, 1.0, True, UUID(int=7), datetime(2026, 1, 1, tzinfo=UTC))

    assert codec.decode(Parsed, codec.encode(event)) == event


def test_the_converters_of_a_class_see_what_is_read() -> None:
    assert Codec().decode(Shouted, b'{"text":"softly"}') == Shouted("SOFTLY")


def test_a_field_is_read_whose_parameter_has_another_name() -> None:
    assert Codec().decode(Hidden, b'{"_text":"x"}') == Hidden("x")
