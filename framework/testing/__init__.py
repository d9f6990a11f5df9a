"""What makes a domain easy to test."""

from framework.testing.application import MemoryApplications, WatchedApplication, assert_correlated
from framework.testing.clock import ManualClock
from framework.testing.eventually import eventually
from framework.testing.scenario import given

__all__ = ["ManualClock", "MemoryApplications", "WatchedApplication", "assert_correlated", "eventually", "given"]
