"""The limits of a server, and the name of its model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxplain.errors import OptionError

_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server allows.

    Attributes:
        name: the name of the model in addresses.
        max_batch: most instances that are explained in one call.
        max_body: most bytes of a request.
        queue: most instances that wait, and most instances of one request.
        timeout: seconds after which a request that is not answered is refused.

    Raises:
        OptionError: the name does not fit in an address, or a number is not positive.
    """

    name: str
    max_batch: int = 32
    max_body: int = 16 * 2**20
    queue: int = 128
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise OptionError(
                f"The name {self.name!r} does not fit in an address: give one of letters, digits, "
                "dots and dashes with --name."
            )
        for flag in ("max_batch", "max_body", "queue", "timeout"):
            if not getattr(self, flag) > 0:
                raise OptionError(
                    f"--{flag.replace('_', '-')} must be positive, and is {getattr(self, flag)}."
                )
