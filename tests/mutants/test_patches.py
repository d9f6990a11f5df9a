"""Every planted defect fits the code and names a test; one that does not is told, and changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from tests.mutants.__main__ import Run, kind
from tests.mutants.patches import ROOT, Mutant, PatchError, mutants

MUTANTS = mutants()

HEAD = "Defect: a song is sung wrong.\nTest: tests/songs.py::test_it_is_sung\n\n"
PATCH = HEAD + "--- a/song.txt\n+++ b/song.txt\n@@ -2,3 +2,3 @@\n two\n-three\n+tree\n four\n"
SONG = "one\ntwo\nthree\nfour\nfive\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "song.txt").write_text(SONG)
    return tmp_path


def read(tmp_path: Path, patch: str) -> Mutant:
    (tmp_path / "wrong.patch").write_text(patch)
    return Mutant.read(tmp_path / "wrong.patch")


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_defect_fits_the_code_and_names_a_test(mutant: Mutant, tmp_path: Path, collected: Collection[str]) -> None:
    for file in {hunk.file for hunk in mutant.hunks}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((ROOT / file).read_text())

    mutant.plant(tmp_path)

    assert mutant.test in collected


def test_lines_are_replaced(tree: Path) -> None:
    read(tree, PATCH).plant(tree)

    assert (tree / "song.txt").read_text() == "one\ntwo\ntree\nfour\nfive\n"


def test_lines_that_have_moved_are_found(tree: Path) -> None:
    (tree / "song.txt").write_text("zero\n" * 20 + SONG)

    read(tree, PATCH).plant(tree)

    assert (tree / "song.txt").read_text() == "zero\n" * 20 + "one\ntwo\ntree\nfour\nfive\n"


def test_several_hunks_of_one_file_are_planted_together(tree: Path) -> None:
    read(tree, f"{PATCH}@@ -5,1 +5,2 @@\n five\n+six\n").plant(tree)

    assert (tree / "song.txt").read_text() == "one\ntwo\ntree\nfour\nfive\nsix\n"


@pytest.mark.parametrize(
    ("song", "complaint"),
    [
        (SONG.replace("four", "for"), r"wrong does not apply: the lines at song\.txt:2 are not in it"),
        (SONG + SONG, r"wrong does not apply: the lines at song\.txt:2 are in it 2 times"),
    ],
)
def test_lines_that_are_not_there_once_are_not_guessed_at(tree: Path, song: str, complaint: str) -> None:
    (tree / "song.txt").write_text(song)
    mutant = read(tree, PATCH)

    with pytest.raises(PatchError, match=complaint):
        mutant.plant(tree)

    assert (tree / "song.txt").read_text() == song


def test_a_file_that_is_gone_is_named(tree: Path) -> None:
    (tree / "song.txt").unlink()

    with pytest.raises(PatchError, match=r"there is no song\.txt"):
        read(tree, PATCH).plant(tree)


@pytest.mark.parametrize("patch", [PATCH.removeprefix("Defect: "), PATCH.replace("Test:", "test:"), HEAD])
def test_what_is_no_defect_is_not_taken_for_one(tmp_path: Path, patch: str) -> None:
    with pytest.raises(PatchError, match=r"wrong\.patch"):
        read(tmp_path, patch)


@pytest.mark.parametrize(
    ("message", "by"),
    [
        ("assert 1 == 2", "an assertion"),
        ("AssertionError: in a sentence\nassert 1 == 2", "an assertion"),
        ("Failed: DID NOT RAISE <class 'ValueError'>", "an assertion"),
        ("Failed: Timeout (>60.0s) from pytest-timeout.", "Failed"),
        ("NameError: name 'x' is not defined", "NameError"),
        ("framework.errors.TooManyAttempts: till-a: gave up", "TooManyAttempts"),
    ],
)
def test_an_assertion_is_told_from_a_breakdown(message: str, by: str) -> None:
    assert kind(message) == by


@pytest.mark.parametrize(
    ("run", "is_found"),
    [
        (Run(1, ["an assertion"], 0, ""), True),
        (Run(0, [], 0, ""), False),
        (Run(1, ["NameError"], 0, ""), False),
        (Run(1, ["an assertion", "NameError"], 0, ""), False),
        (Run(1, ["an assertion"], 1, ""), False),
        (Run(1, [], 1, ""), False),
        (Run(2, [], 1, ""), False),
        (Run(4, [], 0, ""), False),
        (Run(None, [], 0, ""), False),
    ],
)
def test_a_defect_is_found_by_an_assertion_and_by_nothing_else(tmp_path: Path, run: Run, is_found: bool) -> None:
    assert run.found(read(tmp_path, PATCH)) is is_found
