"""A part of a job's inputs, for jobs that run in several processes or on several machines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxplain.errors import OptionError


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the inputs of a job; `number` counts from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "3/16", the third of sixteen parts.

        Raises:
            OptionError: it is no such text.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise OptionError(f"--shard takes NUMBER/COUNT, such as 3/16, not {text!r}.")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """The part of file names that tells the shard."""
        return f"{self.number}-of-{self.count}"

    def holds(self, index: int) -> bool:
        """Whether the input with this index, from 0, belongs to the part."""
        return index % self.count == self.number - 1
