"""Ports for servers that listen later, or again after a kill."""

from __future__ import annotations

import socket

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody else gets as long as this process lives.

    It stays bound here, and nobody listens. A server may still listen there if it sets ``SO_REUSEADDR``, as all do that
    are tested.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return int(held.getsockname()[1])
