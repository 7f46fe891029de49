"""Debian's Chromium, as tests start it."""

from __future__ import annotations

import os
import shutil

CHROMIUM = os.environ.get("GTLOOP_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
