"""Annotator ``mturk``: people on Amazon Mechanical Turk (Requester API of 2017-01-17, through boto3)."""

from gtloop_plugins.annotators.mturk.annotator import Mturk

__all__ = ["Mturk"]
