"""Planted defects: unified diffs, each with the test that it must turn red.

They are applied by our own few lines, since neither git nor patch need be there, and since those guess: here a hunk
goes where all of its lines stand, as they are written, or it does not apply. They may have moved; they may not be there
twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

ROOT: Final = Path(__file__).parent.parent.parent

HEADER = re.compile(r"^(Defect|Test|Fails-with): (.+)$")
HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


class PatchError(Exception):
    """A patch that cannot be read, or no longer applies."""


@attrs.frozen
class Hunk:
    """Lines of a file, and what stands in their place once the defect is planted."""

    file: str
    line: int
    """Where they stood when the patch was made, counted from 1."""
    before: Sequence[str]
    after: Sequence[str]


@attrs.frozen
class Mutant:
    """A defect, and the test that is there for it."""

    name: str
    defect: str
    """What is wrong, in one sentence."""
    test: str
    """The node id of the test that must fail."""
    fails_with: str
    """The error it fails with where that is none of an assertion: a deadline that passes, say."""
    hunks: Sequence[Hunk]

    @classmethod
    def read(cls, patch: Path) -> Self:
        """Raises `PatchError` for what is no diff, or lacks a header."""
        head, separator, diff = patch.read_text(encoding="utf-8").partition("--- a/")
        header = {found[1]: found[2] for line in head.splitlines() if (found := HEADER.match(line))}
        if not {"Defect", "Test"} <= header.keys():
            raise PatchError(f"{patch.name}: 'Defect: …' and 'Test: …' must stand at its head")
        hunks = list(_hunks(f"{separator}{diff}".splitlines()))
        if not hunks:
            raise PatchError(f"{patch.name}: it changes nothing")
        return cls(patch.stem, header["Defect"], header["Test"], header.get("Fails-with", "an assertion"), hunks)

    def plant(self, tree: Path) -> None:
        """Change the files under *tree*; raises `PatchError` where a hunk does not apply, and has then changed none."""
        changed: dict[str, list[str]] = {}
        for hunk in self.hunks:
            if hunk.file not in changed:
                path = tree / hunk.file
                if not path.exists():
                    raise PatchError(f"{self.name} does not apply: there is no {hunk.file}")
                changed[hunk.file] = path.read_text(encoding="utf-8").splitlines()
            lines = changed[hunk.file]
            at = self._place(hunk, lines)
            lines[at : at + len(hunk.before)] = hunk.after
        for file, lines in changed.items():
            (tree / file).write_text("\n".join([*lines, ""]), encoding="utf-8")

    def _place(self, hunk: Hunk, lines: Sequence[str]) -> int:
        size = len(hunk.before)
        places = [at for at in range(len(lines) - size + 1) if lines[at : at + size] == hunk.before]
        if len(places) != 1:
            found = "are not in it" if not places else f"are in it {len(places)} times"
            raise PatchError(f"{self.name} does not apply: the lines at {hunk.file}:{hunk.line} {found}")
        return places[0]


def _hunks(diff: Sequence[str]) -> Iterator[Hunk]:
    file = ""
    number = 0
    while number < len(diff):
        line = diff[number]
        number += 1
        if line.startswith("--- a/"):
            file = line.removeprefix("--- a/")
        elif begins := HUNK.match(line):
            first = number
            while number < len(diff) and diff[number][:1] in {" ", "-", "+"} and not diff[number].startswith("--- a/"):
                number += 1
            body = diff[first:number]
            yield Hunk(
                file,
                int(begins[1]),
                [each[1:] for each in body if each[0] in " -"],
                [each[1:] for each in body if each[0] in " +"],
            )


def mutants() -> list[Mutant]:
    """Return all there are, by name."""
    return [Mutant.read(patch) for patch in sorted(Path(__file__).parent.glob("*.patch"))]
