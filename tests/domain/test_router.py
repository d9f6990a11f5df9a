"""A command goes to one aggregate, and to one stream of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self
from uuid import UUID

import attrs
import pytest

from framework import Aggregate, Router
from framework.errors import (
    CommandAlreadyRegistered,
    ConfigurationError,
    InvalidContract,
    InvalidIdentity,
    MissingIdentity,
    UnknownCommand,
)


@attrs.frozen
class Open:
    account: Any


@attrs.frozen
class Close:
    account: Any
    reason: str = ""


@attrs.frozen
class Ring:
    bell: str


@attrs.frozen
class Changed:
    pass


@attrs.frozen
class Account(Aggregate[Open | Close, Changed]):
    def execute(self, command: Open | Close) -> Iterator[Changed]:
        raise NotImplementedError

    def apply(self, event: Changed) -> Self:
        raise NotImplementedError


@attrs.frozen
class Rival(Account):
    pass


@attrs.frozen
class Bell(Aggregate[Ring, Changed]):
    def execute(self, command: Ring) -> Iterator[Changed]:
        raise NotImplementedError

    def apply(self, event: Changed) -> Self:
        raise NotImplementedError


@attrs.frozen
class Patient(Aggregate[Ring, Changed]):
    async def execute(self, command: Ring) -> Iterator[Changed]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError

    def apply(self, event: Changed) -> Self:
        raise NotImplementedError


@attrs.frozen
class Unready(Aggregate[Ring, Changed]):
    needed: int

    def execute(self, command: Ring) -> Iterator[Changed]:
        raise NotImplementedError

    def apply(self, event: Changed) -> Self:
        raise NotImplementedError


def accounts() -> Router:
    router = Router()
    router.register(Account, identity="account", prefix="account-")
    return router


# Streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "stream"),
    [("a", "account-a"), (7, "account-7"), (UUID(int=1), f"account-{UUID(int=1)}"), ("ä b", "account-ä b")],
)
def test_a_stream_is_the_prefix_and_the_identity(identity: object, stream: str) -> None:
    route = accounts().route(Close(identity))

    assert route.registration.aggregate is Account
    assert route.stream(Close(identity)) == route.registration.stream_of(identity) == stream


def test_the_prefix_is_the_name_of_the_class_unless_given() -> None:
    router = Router()
    router.register(Bell, identity="bell")

    assert router.route(Ring("a")).stream(Ring("a")) == "Bell-a"


def test_the_identity_may_be_computed() -> None:
    router = Router()
    identity: Callable[[Ring], str] = lambda ring: ring.bell.lower()  # noqa: E731 - what is tested is a function
    router.register(Bell, identity=identity)

    assert router.route(Ring("A")).stream(Ring("A")) == "Bell-a"


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        ("", "is empty"),
        (None, "names no aggregate"),
        (1.5, "is a float, of which equal values have different texts"),
        (b"a", "is a bytes, which has no text of its own"),
        (True, "is a bool, of which equal values have different texts"),
        ("a\0b", "has characters that no stream's name can hold"),
        ("\ud800", "has characters that no stream's name can hold"),
        ("x" * 493, "makes a stream's name longer than 500 characters"),
    ],
)
def test_an_identity_that_names_nothing_is_refused(identity: object, reason: str) -> None:
    router = accounts()

    with pytest.raises(InvalidIdentity, match=f"^Open: identity .* {reason}") as refused:
        router.route(Open(identity)).stream(Open(identity))
    with pytest.raises(InvalidIdentity, match=f"^Account: identity .* {reason}"):
        router.registration(Account).stream_of(identity)

    assert (refused.value.command, refused.value.value) == (Open, identity)


def test_the_longest_name_is_one() -> None:
    assert len(accounts().registration(Account).stream_of("x" * 492)) == 500


# Registering ---------------------------------------------------------------------------------------


def test_what_nobody_takes_is_refused() -> None:
    router = accounts()

    assert router.takes(Open)
    assert not router.takes(Ring)
    with pytest.raises(UnknownCommand, match=r"no aggregate takes .*\.Ring: register one that does"):
        router.route(Ring("a"))
    with pytest.raises(ConfigurationError, match=r"Bell is not registered: add router\.register\(Bell, …\)"):
        router.registration(Bell)


def test_a_subclass_of_a_command_is_another_command() -> None:
    class OpenNow(Open):
        pass

    with pytest.raises(UnknownCommand, match="OpenNow"):
        accounts().route(OpenNow("a"))


@pytest.mark.parametrize("prefix", ["account-", "account-log-", "acc", ""])
def test_two_aggregates_whose_streams_could_mix_are_refused(prefix: str) -> None:
    router = accounts()

    with pytest.raises(ConfigurationError, match=r"Bell and Account share the prefix '.*': their streams could mix"):
        router.register(Bell, identity="bell", prefix=prefix)


def test_a_prefix_that_no_stream_can_begin_with_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"the prefix '\\x00' has characters"):
        Router().register(Bell, identity="bell", prefix="\0")


def test_a_registration_that_fails_leaves_the_router_as_it_was() -> None:
    router = accounts()

    with pytest.raises(CommandAlreadyRegistered, match="Open is registered for Account, and again for Rival"):
        router.register(Rival, identity="account")
    with pytest.raises(MissingIdentity, match=r"Ring has no field 'account' to find its Bell by"):
        router.register(Bell, identity="account")
    with pytest.raises(InvalidContract, match=r"Patient\.execute is async"):
        router.register(Patient, identity="bell")
    with pytest.raises(InvalidContract, match="Unready must have a default for every field"):
        router.register(Unready, identity="bell")
    with pytest.raises(ConfigurationError, match="Account is registered twice"):
        router.register(Account, identity="account", prefix="other-")

    assert list(router.aggregates) == [Account]
    assert not router.takes(Ring)
    router.register(Bell, identity="bell")
