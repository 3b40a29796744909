"""Many requests on one stream: served side by side, answered as they finish."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

IN_FLIGHT_LIMIT: Final = 128

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answers(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    limit: int = IN_FLIGHT_LIMIT,
) -> AsyncIterator[Response]:
    """Yield ``answer(request)`` for each request in the order in which they finish.

    At most ``limit`` requests are being served or wait for the caller to read their answer; further ones
    stay with the sender. ``answer`` must not raise. Closing the generator cancels what is unfinished.
    """
    finished: asyncio.Queue[Response | None] = asyncio.Queue()
    slots = asyncio.Semaphore(limit)

    async def serve(request: Request) -> None:
        finished.put_nowait(await answer(request))

    async def read() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    await slots.acquire()
                    group.create_task(serve(request))
        finally:
            finished.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (response := await finished.get()) is not None:
            yield response
            slots.release()
        await reader
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
