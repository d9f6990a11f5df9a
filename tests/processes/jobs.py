"""Jobs, and what is said of them: what the tests of instances have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import ClassVar, Self

import attrs

from framework import Aggregate, Backoff, Continue, ProcessManager, Router, Schedule, Start, Stop
from framework.policies import Defaults
from framework.process_manager import Interest
from framework.store.protocol import EventStore
from framework.subscription.delivery import slot_of_key

QUICK = Defaults(handler_retry=Backoff(attempts=3, first=timedelta(milliseconds=1)))
HOUR = timedelta(hours=1)


@attrs.frozen
class Say:
    """Has an event recorded in a stream of its own: the jobs it names are in none."""

    where: str
    what: str
    jobs: tuple[str, ...]
    how: str = "start"


@attrs.frozen
class Said:
    where: str
    what: str
    jobs: tuple[str, ...]
    how: str = "start"


@attrs.frozen
class Note:
    text: str


@attrs.frozen
class Noted:
    text: str


@attrs.frozen
class Voice(Aggregate[Say, Said]):
    def execute(self, command: Say) -> Iterator[Said]:
        yield Said(command.where, command.what, command.jobs, command.how)

    def apply(self, event: Said) -> Self:
        del event
        return self


@attrs.frozen
class Notes(Aggregate[Note, Noted]):
    """One stream of notes for each text."""

    def execute(self, command: Note) -> Iterator[Noted]:
        yield Noted(command.text)

    def apply(self, event: Noted) -> Self:
        del event
        return self


@attrs.frozen
class Job(ProcessManager[Said, Note]):
    """Has a note taken of all that is said of it."""

    partitions = 2
    step_timeout = timedelta(seconds=1)

    heard: tuple[str, ...] = ()

    faults: ClassVar[set[str]] = set()
    """What it fails at, once it is cursed."""
    attempts: ClassVar[list[str]] = []
    """What it has tried to handle, if it failed or not."""

    @classmethod
    def interested(cls, event: Said) -> list[Interest]:
        match event.how:
            case "start":
                return [Start(job) for job in event.jobs]
            case "begin":
                return [Start(job, strict=True) for job in event.jobs]
            case "continue":
                return [Continue(job) for job in event.jobs]
            case "go on":
                return [Continue(job, strict=True) for job in event.jobs]
            case "stop":
                return [Stop(job) for job in event.jobs]
            case how:
                raise ValueError(f"nobody knows what to do with {how}")

    def handle(self, event: Said) -> Iterator[Note | Schedule[Note]]:
        self.attempts.append(event.what)
        yield Note(event.what)
        if event.what == "for later":
            yield Schedule(Note("in time"), after=HOUR, key="k")
        if "curse" in self.heard and event.what in self.faults:
            raise OSError("out of paper")

    def apply(self, event: Said) -> Self:
        return attrs.evolve(self, heard=(*self.heard, event.what))


def office() -> Router:
    router = Router()
    router.register(Voice, identity="where")
    router.register(Notes, identity="text")
    return router


def named(beginning: str, slot: int) -> str:
    """Return a name with that *beginning* that falls into *slot* of two."""
    return next(name for name in map(f"{beginning}{{}}".format, range(99)) if slot_of_key(name, 2) == slot)


async def running(store: EventStore, *jobs: str) -> Mapping[str, object]:
    """Return what the instances *jobs* have heard that run, and None for those that are finished."""
    rows = await store.load_instances("Job", jobs)
    return {job: row.state and json.loads(row.state)["heard"] for job, row in rows.items()}
