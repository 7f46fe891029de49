"""The errors that gtloop shows, each one line that says what to do next.

GtloopError                     exit code 1
├── UsageError                  exit code 2: what was typed or configured is wrong
│   ├── UnknownName             no plugin of that name
│   ├── NameClash               a selected name is provided twice
│   ├── MissingExtra            the plugin is there, the library it needs is not
│   ├── Unsupported             plugins that do not fit together
│   ├── IncompatibleApi         a plugin written for another plugin API
│   └── ConfigError             gtloop.toml, -o or an option
├── SourceError                 images: nothing there, another source, too many unreadable
├── BadImage                    one unreadable image; becomes quarantine, never ends a run
├── BadLabels                   a truth, predictions or answers file
├── BadAnswer                   one answer that does not fit its form
├── NotEnoughData               a detector was given too little to fit
├── Unreachable                 the service of an annotator or an executor does not answer
├── RunError                    the run folder: missing, other version, changed, locked
└── PluginFault                 a plugin broke its contract
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class GtloopError(Exception):
    """Base of everything that gtloop reports in one line.

    Attributes:
        exit_code: What the command line exits with.
    """

    exit_code = 1


class UsageError(GtloopError):
    exit_code = 2


class UnknownName(UsageError):
    """No plugin of that name is installed."""


class NameClash(UsageError):
    """Two distributions provide the selected name."""


class MissingExtra(UsageError):
    """The plugin's library is not installed."""


class Unsupported(UsageError):
    """The selected plugins do not work together."""


class IncompatibleApi(UsageError):
    """The plugin was written for another version of the plugin API."""


class ConfigError(UsageError):
    """A configuration key or value is wrong."""


class SourceError(GtloopError):
    """The images can't be used as they are."""


class BadImage(GtloopError):
    """One image can't be read; the text is the reason that its quarantine carries."""


class BadLabels(GtloopError):
    """A file of labels can't be used."""


class BadAnswer(GtloopError):
    """An answer does not fit the form it answers."""


class NotEnoughData(GtloopError):
    """A detector was given too few examples to fit."""


class Unreachable(GtloopError):
    """The service of an annotator or an executor does not answer."""


class RunError(GtloopError):
    """The run folder can't be used."""


class Busy(RunError):
    """Another process drives the run."""


class PluginFault(GtloopError):
    """A plugin broke its contract; the text names the plugin and the fault."""


@contextmanager
def blame(kind: str, name: str, step: str) -> Iterator[None]:
    """Turn whatever a plugin raises in the block, gtloop's own errors excepted, into a ``PluginFault`` naming it."""
    try:
        yield
    except GtloopError:
        raise
    except Exception as e:
        text = " ".join(str(e).split())
        raise PluginFault(
            f"{kind} {name!r}: {step} raised {type(e).__name__}: {text}; see: gtloop plugins check {name}"
        ) from e
