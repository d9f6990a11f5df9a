"""Each row of the page beside Commanded is held by a test or gives a reason, and no row is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

import pytest

from tests.docs.naming import ROOT, unknown_tests

SECTIONS = (
    {"A": 17, "R": 11, "M": 11, "G": 13, "L": 6, "U": 5, "S": 5}
    | {"1.9.": 11, "1.10.1.": 15, "1.10.2.": 18, "1.10.3.": 6, "1.10.4.": 2}
    | {"H": 15, "PM": 13, "P": 10}
    | {"T": 8, "C": 9}
    | {"SC": 7, "SB": 10, "N": 5}
    | {"1.14.": 7}
)
"""How many there are of each."""

IDS = [f"{section}{number}" for section, count in SECTIONS.items() for number in range(1, count + 1)]

ROWS = re.findall(
    r"^\| ((?:\d+\.)+\d+|[A-Z]+\d+) \| (.+) \| (.*)\| (.+) \|$",
    (ROOT / "docs/reference/commanded.md").read_text(),
    re.MULTILINE,
)


def test_every_id_is_on_the_page_once() -> None:
    assert Counter(row_id for row_id, *_ in ROWS) == Counter(IDS)


@pytest.mark.parametrize(("there", "here", "held_by"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_row_names_tests_that_are_run_or_gives_a_reason(
    there: str, here: str, held_by: str, collected: Collection[str]
) -> None:
    assert there.strip()
    if absent := re.fullmatch(r"absent: (.+)", held_by):
        assert not here.strip(), "what is absent is not here"
        assert len(absent[1].split()) > 2, "a reason is a sentence"
    else:
        assert here.strip()
        assert not unknown_tests(held_by, collected)
