"""A run is a plan: the same each time, under ids of its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sample_bank.audit import Audit, Difference
from sample_bank.work import NotSettledError, Plan


def test_a_run_sends_the_same_each_time() -> None:
    assert list(Plan("monday", transfers=50).sendings()) == list(Plan("monday", transfers=50).sendings())


def test_two_runs_share_accounts_and_no_ids() -> None:
    monday, tuesday = Plan("monday"), Plan("tuesday")

    assert monday.account_ids == tuesday.account_ids
    assert monday.command_id("withdrawal") != tuesday.command_id("withdrawal")
    assert not {each.transfer_id for each in monday.sendings()} & {each.transfer_id for each in tuesday.sendings()}


def test_runs_without_a_name_are_different_runs() -> None:
    assert Plan().run != Plan().run


def test_nobody_sends_to_themselves() -> None:
    assert all(each.account_id != each.target_id for each in Plan("monday", accounts=2).sendings())


@pytest.mark.parametrize("size", [{"accounts": 1}, {"transfers": -1}, {"at_once": 0}])
def test_a_plan_that_cannot_be_is_refused(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be >="):
        Plan("monday", **size)


def test_what_did_not_settle_is_named() -> None:
    error = NotSettledError(timedelta(seconds=2), [f"t{number}" for number in range(9)])

    assert str(error) == "after 2 s 9 transfers are still on their way: t0, t1, t2, t3, t4"


def test_money_is_conserved_when_every_way_of_counting_agrees() -> None:
    assert Audit(cash=10, table=10, folded=10, differences=[]).is_conserved
    assert not Audit(cash=11, table=10, folded=10, differences=[]).is_conserved
    assert not Audit(cash=10, table=11, folded=10, differences=[]).is_conserved
    assert not Audit(cash=10, table=10, folded=11, differences=[]).is_conserved


def test_two_rows_that_are_wrong_by_the_same_amount_are_found() -> None:
    differences = [Difference("a", 9, 10), Difference("b", 11, 10)]

    assert not Audit(cash=20, table=20, folded=20, differences=differences).is_conserved
    assert str(differences[0]) == "account a: the balances table says 9, its events say 10"


def test_a_row_that_is_missing_is_told_from_one_that_is_zero() -> None:
    assert str(Difference("a", None, 0)) == "account a: the balances table has no row for it, its events say 0"
    assert str(Difference("a", 0, None)) == "account a: the balances table says 0, there are no events of it"
