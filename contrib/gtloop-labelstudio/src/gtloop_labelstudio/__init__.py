"""The hooks of gtloop-labelstudio: an annotator over a Label Studio server, and its JSON as a label format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    from gtloop.interfaces import Annotator, Format


@gtloop.hookimpl
def gtloop_annotators() -> list[type[Annotator]]:
    """The classes; imported here, so that a listing of plugins stays quick."""
    from gtloop_labelstudio.annotator import LabelStudio

    return [LabelStudio]


@gtloop.hookimpl
def gtloop_formats() -> list[type[Format]]:
    """The classes; imported here, so that a listing of plugins stays quick."""
    from gtloop_labelstudio.format import LabelStudioFormat

    return [LabelStudioFormat]
