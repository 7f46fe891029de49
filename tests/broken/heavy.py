"""A module that imports a heavy library when it is imported."""

import matplotlib

from gtloop_plugins.samplers.random import Random


class Heavy(Random):
    """Imports a heavy library at module level."""

    version = matplotlib.__version__
