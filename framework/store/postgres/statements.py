"""The SQL of the store, one file for each statement, as attributes."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_FOLDER: Final = files("framework.store.postgres") / "sql"


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


ADVANCE_SLOT: Final = _read("advance_slot")
APPEND_EVENTS: Final = _read("call_append_events")
APPEND_EVENTS_ELSEWHERE: Final = _read("call_append_events_elsewhere")
ASK_PARKED: Final = _read("ask_parked")
ASKED_TO_STOP: Final = _read("asked_to_stop")
ASK_TO_STOP: Final = _read("ask_to_stop")
AUDITED: Final = _read("audited")
AUDITED_ABOUT: Final = _read("audited_about")
BEAT: Final = _read("beat")
BEGIN_LIFE: Final = _read("begin_life")
BURY: Final = _read("bury")
CHANGED: Final = _read("changed")
CHANGES: Final = _read("changes")
CLOSE_AUDIT: Final = _read("close_audit")
CUT_SLOTS: Final = _read("cut_slots")
DEFINE_SUBSCRIPTION: Final = _read("define_subscription")
DELETE_SNAPSHOTS: Final = _read("delete_snapshots")
DELETE_STREAM: Final = _read("call_delete_stream")
DELETE_SUBSCRIPTION: Final = _read("delete_subscription")
DROP_REST: Final = _read("drop_rest")
END_LIFE: Final = _read("end_life")
ENTER_MEMBERS: Final = _read("enter_members")
FILL_OUTBOX: Final = _read("fill_outbox")
FIRE_TIMERS: Final = _read("fire_timers")
HEAD: Final = _read("head")
HEAD_SESSIONS: Final = _read("head_sessions")
IS_RECORDED: Final = _read("is_recorded")
IS_WAITING: Final = _read("is_waiting")
HOLD_HEAD: Final = _read("hold_head")
LEAVE: Final = _read("leave")
LAG: Final = _read("lag")
LEVEL_SLOTS: Final = _read("level_slots")
LOAD_INSTANCES: Final = _read("load_instances")
LOAD_SNAPSHOT: Final = _read("load_snapshot")
LOCK_HEAD: Final = _read("lock_head")
LOCK_INSTANCES: Final = _read("lock_instances")
MAKE_ROOM: Final = _read("make_room")
NEXT_TIMER: Final = _read("next_timer")
NOTIFY: Final = _read("notify")
OPEN_AUDIT: Final = _read("open_audit")
OUTBOX: Final = _read("outbox")
PARK: Final = _read("park")
PARKED: Final = _read("parked")
PARKED_EVENTS: Final = _read("parked_events")
PARK_EVENTS: Final = _read("park_events")
PAUSE_SUBSCRIPTION: Final = _read("pause_subscription")
PENDING: Final = _read("pending")
PENDING_OF: Final = _read("pending_of")
POSITION_AT: Final = _read("position_at")
PRUNE_AUDIT: Final = _read("prune_audit")
PRUNE_FENCES: Final = _read("prune_fences")
PRUNE_RECEIPTS: Final = _read("prune_receipts")
READ_CORRELATED: Final = _read("read_correlated")
READ_EVENTS: Final = _read("read_events")
READ_LOG: Final = _read("read_log")
READ_LOG_BACKWARD: Final = _read("read_log_backward")
READ_LOG_OF_STREAMS: Final = _read("read_log_of_streams")
READ_LOG_OF_STREAMS_BACKWARD: Final = _read("read_log_of_streams_backward")
READ_LOG_OF_TYPES: Final = _read("read_log_of_types")
READ_LOG_OF_TYPES_BACKWARD: Final = _read("read_log_of_types_backward")
READ_STREAM: Final = _read("read_stream")
READ_STREAMS: Final = _read("read_streams")
READ_STREAM_BACKWARD: Final = _read("read_stream_backward")
RECEIPTS: Final = _read("receipts")
REDEFINE_SUBSCRIPTION: Final = _read("redefine_subscription")
RELEASE_SLOTS: Final = _read("release_slots")
REMOVE_DEAD_MEMBERS: Final = _read("remove_dead_members")
REPORT: Final = _read("report")
RESET_SLOTS: Final = _read("reset_slots")
RUNNING_INSTANCES: Final = _read("running_instances")
RUNNING: Final = _read("running")
SAVE_INSTANCES: Final = _read("save_instances")
SAVE_SNAPSHOT: Final = _read("save_snapshot")
SETTLE: Final = _read("settle")
SET_TIMERS: Final = _read("set_timers")
SHARES: Final = _read("shares")
SLOTS: Final = _read("slots")
STORED_TYPES: Final = _read("stored_types")
STREAMS_BY_CHANGE: Final = _read("streams_by_change")
STREAMS_BY_CREATION: Final = _read("streams_by_creation")
STREAMS_BY_EVENTS: Final = _read("streams_by_events")
STREAMS_BY_NAME: Final = _read("streams_by_name")
STREAMS_BY_NAME_DESCENDING: Final = _read("streams_by_name_descending")
STREAM_INFO: Final = _read("stream_info")
SUBSCRIPTIONS: Final = _read("subscriptions")
TAKE_PLACE: Final = _read("take_place")
TAKE_SLOTS: Final = _read("take_slots")
TERMS: Final = _read("terms")
TIMERS: Final = _read("timers")
UNPARK_EVENT: Final = _read("unpark_event")
UNPARK_EVENTS: Final = _read("unpark_events")
VERSION_AT: Final = _read("version_at")
WITHDRAW_COMMANDS: Final = _read("withdraw_commands")
WITHDRAW_TIMERS: Final = _read("withdraw_timers")

FUNCTIONS: Final = {
    name: _read(name)
    for name in (
        "current_version",
        "meets_expectation",
        "append_events",
        "append_events_elsewhere",
        "delete_stream",
        "describe_stream",
    )
}
"""Created anew by every migration that finds other ones, so that they are those of the code that runs."""

SCHEMA: Final = _read("schema")
"""All of it as it is now, to be read; what runs are the migrations."""
