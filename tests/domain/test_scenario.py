"""given, when, then say what they expected and what happened instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import attrs
import pytest

from framework import Aggregate, CommandRejected, Continue, ProcessManager, Start, Stop
from framework.errors import InvalidDecision
from framework.testing import given
from tests.runtime.till import Moved, NotEnough, PutIn, Shake, TakeOut, Till


class FarTooMuch(NotEnough):
    """A special case of the other."""


@attrs.frozen
class Greedy(Till):
    def execute(self, command: PutIn | TakeOut | Shake) -> Iterator[Moved]:
        raise FarTooMuch("too much")


@attrs.frozen
class Forgetful(Aggregate[PutIn, Moved]):
    def execute(self, command: PutIn) -> Iterator[Moved]:
        yield Moved(command.amount)

    def apply(self, event: Moved) -> Self:  # type: ignore[empty-body]  # pyright: ignore[reportReturnType]
        """Return nothing, which is the mistake."""


# Aggregates ----------------------------------------------------------------------------------------


def test_what_happened_is_what_was_expected() -> None:
    given(Till, Moved(10)).when(TakeOut("a", 4)).then(Moved(-4))
    given(Till, Moved(10)).when(TakeOut("a", 4)).then_state(Till(6))
    given(Till, Moved(10)).when(PutIn("a", 0)).then()


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ((), r"expected nothing, but Moved\(amount=-4\) happened"),
        ((Moved(4),), r"expected Moved\(amount=4\), but Moved\(amount=-4\) happened"),
        ((Moved(-4), Moved(0)), r"expected Moved\(amount=-4\), Moved\(amount=0\), but Moved\(amount=-4\) happened"),
    ],
)
def test_other_events_than_expected_are_listed(expected: tuple[Moved, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        given(Till, Moved(10)).when(TakeOut("a", 4)).then(*expected)


def test_another_state_than_expected_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"expected Till\(content=7\), but it is Till\(content=6\)"):
        given(Till, Moved(10)).when(TakeOut("a", 4)).then_state(Till(7))


def test_a_refusal_is_expected_by_its_class_and_its_message() -> None:
    given(Till).when(TakeOut("a", 4)).then_raises(NotEnough)
    given(Till).when(TakeOut("a", 4)).then_raises(NotEnough, "4 exceeds 0")


def test_another_message_than_expected_is_shown() -> None:
    with pytest.raises(AssertionError, match="expected the message '5 exceeds 0', not '4 exceeds 0'"):
        given(Till).when(TakeOut("a", 4)).then_raises(NotEnough, "5 exceeds 0")


def test_a_refusal_that_does_not_come_is_missed() -> None:
    with pytest.raises(AssertionError, match=r"expected NotEnough, but Moved\(amount=-4\) happened"):
        given(Till, Moved(10)).when(TakeOut("a", 4)).then_raises(NotEnough)
    with pytest.raises(AssertionError, match="expected NotEnough, but nothing happened"):
        given(Till).when(PutIn("a", 0)).then_raises(NotEnough)


def test_another_error_than_expected_is_raised_itself_also_a_subclass() -> None:
    with pytest.raises(RuntimeError, match="something broke"):
        given(Till).when(Shake("a")).then_raises(NotEnough)
    with pytest.raises(FarTooMuch, match="too much"):
        given(Greedy).when(TakeOut("a", 4)).then_raises(NotEnough)


def test_an_error_nobody_expected_is_raised_itself() -> None:
    with pytest.raises(NotEnough):
        given(Till).when(TakeOut("a", 4)).then()
    with pytest.raises(NotEnough):
        given(Till).when(TakeOut("a", 4)).then_state(Till())


def test_what_was_yielded_before_a_refusal_is_forgotten() -> None:
    given(Till).when(Shake("a")).then_raises(RuntimeError)


def test_an_apply_that_returns_nothing_is_named() -> None:
    with pytest.raises(InvalidDecision, match=r"Forgetful\.apply returned None for Moved\(amount=1\)"):
        given(Forgetful, Moved(1))
    with pytest.raises(InvalidDecision, match=r"Forgetful\.apply returned None"):
        given(Forgetful).when(PutIn("a", 1))


def test_a_past_is_given_as_events_as_commands_or_as_both() -> None:
    given(Till).having(PutIn("a", 5), TakeOut("a", 2)).when(PutIn("a", 0)).then_state(Till(3))
    given(Till, Moved(10)).having(TakeOut("a", 4)).having(TakeOut("a", 4)).when(TakeOut("a", 2)).then(Moved(-2))


def test_a_past_that_would_have_been_refused_is_none() -> None:
    with pytest.raises(NotEnough, match="4 exceeds 0"):
        given(Till).having(TakeOut("a", 4))
    with pytest.raises(RuntimeError, match="something broke"):
        given(Till).having(Shake("a"))


# Processes -----------------------------------------------------------------------------------------


@attrs.frozen
class Began:
    id: str


@attrs.frozen
class WentOn:
    id: str


@attrs.frozen
class Met:
    ids: tuple[str, ...]


@attrs.frozen
class Ended:
    id: str


@attrs.frozen
class Count:
    id: str
    number: int


@attrs.frozen
class Counting(ProcessManager[Began | WentOn | Met | Ended, Count]):
    """Counts what an instance has seen; empty, and so false, as long as that is nothing."""

    seen: int = 0

    def __len__(self) -> int:
        return 0

    @classmethod
    def interested(cls, event: Began | WentOn | Met | Ended) -> Start | Continue | Stop | Sequence[Start] | None:
        match event:
            case Began(""):
                return None
            case Began(id_):
                return Start(id_)
            case WentOn(id_):
                return Continue(id_)
            case Met(ids):
                return [Start(id_) for id_ in ids]
            case Ended(id_):
                return Stop(id_)

    def handle(self, event: Began | WentOn | Met | Ended) -> Iterator[Count]:
        yield Count(event.ids[0] if isinstance(event, Met) else event.id, self.seen)

    def apply(self, event: Began | WentOn | Met | Ended) -> Self:
        return attrs.evolve(self, seen=self.seen + 1)

    def rejected(self, command: Count, error: CommandRejected) -> Iterator[Count | Stop]:
        if str(error) == "stop":
            yield Stop(command.id)
        yield Count(command.id, -1)


def test_an_instance_handles_with_the_state_before_the_event() -> None:
    given(Counting).when(Began("a")).then(Count("a", 0))
    given(Counting, Began("a"), WentOn("a")).when(WentOn("a")).then(Count("a", 2))


def test_an_event_that_concerns_nobody_leads_to_nothing() -> None:
    given(Counting, Began("b")).when(WentOn("a")).then()
    given(Counting).when(Began("")).then()


def test_an_instance_that_has_stopped_goes_on_only_from_the_start() -> None:
    given(Counting, Began("a"), Ended("a")).when(WentOn("a")).then()
    given(Counting, Began("a"), Ended("a")).when(Began("a")).then(Count("a", 0))
    given(Counting, Began("a")).when(Ended("a")).then()


def test_an_event_may_concern_several_instances() -> None:
    given(Counting, Began("a")).when(Met(("a", "b"))).then(Count("a", 1), Count("a", 0))


def test_other_commands_than_expected_are_listed() -> None:
    with pytest.raises(AssertionError, match=r"expected nothing, but Count\(id='a', number=0\) would be sent"):
        given(Counting).when(Began("a")).then()


def test_a_refusal_is_answered_by_the_instance_it_is_told() -> None:
    refused = given(Counting, Began("a"))

    refused.when_rejected(Count("a", 0), CommandRejected("no"), instance="a").then(Count("a", -1))
    refused.when_rejected(Count("a", 0), CommandRejected("stop"), instance="a").then(Count("a", -1))
    refused.when(WentOn("a")).then()


def test_a_refusal_is_told_only_to_an_instance_that_is_there() -> None:
    with pytest.raises(AssertionError, match=r"there is no instance 'b': \['a'\]"):
        given(Counting, Began("a")).when_rejected(Count("b", 0), CommandRejected("no"), instance="b")
