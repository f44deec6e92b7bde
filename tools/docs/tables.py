"""Write the tables and diagrams of the documentation: `python -m tools.docs.tables [--check]`."""

from __future__ import annotations

import argparse
import inspect
import sys
from dataclasses import fields
from pathlib import Path

from onnxplain.cli.flags import method_flags
from onnxplain.methods.base import Method
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import METHODS
from onnxplain.metrics.metric import Metric
from onnxplain.metrics.registry import FAMILIES as FAMILIES_OF_METRICS
from tools.docs import graphs, operators
from tools.docs.families import FAMILIES
from tools.docs.limits import LIMITS

_ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.docs.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    missing = [name for name in METHODS if name not in LIMITS]
    if missing:
        sys.exit(f"Say in tools/docs/limits.py what {', '.join(missing)} does not explain.")
    stale = {}
    for page, blocks in PAGES.items():
        before = after = (_ROOT / page).read_text(encoding="utf-8")
        for name, write in blocks.items():
            after = replaced(after, name, write())
        if after != before:
            stale[page] = after
    if check and stale:
        sys.exit(f"{', '.join(stale)}: run `python -m tools.docs.tables`.")
    for page, text in stale.items():
        (_ROOT / page).write_text(text, encoding="utf-8")
        print(page)


def replaced(page: str, name: str, content: str) -> str:
    """The page with the text between the marks of `name` replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, rest = page.split(start)
    return head + start + content + end + rest.split(end, 1)[1]


def method_table() -> str:
    """One row for each method."""
    rows = ["| method | shows | forwards | reads | paper |", "| --- | --- | --- | --- | --- |"]
    for name, method in METHODS.items():
        cells = [f"`{name}`", method.summary, method.cost, _looks_at(method), method.paper]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _looks_at(method: type[Method]) -> str:
    return "a layer" if method.layers is not Method.layers else "the input"


def family_table() -> str:
    """One row for each family."""
    rows = ["| | methods |", "| --- | --- |"]
    rows += [
        f"| {family} | {', '.join(f'`{name}`' for name in names)} |"
        for family, names in FAMILIES.items()
    ]
    return "\n".join(rows) + "\n"


def definitions() -> str:
    """The docstring, cost, limits and options of each method."""
    return "\n".join(_definition(name, method) for name, method in METHODS.items())


def _definition(name: str, method: type[Method]) -> str:
    options = ", ".join(f"`{field.name}` ({field.default})" for field in fields(method))
    return f"""## {name}

{inspect.getdoc(method)}

- Looks at {_looks_at(method)}. Forwards: {method.cost}.
- Does not explain {LIMITS[name]}.
- Options and defaults: {options}.
"""


def option_table() -> str:
    """One row for each option that a method has, as the command line takes it."""
    rows = ["| option | | methods |", "| --- | --- | --- |"]
    for flag in method_flags():
        own = [f"`{method}`" for method, kind in METHODS.items() if flag.name in options_of(kind)]
        methods = "all" if len(own) == len(METHODS) else ", ".join(own)
        given = f"{', '.join(flag.default.param_decls)} {flag.default.metavar}".rstrip()
        rows.append(f"| `{given}` | {flag.default.help} | {methods} |")
    return "\n".join(rows) + "\n"


def metric_table() -> str:
    """One row for each metric, in its family."""
    rows = [
        "| family | metric | tells | good | cost | paper |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for family, metrics in FAMILIES_OF_METRICS.items():
        for metric in metrics:
            link = f"[`{metric.name}`](#{metric.name})"
            good = metric().better
            cells = [family, link, metric.summary, good, metric.cost, metric.paper]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def metric_definitions() -> str:
    """The docstring, options, and what misleads, of each metric."""
    return "\n".join(
        _metric_definition(metric) for family in FAMILIES_OF_METRICS.values() for metric in family
    )


def _metric_definition(metric: type[Metric]) -> str:
    own = [f"`{name}` ({value})" for name, value in metric().options().items()]
    return f"""### {metric.name}

{inspect.getdoc(metric)}

- It misleads: {metric.misleads}.
- Options and defaults: {", ".join(own) or "none"}.
"""


PAGES = {
    "README.md": {"methods": family_table},
    "docs/methods/reference.md": {"methods": method_table, "definitions": definitions},
    "docs/command-line.md": {"options": option_table},
    "docs/metrics.md": {"metrics": metric_table, "definitions": metric_definitions},
    "docs/development/gradients.md": {
        "before": graphs.before,
        "after": graphs.after,
        "written nodes": graphs.written_nodes,
        "passes": operators.pass_table,
    },
    "docs/operators.md": {
        "standard operators": operators.standard_table,
        "microsoft operators": operators.microsoft_table,
    },
}

if __name__ == "__main__":
    main()
