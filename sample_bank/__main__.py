"""`python -m sample_bank demo`: the bank's main job, as a program."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from framework import FrameworkError, embedded
from framework.clock import new_id
from framework.errors import InvalidSetting
from framework.settings import Settings
from sample_bank.bank import SCHEMA, bank
from sample_bank.demo import demo
from sample_bank.work import NotSettledError, Plan

CONSERVED, NOT_CONSERVED, FAILED = 0, 1, 2
"""What the program ends with; `argparse` ends with the last where it was used wrongly."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what *arguments* ask for, and return the exit status."""
    try:
        settings = Settings.from_environment(os.environ)
    except InvalidSetting as error:
        print(f"sample_bank: {error}", file=sys.stderr)
        return FAILED
    parser = _parser(settings.schema or SCHEMA)
    options = parser.parse_args(arguments)
    _configure_logging(logging.DEBUG if options.verbose else logging.WARNING)
    try:
        plan = Plan(options.run or str(new_id()), options.accounts, options.transfers)
    except ValueError as error:
        parser.error(str(error.args[0]))
    try:
        is_conserved = asyncio.run(_demo(options, plan, settings.dsn))
    except NotSettledError as error:
        print(f"sample_bank: {error}", file=sys.stderr)
        return NOT_CONSERVED
    except FrameworkError as error:
        print(f"sample_bank: {error}", file=sys.stderr)
        return FAILED
    return CONSERVED if is_conserved else NOT_CONSERVED


async def _demo(options: argparse.Namespace, plan: Plan, given: str | None) -> bool:
    async with embedded.database(options.data, given=given) as dsn:
        application = bank(dsn, schema=options.schema)
        return await demo(application, dsn, plan, schema=options.schema, tamper=options.tamper, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)  # whoever reads along through a pipe sees how far it has come


def _parser(schema: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sample_bank", description="A bank on the framework.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser(
        "demo",
        help="open accounts, send money between them, and count it",
        description="Open accounts, send money between them, and count it."
        " The exit status is 0 if all of it is there, 1 if not, 2 if that cannot be said."
        " The database is the one that FRAMEWORK_DSN names, or one of its own in --data.",
    )
    verb.add_argument("--tamper", action="store_true", help="falsify one balance before the count")
    verb.add_argument("--accounts", type=int, default=10, metavar="N", help="how many to open (default: %(default)s)")
    verb.add_argument("--transfers", type=int, default=500, metavar="N", help="how many to send (default: %(default)s)")
    verb.add_argument("--run", default="", metavar="NAME", help="take up the run of this name; nothing is done twice")
    verb.add_argument(
        "--data", type=Path, default=Path(".bank"), metavar="FOLDER", help="for its own database (default: %(default)s)"
    )
    verb.add_argument("--schema", default=schema, metavar="NAME", help="for the log (default: %(default)s)")
    verb.add_argument("--verbose", action="store_true", help="log every command and every event to stderr")
    return parser


def _configure_logging(level: int) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
