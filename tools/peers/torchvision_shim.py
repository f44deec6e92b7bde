# mypy: disable-error-code="no-untyped-call"
"""Import torchvision's Python code together with a CPU build of torch.

PyPI's torchvision is built for CUDA. With a CPU build of torch its C++ library does not load, so
its operators are unknown, and `import torchvision` fails when it registers shapes for
them ("operator torchvision::nms does not exist"). Importing this module declares the operators that
torchvision/_meta_registrations.py names, without kernels; models and transforms need none of them.
If the library loads, nothing is declared.
"""

import importlib.util
import re
from pathlib import Path

import torch

_REGISTRATION = re.compile(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"')

# The library must be kept after the import: torch removes its operators with it.
_declared = torch.library.Library("torchvision", "FRAGMENT")


def declare_operators() -> list[str]:
    """Declare torchvision's operators if its own library cannot; the names declared."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    if any(_loads(library) for library in package.glob("_C.*")):
        return []
    source = (package / "_meta_registrations.py").read_text()
    names = [name for name in _REGISTRATION.findall(source) if not _exists(name)]
    for name in names:
        # The schema is never called; it is only needed so that the name exists.
        _declared.define(f"{name}(Tensor x) -> Tensor")
    return names


def _loads(library: Path) -> bool:
    try:
        torch.ops.load_library(library)
    except OSError:
        return False
    return True


def _exists(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)


declare_operators()
