"""Plants each known defect in a copy of this tree, and sees the test that is there for it fail.

usage: python -m tests.mutants [NAME …]

First the tests must pass in a copy without any defect. A test that cannot be collected, or breaks on anything but its
assertion, has not found the defect. Exits with 1 unless every defect is found.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from xml.etree import ElementTree as ET

import attrs

from tests.mutants.patches import ROOT, Mutant, PatchError, mutants

AT_ONCE: Final = min(os.cpu_count() or 1, 4)
TOO_LONG_S: Final = 60
LAST_WORDS_S: Final = 10

LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")


@attrs.frozen
class Run:
    """What pytest said of some tests in a copy of the tree."""

    exit_code: int | None
    """None when it took too long."""
    failures: Sequence[str]
    """The names of the errors by which tests failed, their own errors and not those of fixtures."""
    errors: int
    """How many tests were not run, or whose fixtures failed."""
    said: str

    def found(self, mutant: Mutant) -> bool:
        """Return whether *mutant* was found in the way it is said to be."""
        return self.exit_code == 1 and not self.errors and set(self.failures) == {mutant.fails_with}


@attrs.frozen
class Result:
    mutant: Mutant
    found: bool
    verdict: str
    seconds: float
    said: str


async def run_tests(tree: Path, tests: Collection[str], too_long_s: float) -> Run:
    """Run *tests* of the copy in *tree*, for at most *too_long_s*."""
    report = tree / "report.xml"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--junitxml={report}", *sorted(tests)),
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},  # for what the tests start elsewhere
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    exit_code: int | None = None
    try:
        async with asyncio.timeout(too_long_s):
            said, _ = await process.communicate()
        exit_code = process.returncode
    except TimeoutError:
        said = await _stop(process)
    cases = ET.parse(report).getroot() if report.exists() else ET.Element("nothing")  # noqa: S314  ours
    return Run(
        exit_code,
        [kind(failure.get("message", "")) for failure in cases.iter("failure")],
        len(list(cases.iter("error"))),
        said.decode(errors="replace"),
    )


async def _stop(process: asyncio.subprocess.Process) -> bytes:
    """Have pytest stop as for Ctrl-C, with its server, and return what it said; kill it if it will not."""
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
    return said


def kind(message: str) -> str:
    """Return what a test failed by: an assertion, or else the name of the error in *message*."""
    name = message.partition(":")[0].strip()
    by_assertion = message.startswith(("assert ", "AssertionError", "Failed: DID NOT "))
    return "an assertion" if by_assertion else name.rpartition(".")[2]


async def try_mutant(mutant: Mutant, folder: Path) -> Result:
    tree = folder / mutant.name
    began = time.monotonic()
    shutil.copytree(ROOT, tree, ignore=LEFT_BEHIND)
    try:
        mutant.plant(tree)
    except PatchError as error:
        return Result(mutant, found=False, verdict="does not apply", seconds=0, said=str(error))
    ran = await run_tests(tree, [mutant.test], TOO_LONG_S)
    seconds = time.monotonic() - began
    shutil.rmtree(tree)
    match ran:
        case Run() if ran.found(mutant):
            verdict = "found"
        case Run(exit_code=0):
            verdict = "SURVIVED"
        case Run(exit_code=None):
            verdict = "took too long"
        case Run(failures=[*names]) if names:
            verdict = f"failed by {', '.join(names)} and not by {mutant.fails_with}"
        case _:
            verdict = "broke"
    return Result(mutant, ran.found(mutant), verdict, seconds, ran.said)


async def main(names: Collection[str]) -> bool:
    """Try those of *names*, or all; say what became of each, and return whether all were found."""
    everyone = mutants()
    chosen = [mutant for mutant in everyone if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in everyone}:
        print(f"no patch is called {', '.join(sorted(unknown))}", file=sys.stderr)
        return False
    with TemporaryDirectory(prefix="framework-mutants-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # a server started by root is another user's
        plain = folder / "no-defect"
        shutil.copytree(ROOT, plain, ignore=LEFT_BEHIND)
        sound = await run_tests(plain, {mutant.test for mutant in chosen}, TOO_LONG_S * len(chosen))
        if sound.exit_code != 0:
            print(f"without any defect the tests do not pass:\n{sound.said}")
            return False
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(mutant: Mutant) -> Result:
            async with turns:
                result = await try_mutant(mutant, folder)
            print(f"{result.verdict:<10} {result.seconds:4.0f} s  {mutant.name}: {mutant.defect}", flush=True)
            return result

        results = await asyncio.gather(*map(in_turn, chosen))
    for result in results:
        if not result.found:
            test = result.mutant.test
            print(f"\n{result.mutant.name}, which {test} should have found, {result.verdict}:\n{result.said}")
    print(f"{sum(result.found for result in results)} of {len(results)} planted defects were found")
    return all(result.found for result in results)


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(sys.argv[1:])))
