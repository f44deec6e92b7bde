"""Proofs that the gradients are right: on ONNX's own test cases, on exports, on shipped models.

Nothing here is installed; the peers and the check by finite differences are those of the tests.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
