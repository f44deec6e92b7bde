"""Which provider ran each node, and for how long, as ONNX Runtime itself has measured it."""

from __future__ import annotations

import json
import re
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@dataclass(frozen=True)
class NodeTime:
    """The runs of a node of one session. `milliseconds` is their sum.

    A provider that compiles parts of a model runs each part as one node.
    """

    session: int
    node: str
    operator: str
    provider: str
    runs: int
    milliseconds: float


@dataclass(frozen=True)
class ProviderShare:
    """What a provider ran.

    Attributes:
        provider: its name.
        nodes: of the models, in all sessions, also those in parts that it has compiled.
        milliseconds: the sum of the runs of its nodes.
        share_of_nodes: of all nodes.
        share_of_time: of the time of all nodes.
    """

    provider: str
    nodes: int
    milliseconds: float
    share_of_nodes: float
    share_of_time: float


@dataclass(frozen=True)
class Profile:
    """The time of each node, the longest first. Parallel runs count as if they were sequential.

    `assigned` are the numbers of nodes of the models that each provider has taken; empty if ONNX
    Runtime does not say it.
    """

    nodes: tuple[NodeTime, ...]
    assigned: Mapping[str, int]

    @property
    def providers(self) -> list[ProviderShare]:
        """What each provider ran, the longest first."""
        times = defaultdict[str, float](float)
        for node in self.nodes:
            times[node.provider] += node.milliseconds
        counts = self.assigned or Counter(node.provider for node in self.nodes)
        all_nodes, whole = sum(counts.values()) or 1, sum(times.values()) or 1.0
        found = [
            ProviderShare(
                provider=name,
                nodes=counts.get(name, 0),
                milliseconds=times[name],
                share_of_nodes=counts.get(name, 0) / all_nodes,
                share_of_time=times[name] / whole,
            )
            for name in {**counts, **times}
        ]
        return sorted(found, key=lambda share: -share.milliseconds)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "providers": [asdict(share) for share in self.providers],
            "nodes": [asdict(node) for node in self.nodes],
        }


class Profiler:
    """Collects the profiles of sessions, which ONNX Runtime writes when they are closed."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="onnxplain-profile-")
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._count = 0
        self._assigned = Counter[str]()

    def prepare(self, options: Any) -> None:
        """Set the options of the next session so that it measures."""
        with self._lock:
            self._count += 1
            name = str(self._count)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / name)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")

    def watch(self, session: Any) -> None:
        """Ask an open session for its profile, later."""
        self._open.add(session)
        if hasattr(session, "get_provider_graph_assignment_info"):
            with self._lock:
                for part in session.get_provider_graph_assignment_info():
                    self._assigned[part.ep_name] += len(part.get_nodes())

    def finish(self) -> Profile:
        """The profile so far. Sessions that are open are not measured from now on."""
        for session in list(self._open):
            session.end_profiling()
            self._open.discard(session)
        found = defaultdict[tuple[int, str, str, str], list[int]](list)
        for path in sorted(Path(self._folder.name).glob("*.json")):
            session = int(path.name.partition("_")[0])
            for name, operator, provider, microseconds in _node_runs(path):
                found[session, name, operator, provider].append(microseconds)
        nodes = [NodeTime(*key, len(each), sum(each) / 1000) for key, each in found.items()]
        longest = sorted(nodes, key=lambda node: -node.milliseconds)
        return Profile(tuple(longest), dict(self._assigned))


def _node_runs(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """The node, its operator, its provider and the microseconds of each run in a file.

    The file is not always JSON: ONNX Runtime 1.20 writes the names of nodes as they are.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        for event in _events(lines):
            if found := _RUN.match(event):
                microseconds, name, facts = found.groups()
                operator, provider = (_FACT[key].search(facts) for key in ("op_name", "provider"))
                if operator and provider:
                    yield _unescaped(name), operator[1], provider[1], int(microseconds)


_START = '{"cat"'
_RUN = re.compile(
    r'\{"cat" ?: ?"Node",.*?"dur" ?: ?(\d+),.*?"name" ?: ?"(.*)_kernel_time", ?"args" ?: ?\{(.*)',
    re.DOTALL,
)
_FACT = {key: re.compile(rf'"{key}" ?: ?"([^"]*)"') for key in ("op_name", "provider")}


def _events(lines: Iterable[str]) -> Iterator[str]:
    """The events, each of which starts a line; one with a line break in a name has several."""
    event = ""
    for line in lines:
        if line.startswith(_START):
            yield event
            event = ""
        event += line
    yield event


def _unescaped(name: str) -> str:
    try:
        return str(json.loads(f'"{name}"'))
    except ValueError:
        return name
