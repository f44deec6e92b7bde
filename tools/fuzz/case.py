"""A case: files, and the command lines that are tried on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GIVEN, BESIDE, OUT = "given", "beside", "out"
"""Folders of a case: what is given, the working folder, and the results."""


@dataclass(frozen=True)
class Case:
    """What is tried.

    Attributes:
        kind: "model", "picture" or "configuration".
        what: how it was made, in words.
        files: contents by path below the folder `given`.
        links: targets of symbolic links by path; they are made after the files.
        commands: arguments of `onnxplain`, with paths relative to the working folder.
        valid: whether the files are as they should be, so that a map is expected.
        facts: what the checks of maps need: see `maps`.
    """

    kind: str
    what: str
    files: Mapping[str, bytes]
    commands: Sequence[Sequence[str]]
    links: Mapping[str, str] = field(default_factory=dict)
    pipes: Sequence[str] = ()
    valid: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the files and a description, from which `read` makes the same case."""
        given = folder / GIVEN
        for name, content in self.files.items():
            path = given / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        described = {
            "kind": self.kind,
            "what": self.what,
            "files": list(self.files),
            "commands": self.commands,
            "links": self.links,
            "pipes": self.pipes,
            "valid": self.valid,
            "facts": self.facts,
        }
        (folder / "case.json").write_text(json.dumps(described, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Case:
        """The case that was written to a folder."""
        described = json.loads((folder / "case.json").read_text())
        described["files"] = {
            name: (folder / GIVEN / name).read_bytes() for name in described["files"]
        }
        return cls(**described)
