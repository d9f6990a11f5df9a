"""The machine finds an aggregate whose state depends on the way it was come by, and lets a sound one pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from framework import Aggregate, CommandRejected, Router
from framework.codec import Codec
from framework.errors import UnsupportedType
from framework.testing.state_machine import AggregateMachine
from framework.testing.strategies import commands_of
from sample_bank.accounts import Account
from sample_bank.bank import router

FEW = settings(
    max_examples=30,
    stateful_step_count=10,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # that it is found is what matters; to make it small takes far longer
)


class Accounts(AggregateMachine):
    router = router
    aggregate = Account
    commands = commands_of(
        Account, account_id=st.sampled_from("ab"), amount=st.integers(1, 9), transfer_id=st.sampled_from("tu")
    )


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


class Parity:
    """Whether a number is odd; what is written down of it is always that it is not."""

    def __init__(self, number: int) -> None:
        self.is_odd = bool(number % 2)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parity) and self.is_odd == other.is_odd

    def __hash__(self) -> int:
        return hash(self.is_odd)

    def __repr__(self) -> str:
        return "odd" if self.is_odd else "even"


EVEN = Parity(0)


def forgetful() -> Codec:
    codec = Codec()
    codec.register(Parity, lambda _: 0, Parity)
    return codec


@attrs.frozen
class Add:
    sum_id: str
    number: int


@attrs.frozen
class Added:
    number: int


@attrs.frozen
class AddedParity:
    number: int
    parity: Parity


class TooMuch(CommandRejected):
    """The sum would be too large."""


@attrs.frozen
class Sum(Aggregate[Add, Added]):
    """Its state knows its parity."""

    total: int = 0
    parity: Parity = EVEN

    def execute(self, command: Add) -> Iterator[Added]:
        if command.number + self.total > 5:
            raise TooMuch(command.number)
        yield Added(command.number)

    def apply(self, event: Added) -> Self:
        return attrs.evolve(self, total=self.total + event.number, parity=Parity(self.total + event.number))


@attrs.frozen
class SumOfParities(Aggregate[Add, AddedParity]):
    """Its events know their parity."""

    odd: int = 0

    def execute(self, command: Add) -> Iterator[AddedParity]:
        yield AddedParity(command.number, Parity(command.number))

    def apply(self, event: AddedParity) -> Self:
        return attrs.evolve(self, odd=self.odd + event.parity.is_odd)


@attrs.frozen
class Broken(Aggregate[Add, Added]):
    def execute(self, command: Add) -> Iterator[Added]:
        message = "no sum is ever made"
        raise RuntimeError(message)
        yield Added(command.number)

    def apply(self, event: Added) -> Self:
        del event
        return self


def run(tried: type[Aggregate[Any, Any]], *, knows: Codec | None = None, snapshots: bool = True) -> None:
    registered = Router()
    registered.register(tried, identity="sum_id")

    class Machine(AggregateMachine):
        router = registered
        aggregate = tried
        commands = commands_of(tried, sum_id=st.just("a"), number=st.integers(0, 3))
        codec = knows
        with_snapshots = snapshots

    run_state_machine_as_test(Machine, settings=FEW)


def test_events_that_come_back_as_others_are_found() -> None:
    with pytest.raises(AssertionError, match=r"its events add up to SumOfParities\(odd=0\), but it is live as"):
        run(SumOfParities, knows=forgetful())


def test_a_snapshot_that_comes_back_as_another_is_found() -> None:
    with pytest.raises(AssertionError, match=r"a snapshot at version \d+ and the events after it add up to"):
        run(Sum, knows=forgetful())


def test_a_state_that_cannot_be_written_down_is_named_unless_no_snapshot_is_wanted() -> None:
    run(Sum, snapshots=False)
    with pytest.raises(UnsupportedType, match="parity"):
        run(Sum)


def test_an_error_that_is_no_refusal_is_raised() -> None:
    with pytest.raises(RuntimeError, match="no sum is ever made"):
        run(Broken)
