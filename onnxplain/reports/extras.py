"""Packages of the extra `report`."""

from __future__ import annotations

from functools import partial

from onnxplain.jobs import extras

needed = partial(extras.needed, purpose="A report", extra="report")
"""A module of one of these packages; OptionError if it is not installed."""

needed_for_concepts = partial(extras.needed, purpose="Finding concepts", extra="report")
"""The same, where concepts are found."""
