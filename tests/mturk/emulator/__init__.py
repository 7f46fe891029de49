"""An emulator of MTurk's Requester API: real HTTP, real rules, its own books, and people who work on a virtual clock.

``python -m emulator`` serves it; ``emulator.client`` starts, kills and asks one.
"""
