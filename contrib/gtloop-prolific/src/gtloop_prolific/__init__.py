"""Annotator ``prolific``: people on Prolific, who label at gtloop's own page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    from gtloop.interfaces import Annotator


@gtloop.hookimpl
def gtloop_annotators() -> list[type[Annotator]]:
    from gtloop_prolific.annotator import Prolific

    return [Prolific]
