"""The way of a request: admission, body, work in the queue, and the answer, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from onnxplain.serve import json_text
from onnxplain.serve.calls import Call, Reader
from onnxplain.serve.engine import Engine
from onnxplain.serve.metrics import Metrics
from onnxplain.serve.refusals import RefusedError, busy
from onnxplain.serve.settings import Settings
from onnxplain.serve.worker import Worker

_PARSERS = 2
"""Threads that read and write JSON: lists of numbers take many times the memory of their text."""

_PATIENCE = 1.0
"""Seconds that the end waits for a call of the model whose requests have timed out."""


class ClientGoneError(Exception):
    """The client has closed its connection before the answer."""


@dataclass(frozen=True, eq=False)
class Incoming:
    """A request as it arrives.

    Attributes:
        body: its body, in pieces.
        length: the size of the body, if it is declared.
        gone: returns when the client has closed the connection; called after the body.
    """

    body: AsyncIterator[bytes]
    length: int | None
    gone: Callable[[], Awaitable[None]]


class Service:
    """Answers requests with one engine.

    Attributes:
        is_open: whether new requests are taken; False once it is told to end.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.metrics = Metrics()
        self.is_open = True
        most = settings.max_batch if engine.in_batches else 1
        self._worker = Worker(engine.run, most, settings.queue, self.metrics.note_batch)
        self._parsers = ThreadPoolExecutor(_PARSERS, thread_name_prefix="serve-json")
        self._in_hand = 0
        self._at_rest: Callable[[], None] | None = None
        self._most_in_hand = settings.queue + settings.max_batch
        self.metrics.waiting = lambda: self._worker.waiting
        self.metrics.in_hand = lambda: self._in_hand

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the context is open."""
        self._worker.start()
        try:
            yield
        finally:
            self._worker.close(_PATIENCE)
            self._parsers.shutdown(wait=False, cancel_futures=True)

    def close(self, at_rest: Callable[[], None]) -> None:
        """Take no more requests, and call `at_rest` when all are answered; in the loop's thread."""
        self.is_open = False
        self._at_rest = at_rest
        self._rest()

    def _rest(self) -> None:
        if self._at_rest is not None and not self._in_hand:
            self._at_rest()

    async def answer(self, read: Reader, incoming: Incoming) -> str:
        """The answer to a request, as JSON.

        Raises:
            RefusedError: see its message.
            ClientGoneError: nobody waits for the answer any more.
        """
        if not self.is_open:
            raise busy("The server is about to end: send the request to another one.")
        if self._in_hand >= self._most_in_hand:
            raise busy(f"{self._in_hand} requests are in hand, so try again later.")
        self._in_hand += 1
        end = asyncio.get_running_loop().time() + self.settings.timeout
        try:
            return await self._answered(read, incoming, end)
        finally:
            self._in_hand -= 1
            self._rest()

    async def _answered(self, read: Reader, incoming: Incoming, end: float) -> str:
        limit = f"{self.settings.timeout:g} seconds (--timeout)"
        try:
            async with asyncio.timeout_at(end):
                data = await self._whole(incoming)
        except TimeoutError:
            raise RefusedError(408, f"The body did not arrive within {limit}.") from None
        work = asyncio.ensure_future(self._worked(read, data))
        gone = asyncio.ensure_future(incoming.gone())
        left = end - asyncio.get_running_loop().time()
        try:
            await asyncio.wait({work, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientGoneError
        finally:  # what waits in the queue is canceled too
            work.cancel()
            gone.cancel()
        raise busy(
            f"The request took longer than {limit}: send fewer instances, or try again later."
        )

    async def _worked(self, read: Reader, data: bytes) -> str:
        loop = asyncio.get_running_loop()

        def call() -> Call:
            return read(json_text.parse(data), self.engine, self.settings)

        asked = await loop.run_in_executor(self._parsers, call)
        futures = self._worker.submit(asked.works)
        outcomes = await asyncio.gather(*map(asyncio.wrap_future, futures))

        def text() -> str:
            return json_text.write(asked.answer(outcomes))

        return await loop.run_in_executor(self._parsers, text)

    async def _whole(self, incoming: Incoming) -> bytes:
        most, pieces, size = self.settings.max_body, list[bytes](), incoming.length or 0
        if size <= most:
            size = 0
            async for piece in incoming.body:
                size += len(piece)
                if size > most:
                    break
                pieces.append(piece)
        if size > most:
            raise RefusedError(
                413,
                f"The request is larger than {most / 2**20:g} MiB (--max-body): send fewer or "
                "smaller instances.",
            )
        return b"".join(pieces)
