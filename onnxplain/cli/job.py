"""The job of a command line: when `run` keeps an index, and what it says about it at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from types import ModuleType
from typing import Any

from onnxplain.cli.console import Console
from onnxplain.cli.flags import Given
from onnxplain.counts import counted
from onnxplain.errors import OptionError, PictureError
from onnxplain.explainer import Explainer
from onnxplain.jobs.cluster import Workers, computed_on
from onnxplain.jobs.description import describe
from onnxplain.jobs.folder import JobFolder
from onnxplain.jobs.inputs import InputImage
from onnxplain.jobs.job import Job, Outcome, Saving
from onnxplain.jobs.shards import Shard
from onnxplain.jobs.sources import Inputs, names_a_set
from onnxplain.jobs.summary import Summary

_WHERE_IT_RUNS = frozenset(
    {"provider", "provider_option", "threads", "batch_size", "profile", "output"}
)
"""Flags of the model that do not change its results, or that a description holds besides."""


@dataclass(frozen=True)
class JobFlags:
    """The flags of `run` for many pictures."""

    resume: bool | None
    retry_failed: bool
    shard: Shard | None
    limit: int | None
    cluster: Workers | None

    def keeps_index(self, images: Sequence[str], saving: Saving) -> bool:
        """Whether a run keeps an index, and goes on with what is in the folder.

        It does where pictures are not listed one by one, and where a flag asks for it. Single
        pictures may be explained by several methods into one folder, and again.

        Raises:
            OptionError: `--no-resume` was given with a flag that needs the index.
        """
        needs = {
            "--retry-failed": self.retry_failed,
            "--shard": self.shard is not None,
            "--limit": self.limit is not None,
            "--on": self.cluster is not None,
            "--format map16": saving.keeps_maps,
        }
        needed = next((flag for flag, given in needs.items() if given), None)
        if self.resume is False and needed:
            raise OptionError(f"{needed} needs the index: leave out --no-resume.")
        if self.resume is None:
            return needed is not None or any(map(names_a_set, images))
        return self.resume


@dataclass(frozen=True, eq=False)
class IndexedRun:
    """Runs jobs whose records go to the index of a folder."""

    folder: JobFolder
    flags: JobFlags
    summary: Summary
    ray: ModuleType | None

    def named(self, inputs: Inputs) -> Inputs:
        """The inputs of the shard, with the ids that they have in the index."""
        own = inputs.share(self.flags.shard)
        return replace(own, files=self.folder.named(own.files))

    def todo(self, inputs: Inputs, output: str | None) -> Iterator[InputImage]:
        """The inputs that are not done, up to the limit."""
        rest = self.folder.todo(inputs, output, self.flags.retry_failed)
        return islice(rest, self.flags.limit)

    def run(self, job: Job, inputs: Iterable[InputImage]) -> Iterator[Outcome]:
        """Explain inputs, record their outcomes, and count them."""
        output = job.explainer.output
        saving = replace(job.saving, unfinished=self.folder.unfinished)
        self.folder.note_method(output, job.method)
        own = replace(job, saving=saving)
        if self.ray is None or self.flags.cluster is None:
            outcomes = own.run(inputs)
        else:
            outcomes = own.saved(computed_on(self.ray, self.flags.cluster, own, inputs))
        with closing(outcomes):
            for outcome in self.folder.recorded(outcomes, output):
                self.summary.add(outcome)
                yield outcome

    def finish(self, work: Mapping[str, float], console: Console) -> int:
        """Write the table, say what was done, and return 2 if inputs failed before."""
        self.folder.finish()
        skipped = self.folder.skipped
        if skipped.done:
            console.note(
                f"Note: {counted(skipped.done, 'input')} had results in {self.folder.path} and "
                "were not explained again."
            )
        if skipped.failed:
            console.note(
                f"Note: {counted(skipped.failed, 'input')} failed before; --retry-failed tries "
                "them again."
            )
        for sentence in self.summary.sentences(skipped.done + skipped.failed, work):
            console.note(sentence)
        return PictureError.exit_status if skipped.failed else 0


def worker_threads(text: str) -> int:
    """The number of threads that `--workers` asks for.

    Raises:
        OptionError: it is no number above 0.
    """
    if not re.fullmatch(r"0*[1-9][0-9]{0,4}", text):
        raise OptionError(f"--workers takes a number without --on ray, not {text!r}.")
    return int(text)


def description(
    explainers: Sequence[Explainer],
    method: str,
    targets: Sequence[str],
    saving: Saving,
    flags: JobFlags,
    given: Mapping[str, Given],
) -> dict[str, Any]:
    """The facts of the job that a command line asks for.

    `given` are its flags by table: "loading", "arrays" and "options".
    """
    settings = {k: v for k, v in given["loading"].items() if k not in _WHERE_IT_RUNS}
    return describe(
        explainers,
        method=method,
        options=given["options"],
        targets=targets,
        settings={k: v for k, v in {**settings, **given["arrays"]}.items() if v is not None},
        formats=saving.formats,
        colormap=saving.colormap,
        shards=None if flags.shard is None else flags.shard.count,
    )
