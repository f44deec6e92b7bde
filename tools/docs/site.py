"""A hook of mkdocs: files outside docs/ that pages link to are pages of the site, too.

Links are relative to the repository, so that they work when it is browsed. On the site, text files
become pages, and source files become pages that show the source.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_TEXTS = [_ROOT / "CONTRIBUTING.md", _ROOT / "CHANGELOG.md"]
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)(?=[)#])")
_SOURCE = "---\nsearch:\n  exclude: true\n---\n# {name}\n\n~~~~~~ {{.{language}}}\n{text}\n~~~~~~\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that pages link to, directly or through a text file."""
    found = [*_DOCS.rglob("*.md"), *_TEXTS]
    for path in found:
        if files.get_file_from_path(_uri(path)) is None:
            files.append(
                File.generated(
                    config, _uri(path), content=_content(path), inclusion=InclusionLevel.NOT_IN_NAV
                )
            )
        if path.suffix == ".md":
            found += [file for file in _linked(path) if file.is_file() and file not in found]
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page with its links changed to the paths that files have on the site."""
    uri = page.file.src_uri
    path = _DOCS / uri if (_DOCS / uri).is_file() else _ROOT / uri
    if not path.is_file():
        return markdown
    folder = Path(uri).parent
    return _LINK.sub(
        lambda link: Path(os.path.relpath(_uri(_target(path, link[1])), folder)).as_posix(),
        markdown,
    )


def _linked(path: Path) -> Iterator[Path]:
    for link in _LINK.findall(path.read_text(encoding="utf-8")):
        yield _target(path, link)


def _target(path: Path, link: str) -> Path:
    return (path.parent / link).resolve()


def _uri(path: Path) -> str:
    """Where a file is in the sources of the site."""
    if path.is_relative_to(_DOCS):
        return path.relative_to(_DOCS).as_posix()
    name = path.relative_to(_ROOT).as_posix()
    return name if path.suffix == ".md" else name + ".md"


def _content(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    name = path.relative_to(_ROOT).as_posix()
    return _SOURCE.format(name=name, language=path.suffix[1:] or "text", text=text)
