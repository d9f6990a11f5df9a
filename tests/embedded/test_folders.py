"""Which folders a server can have, and what happens to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from framework import embedded
from framework.errors import DataFolderUnusable
from tests.embedded.conftest import only_as_root, runs

A_LONG_NAME = "a-name-that-with-a-few-more-like-it-does-not-fit-into-the-address-of-a-socket"


@pytest.mark.parametrize("path", [f"{A_LONG_NAME}/{A_LONG_NAME}", 'it\'s, "$HOME" `and` ünïcode; %20&host=x #1'])
async def test_a_folder_may_have_any_name(place: Path, path: str) -> None:
    async with embedded.server(place / path, durable=False) as dsn:
        assert await runs(dsn)

    assert not await runs(dsn)


async def test_two_folders_of_long_names_have_two_servers(place: Path) -> None:
    first, second = (place / A_LONG_NAME / A_LONG_NAME / each for each in "ab")

    async with (
        embedded.server(first, durable=False) as dsn,
        embedded.server(second, durable=False) as other,
    ):
        assert dsn != other

    assert not await runs(dsn)
    assert not await runs(other)


async def test_a_folder_of_other_files_is_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o750)
    (folder / "letter.txt").write_text("Dear …")

    with pytest.raises(DataFolderUnusable, match="holds other files"):
        async with embedded.server(folder):
            pass

    assert [each.name for each in folder.iterdir()] == ["letter.txt"]
    assert folder.stat().st_mode & 0o777 == 0o750


async def test_nobody_else_may_enter_the_folder_and_the_modes_above_stay(place: Path) -> None:
    above = place / "above"
    above.mkdir(mode=0o751)

    async with embedded.server(above / "bank", durable=False):
        assert (above / "bank").stat().st_mode & 0o777 == 0o700

    assert above.stat().st_mode & 0o777 == 0o751


async def test_data_of_another_major_version_are_refused(folder: Path) -> None:
    async with embedded.server(folder, durable=False) as dsn:
        pass
    (folder / "postgres" / "PG_VERSION").write_text("14\n")

    with pytest.raises(DataFolderUnusable, match=r"holds data of PostgreSQL 14, but .* FRAMEWORK_PG_BIN"):
        async with embedded.server(folder, durable=False):
            pass

    assert not await runs(dsn)


@only_as_root
async def test_the_data_of_another_user_are_refused(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 1, 1)

    with pytest.raises(DataFolderUnusable, match="belongs to another user"):
        async with embedded.server(folder):
            pass

    assert folder.stat().st_uid == 1


@only_as_root
async def test_where_the_server_may_not_go_the_folder_is_a_link_and_stays_closed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ROOT_DATA", place / "data")
    home = place / "home"
    home.mkdir(mode=0o700)
    folder = home / ".bank"

    async with embedded.server(folder, durable=False) as dsn:
        assert await runs(dsn)
    first = folder.readlink()
    async with embedded.server(folder, durable=False):
        assert folder.readlink() == first

    assert first.parent == place / "data"
    assert home.stat().st_mode & 0o777 == 0o700


@only_as_root
async def test_a_link_that_is_removed_makes_room_for_new_data(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ROOT_DATA", place / "data")
    home = place / "home"
    home.mkdir(mode=0o700)
    folder = home / ".bank"
    async with embedded.server(folder, durable=False):
        first = folder.readlink()
    folder.unlink()

    async with embedded.server(folder, durable=False):
        assert folder.readlink() != first


@only_as_root
async def test_files_where_the_server_may_not_go_are_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ROOT_DATA", place / "data")
    folder = place / "home" / "bank"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    (folder / "letter.txt").touch()

    with pytest.raises(DataFolderUnusable, match="is not empty, and lies where"):
        async with embedded.server(folder):
            pass

    assert (folder / "letter.txt").exists()
    assert not list((place / "data").iterdir())
