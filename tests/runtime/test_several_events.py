"""One command may lead to several events, each seeing what the one before has changed, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import attrs
import pytest

from framework import Aggregate, Application, CommandRejected, MemoryEventStore, Router
from framework.testing import given


@attrs.frozen
class Climb:
    mountain: str
    stages: tuple[int, ...]
    """How high each goes; below nothing it is a descent to the camp before."""


@attrs.frozen
class Climbed:
    height: int


@attrs.frozen
class Camped:
    height: int


@attrs.frozen
class Returned:
    height: int


class TooHigh(CommandRejected):
    """There is no such height."""


@attrs.frozen
class Mountain(Aggregate[Climb, Climbed | Camped | Returned]):
    height: int = 0

    def execute(self, command: Climb) -> Iterator[Climbed | Camped | Returned]:
        state = camp = self
        for stage in command.stages:
            steps = state.up(stage) if stage > 0 else state.back_to(camp)
            camp = state
            for event in steps:
                state = state.apply(event)
                yield event

    def apply(self, event: Climbed | Camped | Returned) -> Self:
        return attrs.evolve(self, height=event.height)

    def up(self, by: int) -> Iterator[Climbed | Camped]:
        if self.height + by > 9_000:
            raise TooHigh
        climbed = Climbed(self.height + by)
        yield climbed
        if climbed.height > 5_000:
            yield from self.apply(climbed).rest()

    def rest(self) -> Iterator[Camped]:
        yield Camped(self.height)

    def back_to(self, camp: Mountain) -> Iterator[Returned]:
        yield Returned(camp.height)


def mountains() -> Router:
    router = Router()
    router.register(Mountain, identity="mountain")
    return router


def test_each_event_sees_what_the_one_before_has_changed() -> None:
    given(Mountain, Climbed(100)).when(Climb("k2", (1_000, 500))).then(Climbed(1_100), Climbed(1_600))


def test_a_step_may_be_made_of_steps() -> None:
    given(Mountain).when(Climb("k2", (6_000, 500))).then(Climbed(6_000), Camped(6_000), Climbed(6_500), Camped(6_500))


def test_a_state_on_the_way_may_be_kept_for_a_later_step() -> None:
    given(Mountain).when(Climb("k2", (1_000, 500, -1))).then(Climbed(1_000), Climbed(1_500), Returned(1_000))


async def test_they_are_recorded_together() -> None:
    async with Application(store=MemoryEventStore(), router=mountains()) as app:
        result = await app.dispatch(Climb("k2", (6_000, 500)), returning=Mountain)

        assert (result.version, result.position, result.state) == (4, 4, Mountain(6_500))
        assert result.events == (Climbed(6_000), Camped(6_000), Climbed(6_500), Camped(6_500))


async def test_a_step_that_is_refused_refuses_all_before_it() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=mountains()) as app:
        await app.dispatch(Climb("k2", (1_000,)))

        with pytest.raises(TooHigh):
            await app.dispatch(Climb("k2", (6_000, 9_000)))

        assert await store.head() == 1
        assert (await app.dispatch(Climb("k2", (1,)), returning=Mountain)).state == Mountain(1_001)
