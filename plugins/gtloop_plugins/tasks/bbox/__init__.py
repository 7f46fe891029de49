"""Task ``bbox``: every object of the declared categories, each with an axis-aligned box."""

from gtloop_plugins.tasks.bbox.task import BBox

__all__ = ["BBox"]
