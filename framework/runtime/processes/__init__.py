"""Process managers over a subscription: events change instances and fill an outbox, a relay sends what is in it.

State, commands and the place in the log are one transaction, so a crash finds either all of an event or nothing of it.
The relay sends under ids derived from what a command was yielded for; with receipts, a command sent again after a crash
gets the answer it got before.
"""

from framework.runtime.processes.declared import ProcessType
from framework.runtime.processes.errands import Errands
from framework.runtime.processes.relay import Bell, Owner, Relay, Relayed, Send
from framework.runtime.processes.sink import ProcessSink, on_error
from framework.runtime.processes.yielded import Source

__all__ = [
    "Bell",
    "Errands",
    "Owner",
    "ProcessSink",
    "ProcessType",
    "Relay",
    "Relayed",
    "Send",
    "Source",
    "on_error",
]
