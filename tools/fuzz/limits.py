"""Limits of a case."""

ADDRESSES = 12 << 30
"""Bytes of addresses of a process: what needs more fails, instead of filling the machine."""

RESIDENT = 4 << 30
"""Bytes of memory that a process may use."""

SECONDS = 60
"""Time of one case, with all that is checked of it."""
