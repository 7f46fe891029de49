"""Executor ``ray``: real processes of Ray's, one instance of it for the whole session."""

from __future__ import annotations

from gtloop.testing import ExecutorContract
from gtloop_plugins.executors.ray import Ray


class TestRay(ExecutorContract):
    plugin = Ray
    options = {"min_actors": 2, "max_actors": 2}
