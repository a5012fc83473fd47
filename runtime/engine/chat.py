"""ChatAnswer: what a model says in a chat, as it is made: content apart from reasoning and calls of tools."""

from collections.abc import Callable, Iterator

from ..text.answers.deltas import Answer, Content, Delta, answer_of, joined
from ..text.answers.parser import AnswerParser
from .generation import Generation
from .sequence import Timings


class ChatAnswer(Iterator[str]):
    """Pieces of the answer's content; deltas() has its reasoning and calls too. Any thread may stop() it.

    What is asked of it besides is as for a Generation.
    """

    def __init__(self, generation: Generation, parser: AnswerParser) -> None:
        self._generation, self._parser = generation, parser
        self._said: list[Delta] = []
        self._deltas = self._read()

    def __next__(self) -> str:
        return next(delta.text for delta in self._deltas if isinstance(delta, Content))

    def deltas(self) -> Iterator[Delta]:
        """Content, Reasoning, Call and Arguments as they come, from here on."""
        return self._deltas

    @property
    def answer(self) -> Answer:
        """What was said so far; `answer.message()` is the message for the next prompt."""
        self._said = joined(self._said)
        return answer_of(self._said)

    @property
    def timings(self) -> Timings:
        return self._generation.timings

    @property
    def ids(self) -> list[int]:
        return self._generation.ids

    def start(self) -> None:
        self._generation.start()

    def watch(self, on_read: Callable[[int], None]) -> None:
        self._generation.watch(on_read)

    def stop(self) -> None:
        self._generation.stop()

    def close(self) -> None:
        self._generation.close()

    def _read(self) -> Iterator[Delta]:
        for piece in self._generation:
            yield from self._told(self._parser.feed(piece))
        yield from self._told(self._parser.finish())

    def _told(self, deltas: list[Delta]) -> Iterator[Delta]:
        for delta in deltas:
            self._said.append(delta)
            yield delta
