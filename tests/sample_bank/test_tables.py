"""Tables as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime

from sample_bank.tables import table


def test_numbers_stand_to_the_right_and_text_to_the_left() -> None:
    assert table(("account", "balance"), [("a", 1_234), ("longer than its heading", -5)]) == (
        "  account                  balance\n"
        "  ───────────────────────  ───────\n"
        "  a                          1,234\n"
        "  longer than its heading       -5"
    )


def test_what_is_missing_is_blank() -> None:
    assert table(("a", "b"), [(None, "x")]) == "  a  b\n  ─  ─\n     x"


def test_moments_are_told_to_the_second() -> None:
    assert table(("at",), [(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),)]).endswith("\n  2026-01-02 03:04:05")


def test_a_table_without_rows_has_its_heading() -> None:
    assert table(("a", "bc"), []) == "  a  bc\n  ─  ──"
