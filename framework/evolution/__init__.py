"""How events that were stored years ago are the events of today."""

from framework.evolution.declared import event_type, stored_name
from framework.evolution.types import EventTypes
from framework.evolution.upcaster import Upcast, Upcaster

__all__ = ["EventTypes", "Upcast", "Upcaster", "event_type", "stored_name"]
