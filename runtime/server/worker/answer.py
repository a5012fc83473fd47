"""Answer: one job under way in a worker, from its sequence's tokens to what the job gives out."""

from ...engine.sequence import Sequence
from ...text.base import Tokenizer
from ...text.stream import Detokenizer, StopFinder
from ..jobs import Done, Event, Job, Likely, Progress, Reason, Timings, Token, Usage

REASONS: dict[str, Reason] = {
    "token": "stop",
    "stop": "stop",
    "length": "length",
    "context": "length",
    "stopped": "cancelled",
}


class Answer:
    """held: its reader lags, so that no more of it is given out and the sequence makes way for others."""

    def __init__(self, job: Job, sequence: Sequence, tokenizer: Tokenizer) -> None:
        self.job, self.sequence, self.held = job, sequence, False
        self._tokenizer = tokenizer
        self._detokenizer, self._finder = Detokenizer(tokenizer, shown=job.shown), StopFinder(job.stop)
        self._n_read = 0  # of the prompt, as was last told
        self._n_now = 0
        sequence.on_read = self._note

    def events(self) -> list[Event]:
        """What is new; the last one of all is Done."""
        made: list[Event] = []
        ended = self.sequence.ended  # before the tokens, since what is chosen last comes before the end
        if self._n_now > self._n_read:
            self._n_read = self._n_now
            timings = self.sequence.timings
            made.append(Progress(self._n_read, timings.n_cached, timings.n_prompt))
        if ended != "stopped":
            made += self._tokens()
        if self._finder.found:
            return [*made, self._done("stop")]
        if not ended or (self.sequence.out and ended != "stopped"):
            return made
        rest = self._finder.feed(self._detokenizer.flush()) + self._finder.flush()
        made += [Token(None, rest)] if rest and ended != "stopped" else []
        return [*made, self._done(REASONS[ended])]

    def _note(self, n_read: int) -> None:
        self._n_now = n_read

    def _tokens(self) -> list[Event]:
        made: list[Event] = []
        while self.sequence.out and not self._finder.found and not self.held:
            token = self.sequence.out.popleft()
            own, top = self._likely(token)
            made.append(Token(token, self._finder.feed(self._detokenizer.feed(token)), own, top))
        if self._finder.found:
            self.sequence.end("stop")
        return made

    def _likely(self, token: int) -> tuple[Likely | None, tuple[Likely, ...]]:
        if self.job.n_logprobs is None:
            return None, ()
        told = self.sequence.choice.logprobs.popleft()
        return self._named(token, told.own), tuple(self._named(i, p) for i, p in told.top)

    def _named(self, token: int, logprob: float) -> Likely:
        return Likely(token, self._tokenizer.token_bytes(token, special=True), logprob)

    def _done(self, reason: Reason) -> Done:
        s = self.sequence
        n_made = s.n_chosen - len(s.out) + (s.ended == "token")
        usage = Usage(s.timings.n_prompt, s.timings.n_cached, n_made)
        timings = Timings(0.0, s.timings.prompt_s, s.timings.generate_s)
        return Done(reason, usage, timings, self._finder.found or "")
