"""Generation: text that goes on from a prompt, as it is made."""

from collections.abc import Callable, Iterable, Iterator

from ..text.base import Tokenizer
from ..text.stream import Detokenizer, StopFinder
from .sequence import Sequence
from .service import Service


class Generation(Iterator[str]):
    """Pieces of text: whole characters only, cut before the first stop string. Any thread may stop() it.

    shown: texts of control tokens that are text here. `ids`: the tokens so far; `timings`: of this generation, whose
    `ended` says why it is over.
    """

    def __init__(
        self,
        service: Service,
        sequence: Sequence,
        tokenizer: Tokenizer,
        stops: Iterable[str],
        shown: Iterable[str] = (),
    ) -> None:
        self.timings = sequence.timings
        self.ids: list[int] = []
        self._service, self._sequence = service, sequence
        self._detokenizer, self._finder = Detokenizer(tokenizer, shown=shown), StopFinder(stops)
        self._started = self._over = False

    def start(self) -> None:
        """Let it run beside others from now on, and not only from the first piece that is asked for."""
        if not self._started:
            self._started = True
            self._service.join(self._sequence)

    def __next__(self) -> str:
        self.start()
        piece = ""
        while not piece and not self._over:
            piece = self._next_piece()
        if not piece:
            raise StopIteration
        return piece

    def watch(self, on_read: Callable[[int], None]) -> None:
        """Tell how many of the prompt's tokens are read, after each step that reads some, in the thread that took it.

        To be called before the first piece is asked for.
        """
        self._sequence.on_read = on_read

    def stop(self) -> None:
        """End it: no piece follows but the one that is being made."""
        self._sequence.end("stopped")

    def close(self) -> None:
        """stop(), under the name that generators have."""
        self.stop()

    def __del__(self) -> None:
        if hasattr(self, "_sequence"):
            self.stop()  # nobody is left to read it

    def _next_piece(self) -> str:
        token = self._service.next(self._sequence)
        if token is None:
            self._over = True
            return self._finder.feed(self._detokenizer.flush()) + self._finder.flush()
        self.ids.append(token)
        self.timings.n_generated += 1
        piece = self._finder.feed(self._detokenizer.feed(token))
        if self._finder.found:
            self._over = True
            self._sequence.end("stop")
            self.timings.ended = "stop"
        return piece
