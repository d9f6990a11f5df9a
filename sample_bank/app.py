"""The bank as tools find it: `sample_bank.app:application`."""

from __future__ import annotations

import os
from typing import Final

from framework import Application
from framework.settings import Settings
from sample_bank.bank import SCHEMA, bank

LOCAL: Final = "postgresql:///bank"
"""Where it is unless the environment says otherwise; nothing is connected before it is opened."""


def application() -> Application:
    """Return the bank that the environment names."""
    settings = Settings.from_environment(os.environ)
    return bank(settings.dsn or LOCAL, schema=settings.schema or SCHEMA)
