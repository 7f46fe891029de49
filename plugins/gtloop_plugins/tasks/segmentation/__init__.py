"""Task ``segmentation``: a category for every pixel."""

from gtloop_plugins.tasks.segmentation.task import Segmentation

__all__ = ["Segmentation"]
