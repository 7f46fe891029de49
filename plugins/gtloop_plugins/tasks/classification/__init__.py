"""Task ``classification``: exactly one category for each image."""

from gtloop_plugins.tasks.classification.task import Classification

__all__ = ["Classification"]
