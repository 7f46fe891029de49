"""Plugins that are broken in exactly one way, with the check that names the fault.

The first line of a class's docstring is its fault.
"""

from __future__ import annotations

from broken import annotators, common, detectors, executors, formats, observers, ranking, tasks
from broken.heavy import Heavy
from broken.row import Row

TABLE: list[Row] = [
    *common.ROWS,
    Row(Heavy, "check_import_is_light", "imports matplotlib"),
    *tasks.ROWS,
    *annotators.ROWS,
    *detectors.ROWS,
    *ranking.ROWS,
    *formats.ROWS,
    *executors.ROWS,
    *observers.ROWS,
]
