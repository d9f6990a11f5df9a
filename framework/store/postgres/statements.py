"""The SQL of the store, one file for each statement, as attributes."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_FOLDER: Final = files("framework.store.postgres") / "sql"


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


APPEND_EVENTS: Final = _read("call_append_events")
APPEND_EVENTS_ELSEWHERE: Final = _read("call_append_events_elsewhere")
FILL_OUTBOX: Final = _read("fill_outbox")
HEAD: Final = _read("head")
HEAD_SESSIONS: Final = _read("head_sessions")
IS_RECORDED: Final = _read("is_recorded")
LOAD_CHECKPOINT: Final = _read("load_checkpoint")
LOAD_INSTANCES: Final = _read("load_instances")
LOCK_HEAD: Final = _read("lock_head")
MAKE_ROOM: Final = _read("make_room")
NOTIFY: Final = _read("notify")
OUTBOX: Final = _read("outbox")
PARK: Final = _read("park")
PARKED: Final = _read("parked")
READ_LOG: Final = _read("read_log")
READ_LOG_OF_TYPES: Final = _read("read_log_of_types")
READ_STREAM: Final = _read("read_stream")
READ_STREAMS: Final = _read("read_streams")
RECEIPTS: Final = _read("receipts")
REMOVE_INSTANCES: Final = _read("remove_instances")
SAVE_CHECKPOINT: Final = _read("save_checkpoint")
SAVE_INSTANCES: Final = _read("save_instances")
SETTLE: Final = _read("settle")
TAKE_PLACE: Final = _read("take_place")

FUNCTIONS: Final = tuple(map(_read, ("current_version", "meets_expectation", "append_events")))
"""Created anew by every migration, so that they are those of the code that runs."""
