"""`onnxplain run`: explain pictures and save the results."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, print_error
from onnxplain.cli.flags import Given
from onnxplain.cli.job import IndexedRun, JobFlags, description, worker_threads
from onnxplain.cli.loading import method_options, open_outputs
from onnxplain.cli.notes import (
    Warnings,
    note_blank,
    note_choice,
    note_guess,
    note_model,
    noting_cost,
)
from onnxplain.cli.outcomes import report
from onnxplain.cli.pictures import find_job_inputs, gray
from onnxplain.cli.profiling import report_profile
from onnxplain.cli.texts import run_texts
from onnxplain.errors import BuiltGraphError, OnnxplainError, OptionError
from onnxplain.explainer import Explainer
from onnxplain.explainer.pipeline import WORKERS
from onnxplain.jobs.cluster import Workers, connected
from onnxplain.jobs.folder import JobFolder
from onnxplain.jobs.inputs import model_as_input
from onnxplain.jobs.job import LABEL, Finish, Job, Saving
from onnxplain.jobs.shards import Shard
from onnxplain.jobs.sources import Inputs
from onnxplain.jobs.summary import Summary
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.results.data import MapData
from onnxplain.runtime.batching import silent


def command(
    *,
    model: parameters.ModelPath,
    images: parameters.MaybeImages = None,
    method: parameters.MethodName = "auto",
    target: parameters.Targets = None,
    out: parameters.Out = parameters.DEFAULT_OUT,
    formats: parameters.MaybeFormats = None,
    colormap: parameters.Colormap = "inferno",
    recursive: parameters.Recursive = False,
    resume: parameters.Resume = None,
    retry_failed: parameters.RetryFailed = False,
    shard: parameters.ShardName = None,
    limit: parameters.Limit = None,
    workers: parameters.Workers = None,
    on: parameters.On = None,
    cpus_per_worker: parameters.WorkerCpus = 1,
    gpus_per_worker: parameters.WorkerGpus = 0,
    batch_size: parameters.BatchSize = None,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    verbose: parameters.Verbose = False,
    profile: parameters.Profile = False,
    quality: parameters.Quality = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> int:
    """Explain every picture and return the exit status.

    A picture that cannot be read or explained is reported, and the others go on; so is a target
    whose map shows nothing, and an output of several that cannot be explained.
    """
    console = Console(quiet=quiet, as_json=as_json, verbose=verbose)
    loading = loading | {"batch_size": batch_size, "profile": profile}
    if loading.get("text") and not images:
        if quality:
            raise OptionError("--quality is for pictures and arrays, not for texts.")
        return run_texts(
            model,
            method,
            target or parameters.TOP,
            out,
            formats,
            console,
            loading,
            preprocess,
            options,
        )
    wanted = parameters.DEFAULT_FORMATS if formats is None else formats
    saving = Saving(out, [name.strip() for name in wanted.split(",")], colormap)
    cluster = None if on is None else Workers.parse(on, workers, cpus_per_worker, gpus_per_worker)
    threads = WORKERS if workers is None or cluster is not None else worker_threads(workers)
    part = None if shard is None else Shard.parse(shard)
    flags = JobFlags(resume, retry_failed, part, limit, cluster)
    # What can be checked without the model is checked before it is loaded.
    makes_picture = method != AUTO and make_method(method, options).makes_picture
    starts_from_none = makes_picture and not images
    keeps_index = not starts_from_none and flags.keeps_index(images or [], saving)
    saving.check()
    if quality and (cluster is not None or not saving.file_formats):
        raise OptionError(
            "--quality is measured in this process and written to the files of explanations: leave "
            "out --on, and add a format such as json."
        )
    if quality and target == [LABEL]:
        raise OptionError(
            f"--quality needs one target for all pictures, and --target {LABEL} is one for each."
        )
    if starts_from_none:
        inputs = Inputs([model_as_input(model)])
    else:
        inputs = find_job_inputs(images or [], recursive)
    outputs = open_outputs(model, loading, preprocess, arrays)
    inputs = inputs if starts_from_none else inputs.each_sample(outputs[0])
    note_guess(outputs[0].origin, model, console)
    targets = target or parameters.TOP
    with contextlib.ExitStack() as stack:
        indexed = None
        if keeps_index:
            own = arrays | {"quality": quality or None}
            given = {"loading": loading, "arrays": own, "options": options}
            facts = description(outputs, method, targets, saving, flags, given)
            folder = stack.enter_context(JobFolder(out, facts, flags.shard))
            ray = None if cluster is None else stack.enter_context(connected(cluster.address))
            indexed = IndexedRun(folder, flags, Summary(), ray)
            inputs = indexed.named(inputs)
        run = _Run(console, method, inputs, indexed, quality)

        def explained(explainer: Explainer, of: str) -> int:
            explainer.workers = threads
            note_model(explainer, console)
            own = method_options(options, explainer)
            start = gray(explainer) if starts_from_none else None
            return run.explained(Job(explainer, method, targets, saving, own, start), of)

        status = _of_each(outputs, explained)
        if indexed is not None:
            # The work on a cluster is not counted here.
            work = {} if cluster is not None else outputs[0].spent.so_far()
            status = indexed.finish(work, console) or status
    report_profile(outputs[0], out, console)
    return status


def _of_each(outputs: Sequence[Explainer], explained: Callable[[Explainer, str], int]) -> int:
    """Explain each output, and return the exit status; an error of one of several is reported."""
    if len(outputs) == 1:
        return explained(outputs[0], "")
    status = 0
    for explainer in outputs:
        of = f"output {explainer.output}: "
        try:
            status = explained(explainer, of) or status
        except OnnxplainError as error:
            print_error(f"{of}{error}")
            status = error.exit_status
    return status


def _quality(job: Job) -> Finish:
    """Adds their quality to explanations."""
    from onnxplain.metrics.quality import QualityOf  # which few runs need

    method = job.explainer.configured(job.method, job.options)
    return QualityOf(job.explainer, method, job.targets).of


@dataclass(frozen=True, eq=False)
class _Run:
    """Runs jobs for the inputs of a command line, whose `method` may be "auto"."""

    console: Console
    method: str
    inputs: Inputs
    indexed: IndexedRun | None
    quality: bool

    def explained(self, job: Job, of: str) -> int:
        """Explain the inputs by the method that was asked for, and return the exit status."""
        explainer = job.explainer
        if self.method != AUTO:
            return self._by(job, of)
        try:
            return self._by(replace(job, method=self._default_method(explainer)), of)
        except BuiltGraphError:
            explainer.without_gradients()
            return self._by(replace(job, method=explainer.default_method()[0]), of)

    def _default_method(self, explainer: Explainer) -> str:
        """What "auto" means: the same as in earlier runs of the job."""
        chosen = explainer.default_method()[0]
        if self.indexed is None:
            return chosen
        return self.indexed.folder.method_for(explainer.output, chosen)

    def _by(self, job: Job, of: str) -> int:
        """Explain the inputs, report each, and return the exit status; errors begin with `of`."""
        console, indexed, output = self.console, self.indexed, job.explainer.output
        job = replace(job, finish=_quality(job)) if self.quality else job
        inputs = iter(self.inputs) if indexed is None else indexed.todo(self.inputs, output)
        total = self.inputs.total
        if indexed is not None and total is not None:
            # What is done is known before archives are read, so the bar can tell how many are left.
            listed = list(inputs)
            inputs, total = iter(listed), len(listed)
        first = next(inputs, None)
        if first is None:
            return 0
        inputs, several = itertools.chain([first], inputs), total != 1
        outcomes = job.run(inputs) if indexed is None else indexed.run(job, inputs)
        warnings, began = Warnings(console), time.perf_counter()
        with console.progress("pictures" if several else first.title) as progress:
            of_one = silent if several else progress
            job.explainer.on_progress(noting_cost(job.method, of_one, console))
            status, arrays, ways, done, failed = 0, False, dict[str, None](), 0, 0
            if several:
                progress(0, total)
            for done, outcome in enumerate(outcomes, start=1):
                own = report(outcome, warnings, console, of)
                status, failed = own or status, failed + bool(own)
                ways |= dict.fromkeys(_way(explanation) for explanation, _ in outcome.saved)
                arrays |= any(explanation.array for explanation, _ in outcome.saved)
                if several:
                    progress(done, total, failed)
        warnings.note_repeats()
        each = (time.perf_counter() - began) / done
        if ways:
            note_choice(self.method, job.explainer, console)
            note_blank(job.explainer, console)
        kind = "sample" if arrays else "picture"
        for way in ways:
            console.note(f"Ran on {way}, {each:.2g} s for each {kind}.")
        return status


def _way(explanation: MapData) -> str:
    """The provider that really ran, and how it took several samples."""
    provenance = explanation.provenance
    return ", ".join(filter(None, [provenance.provider, provenance.batching]))
