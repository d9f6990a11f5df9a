"""Ids are nobody else's, a child process's either."""

from __future__ import annotations

import subprocess
import sys
from uuid import RFC_4122, UUID

from framework.clock import SystemClock

RANDOM = (1 << 62) - 1
"""The part of an id that no clock has a say in."""

FORKED = """
import os
from framework.clock import SYSTEM_CLOCK
SYSTEM_CLOCK.new_id()
if child := os.fork():
    os.waitpid(child, 0)
print(SYSTEM_CLOCK.new_id())
"""


def test_ids_rise_and_none_is_given_twice() -> None:
    clock = SystemClock()

    ids = [clock.new_id() for _ in range(5_000)]

    assert ids == sorted(ids)
    assert len({id_.int & RANDOM for id_ in ids}) == 5_000
    assert {id_.version for id_ in ids} == {7}
    assert {id_.variant for id_ in ids} == {RFC_4122}
    assert [UUID(str(id_)) for id_ in ids] == ids


def test_a_forked_process_makes_ids_of_its_own() -> None:
    said = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True, text=True)

    one, other = map(UUID, said.stdout.split())
    assert one.int & RANDOM != other.int & RANDOM
