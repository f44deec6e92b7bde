"""`onnxplain serve`: predict and explain over HTTP."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.notes import (
    note_blank,
    note_choice,
    note_guess,
    note_model,
    note_random,
)
from onnxplain.cli.pictures import limit_decoding
from onnxplain.errors import OptionError
from onnxplain.methods.registry import AUTO, make_method

_PANEL = "Server"
_NEEDS = "fastapi", "uvicorn"


def _option(metavar: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        metavar=metavar, help=text, rich_help_panel=_PANEL
    )
    return found


def command(
    *,
    model: parameters.ModelPath,
    method: parameters.MethodName = "auto",
    target: parameters.Targets = None,
    host: Annotated[str, _option("ADDRESS", "Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, _option("NUMBER", "Port to listen on; 0 is any free one.")] = 8080,
    name: Annotated[
        str | None, _option("NAME", "Name of the model in addresses; by default that of its file.")
    ] = None,
    max_batch: Annotated[int, _option("COUNT", "Most instances that run in one call.")] = 32,
    max_body: Annotated[float, _option("MIB", "Largest request, in MiB.")] = 16,
    queue: Annotated[
        int, _option("COUNT", "Most instances that wait; with more, requests are refused.")
    ] = 128,
    timeout: Annotated[float, _option("SECONDS", "Longest time for a request.")] = 60,
    batch_size: parameters.BatchSize = None,
    quiet: parameters.Quiet = False,
    verbose: parameters.Verbose = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> int:
    """Serve until the process is told to end, and return the exit status.

    Raises:
        OptionError: the extra is not installed, or an option's value is no good.
        OnnxplainError: the model cannot be loaded, or the method cannot explain it.
    """
    if not all(map(find_spec, _NEEDS)):
        raise OptionError("`onnxplain serve` needs an extra: pip install 'onnxplain[serve]'.")
    from onnxplain.serve.engine import Engine
    from onnxplain.serve.server import Server, address, listen
    from onnxplain.serve.service import Service
    from onnxplain.serve.settings import Settings

    settings = Settings(
        name=model.stem if name is None else name,
        max_batch=max_batch,
        max_body=int(max_body * 2**20),
        queue=queue,
        timeout=timeout,
    )
    if target is not None and len(target) > 1:
        raise OptionError("A server explains one target by default: give --target only once.")
    if method != AUTO:
        make_method(method, options)
    limit_decoding()
    console = Console(quiet=quiet, as_json=False, verbose=verbose)
    with listen(host, port) as listening:
        explainer = open_model(model, loading | {"batch_size": batch_size}, preprocess, arrays)
        if explainer.reads_texts:
            raise OptionError(
                "`onnxplain serve` explains pictures and arrays, and this model reads texts: use "
                "`onnxplain run --text`."
            )
        note_guess(explainer.origin, model, console)
        note_model(explainer, console)
        note_choice(method, explainer, console)
        note_random(explainer, console)
        note_blank(explainer, console)
        configured = explainer.configured(method, method_options(options, explainer))
        first = (target or parameters.TOP)[0]
        engine = Engine(explainer, configured, first, max_batch)
        line = f"{settings.name}, {configured.name}: {address(listening)}"
        Server(Service(engine, settings), lambda: console.result(line)).run([listening])
    return 0
