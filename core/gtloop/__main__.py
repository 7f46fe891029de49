"""``python -m gtloop``."""

from gtloop.cli import main

main()
