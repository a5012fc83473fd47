"""JobStream: a job's events on their way to who reads them, of which few may wait."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ..jobs import Done, Event, Failed

HIGH, LOW = 256, 64  # unread events at which a job is held, and at which it goes on


class JobStream(AsyncIterator[Event]):
    """Ends after Done or Failed. aclose() cancels the job, wherever it is; whoever reads no further has to call it.

    hold(on): ask for no more events, or for more again. give_up(): called where nothing was read for `stall_seconds`
    while the stream was full. leave(): nobody reads any more.
    """

    def __init__(
        self,
        hold: Callable[[bool], None],
        give_up: Callable[[], None],
        leave: Callable[[], None],
        stall_seconds: float,
    ) -> None:
        self._hold, self._give_up, self._leave = hold, give_up, leave
        self._stall_seconds = stall_seconds
        self._unread: deque[Event] = deque()
        self._came = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None  # runs while the job is held
        self._is_over = self._is_closed = False

    @property
    def is_held(self) -> bool:
        """Has it more than anybody reads?"""
        return self._timer is not None

    def put(self, event: Event) -> None:
        """Nothing comes after Done or Failed."""
        if self._is_over or self._is_closed:
            return
        self._unread.append(event)
        self._came.set()
        if isinstance(event, Done | Failed):
            self._is_over = True
            self._go_on()
        elif len(self._unread) >= HIGH and not self._timer:
            self._hold(True)
            self._wait_for_reader()

    def fail(self, event: Failed) -> None:
        """In the place of what is unread."""
        self._unread.clear()
        self.put(event)

    async def __anext__(self) -> Event:
        while not self._unread:
            if self._is_over or self._is_closed:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        event = self._unread.popleft()
        if self._timer:
            self._wait_for_reader()
            if len(self._unread) <= LOW:
                self._go_on()
                self._hold(False)
        return event

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._go_on()
            self._unread.clear()
            self._came.set()
            if not self._is_over:
                self._leave()

    def _wait_for_reader(self) -> None:
        self._go_on()
        self._timer = asyncio.get_running_loop().call_later(self._stall_seconds, self._give_up)

    def _go_on(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
