"""The command line, one module for each group of verbs.

A verb exits with 0 when it has done what it was asked to, with 1 when it has found something to look at, and with 2
when it was used wrongly or could not do its work, which it says in a sentence on stderr.
"""

from __future__ import annotations

import click

from framework.cli.audit import audit
from framework.cli.db import db
from framework.cli.lag import lag
from framework.cli.parked import parked
from framework.cli.processes import processes, timers
from framework.cli.schema import schema
from framework.cli.subscriptions import subscriptions


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look after the event stores of applications."""


main.add_command(db)
subscriptions.add_command(lag)
main.add_command(subscriptions)
main.add_command(parked)
main.add_command(processes)
main.add_command(timers)
main.add_command(audit)
main.add_command(schema)
