"""load() and Model: what a program that embeds vkrun sees."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Ids
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..backends import registry
from ..backends.base import Device, DeviceInfo
from ..backends.host_memory import host_nbytes_free
from . import tuning
from .arguments import DEFAULT_CACHE_TYPE, check_cache_types, check_range, stop_strings, token_ids, token_limit
from .engine.chat import ChatAnswer
from .engine.embedding import normalised, pooled
from .engine.engine import Engine, Foresight, Progress
from .engine.generation import Generation
from .engine.info import ModelInfo
from .engine.parked import Parked
from .engine.runner import Runner
from .engine.saved import Form
from .engine.scheduler import Scheduler
from .engine.sequence import Sequence, Timings
from .engine.service import Service
from .engine.slots import Slots
from .errors import UsageError
from .gguf.file import GGUFFile
from .gguf.identity import identity
from .gguf.keys import printable
from .models import Capacity, open_model
from .models.architecture import POOLINGS
from .opening import Fitted, fitted
from .text.base import Tokenizer
from .text.chat import ChatTemplate, check_arguments
from .text.constraints import Grammars
from .text.grammar import Grammar
from .text.messages import Message
from .text.sampler import SamplerSettings
from .text.tokenizer import need_tokenizer, tokenizer_from_gguf
from .version import VERSION

BUNDLED = Path(__file__).parent / "data" / "demo.gguf"
N_CTX, MAX_SEQS, MAX_UBATCH = 4096, 256, 1 << 20  # n_ctx where it fits
Prompt = str | Ids[int] | np.ndarray  # a text, or token ids
CACHE_RAM = 8192  # MiB


def load(
    path: str | os.PathLike[str],
    backend: str | None = None,
    device: str | int | None = None,
    n_ctx: int | None = None,
    n_seqs: int = 1,
    opt: int = 3,
    progress: Progress | None = None,
    cache_ram: int | None = None,
    n_ubatch: int | None = None,
    swa_full: bool = False,
    cache_type_k: str = DEFAULT_CACHE_TYPE,
    cache_type_v: str = DEFAULT_CACHE_TYPE,
    foresee: Callable[[Engine], Foresight] | None = None,
) -> "Model":
    """Load a GGUF model onto a device.

    backend, device: None for the best there is; a device by index, UUID or part of its name. n_ctx: tokens that each of
    n_seqs sequences may hold; None for 4096, or where memory is short for as many as fit, which the model's info says.
    opt: how lean the graph is made, 0 to 3. progress(what, done, total): of "loading" in bytes, and whenever a step of
    another size is made ready, of "compiling" in kernels; a total of 0 is not known yet. cache_ram: MiB of the host's
    memory for what sequences left and the device has no room for; 0 for none, -1 for no limit, None for 8192 but at
    most a quarter of what the host has free. n_ubatch: most tokens of a step, None for what suits the device. swa_full:
    caches of layers with a window hold all tokens, and not just those that a step can see, so that a prompt may go on
    from any beginning that it shares. cache_type_k, cache_type_v: what keys and values are kept as, "f32", "f16", up to
    65504, or "q8_0", of heads of 32 n; "auto": f16 where a GPU runs quantised weights, else f32. foresee: as Engine's.
    Raises GGUFError or ModelError for a bad file (before any device is touched), BackendError, UsageError, which
    includes a context that is too large for the device (before anything is uploaded).
    """
    _check(n_ctx, n_seqs, opt, n_ubatch, cache_type_k=cache_type_k, cache_type_v=cache_type_v)
    limit = _parked_limit(cache_ram)
    with GGUFFile.open(path) as f:
        room = Capacity(N_CTX if n_ctx is None else n_ctx, n_seqs)
        tokenizer = tokenizer_from_gguf(f.keys, open_model(f, room).params.n_vocab)
        found, info = registry.choose(backend, device)
        opened = found.open(info)
        try:
            tuned = _tuned(opened)
            fit = fitted(f, room, opened, opt, 0 if swa_full else n_ubatch, n_ctx is None, (cache_type_k, cache_type_v))
            engine = Engine(fit.model, opened, opt, progress, n_ubatch, foresee)
        except BaseException:
            opened.close()
            raise
        return Model(_described(f, fit, info, tuned), engine, tokenizer, dict(f.keys), limit, identity(f))


def _check(n_ctx: int | None, n_seqs: int, opt: int, n_ubatch: int | None, **cache_types: str) -> None:
    check_cache_types(**cache_types)
    check_range("n_ctx", N_CTX if n_ctx is None else n_ctx, 1, 1 << 24)
    check_range("n_seqs", n_seqs, 1, MAX_SEQS)
    check_range("opt", opt, 0, 3)
    check_range("n_ubatch", 1 if n_ubatch is None else n_ubatch, 1, MAX_UBATCH)


def _parked_limit(cache_ram: int | None) -> int | None:
    """Bytes of the host for what is parked, None for no limit."""
    if cache_ram is None:
        return min(CACHE_RAM << 20, host_nbytes_free() // 4)
    check_range("cache_ram", cache_ram, -1, 1 << 30)
    return None if cache_ram < 0 else cache_ram << 20


def _tuned(device: Device) -> str:
    """Choose its kernels as was measured on it, and say so."""
    found, said = tuning.load(tuning_key(device.info))
    device.tune(found)
    return said


def tuning_key(info: DeviceInfo) -> dict[str, str]:
    """Whose a kept tuning is."""
    return {"backend": info.backend, "device": info.name, "driver": info.driver, "version": VERSION}


def _described(f: GGUFFile, made: Fitted, info: DeviceInfo, tuned: str) -> ModelInfo:
    model = made.model
    return ModelInfo(
        architecture=model.name,
        kind=model_kind(f),
        name=printable(f.get_str("general.name", Path(f.path).stem)),
        path=f.path,
        n_params=sum(int(np.prod(t.shape)) for t in f.tensors.values()),
        nbytes=sum(t.nbytes for t in f.tensors.values()),
        n_layers=model.params.n_layers,
        n_vocab=model.params.n_vocab,
        n_ctx=model.capacity.n_ctx,
        n_ctx_train=model.params.n_ctx_train,
        n_seqs=model.capacity.n_caches,
        cache_types=model.capacity.cache_types,
        backend=info.backend,
        device=info.name,
        driver=info.driver,
        is_software=info.is_software,
        notes=model.notes,
        needs=made.needs,
        tuning=tuned,
        shrunk=made.shrunk,
    )


def model_kind(f: GGUFFile) -> str:
    """`qwen3next 14M Q8_0`: the architecture, the size as the file or else its parameters say, the commonest type."""
    nbytes: Counter[str] = Counter()
    for t in f.tensors.values():
        nbytes[t.dtype.name] += t.nbytes
    n_params = sum(int(np.prod(t.shape)) for t in f.tensors.values())
    counted = f"{n_params / 1e9:.0f}B" if n_params >= 1e9 else f"{n_params / 1e6:.0f}M"
    size = f.get_str("general.size_label", counted)
    (most, _), *_ = nbytes.most_common(1)
    return printable(f"{f.get_str('general.architecture')} {size} {most}", 60)


class Model:
    """A loaded model. A context manager. Threads may call it at once: their requests share the batch.

    `timings` is of the generation that was begun last.
    """

    def __init__(
        self,
        info: ModelInfo,
        engine: Engine,
        tokenizer: Tokenizer | None,
        keys: dict,
        limit: int | None = 0,
        name: str = "",
    ) -> None:
        """limit: bytes of the host for what is parked, None for no limit. name: what saved sessions know it by."""
        self.info, self.engine = info, engine
        self._tokenizer, self._keys = tokenizer, keys
        self._chat: ChatTemplate | None = None
        self.timings = Timings()
        model, runner = engine.model, Runner(engine)
        parked = Parked(runner, limit) if limit != 0 else None
        form = Form(name, info.n_vocab, model.capacity.n_ctx, *runner.widths) if name else None
        # for who drives it alone, in the place of generations
        self.scheduler = Scheduler(runner, Slots.of(model, parked), form)
        self._service = Service(self.scheduler, info.name)

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises TextError when the file has no tokenizer; token ids can still be evaluated."""
        return need_tokenizer(self._tokenizer)

    @property
    def chat_template(self) -> ChatTemplate:
        """The file's chat template, or a stand-in for it."""
        if self._chat is None:
            self._chat = ChatTemplate.from_gguf(self._keys, self.tokenizer)
        return self._chat

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self.tokenizer, self.engine.model.params.n_vocab)

    def tokenize(self, text: str, special: bool = True, bos: bool | None = None) -> list[int]:
        """Token ids. special: read control tokens written in the text; bos: None does as the model's file says."""
        return self.tokenizer.encode(text, special=special, bos=bos)

    def detokenize(self, ids: Ids[int], special: bool = False) -> str:
        return self.tokenizer.decode(ids, special=special)

    def logits(self, prompt: Prompt) -> np.ndarray:
        """float32 [n_tokens, n_vocab]: the logits after each token of a text or of ids, from an empty state. Of models
        for embeddings alone, which have none, the rows of their last layer, [n_tokens, width]."""
        ids = self._ids(prompt)
        with self._service.alone() as scheduler:
            return scheduler.logits(ids)

    def embed(self, texts: str | Iterable[Prompt], pooling: str | None = None, normalise: bool = True) -> np.ndarray:
        """float32 [n_texts, width]: an embedding of each text, by default of length 1.

        pooling: "mean" of the rows behind the last norm, that of the first token ("cls") or of the "last" one; None as
        the file says, else the mean, or of a model that generates text the last. Raises UsageError for a text that is
        empty or longer than the model reads at once.
        """
        own = self.engine.model
        pooling = pooling or own.pooling or ("last" if own.causal else "mean")
        if pooling not in POOLINGS.values():
            raise UsageError(f"pooling: {pooling!r:.40}, expected {', '.join(POOLINGS.values())}")
        many: list[Prompt] = [texts] if isinstance(texts, str) else list(texts)
        rows = [pooled(self._hidden(self._ids(text)), pooling) for text in many]
        made = np.array([normalised(row) if normalise else row for row in rows], np.float32)
        return made.reshape(len(rows), own.params.width)

    def _hidden(self, ids: list[int]) -> np.ndarray:
        """Rows behind the last norm, [n_tokens, width]."""
        most = self.engine.model.params.n_ctx_train
        if not self.engine.model.causal and len(ids) > most:
            raise UsageError(f"text: {len(ids)} tokens, but the model reads at most {most} at once")
        with self._service.alone() as scheduler:
            return scheduler.logits(ids, hidden=True)

    def generate(
        self,
        prompt: Prompt,
        max_tokens: int | None = None,
        temperature: float = SamplerSettings.temp,
        top_k: int = SamplerSettings.top_k,
        top_p: float = SamplerSettings.top_p,
        min_p: float = SamplerSettings.min_p,
        seed: int | None = None,
        stop: str | Iterable[str] | None = None,
        repeat_penalty: float = SamplerSettings.repeat_penalty,
        ignore_eos: bool = False,
        grammar: Grammar | None = None,
        shown: Iterable[str] = (),
    ) -> Generation:
        """Pieces of text that go on from a prompt, as they are made. temperature 0 takes the likeliest token.

        Ends at an end token, a stop string, max_tokens (None or -1: no limit), or when the context is full;
        `timings.ended` says which. generation.stop() ends it from any thread. grammar: what the text has to be, which
        also ends it; UsageError for one that means nothing or is too complex. shown: texts of control tokens that are
        part of the text here.
        """
        settings = SamplerSettings(temperature, top_k, top_p, min_p, repeat_penalty, seed=seed)
        stops = stop_strings(stop)
        return self.generate_from(self._ids(prompt), settings, max_tokens, stops, ignore_eos, grammar, shown)

    def chat(
        self,
        messages: Ids[Message],
        *,
        tools: Ids[Mapping[str, Any]] | None = None,
        template: str | None = None,
        variables: Mapping[str, Any] | None = None,
        reasoning: str = "auto",
        stop: str | Iterable[str] | None = None,
        **how: Any,
    ) -> ChatAnswer:
        """The answer to messages, `{"role": ..., "content": ...}` each, in the model's chat format.

        tools: in OpenAI's form; calls of them are among the answer's deltas(). template: by name or as Jinja text, in
        the place of the file's. variables: of the template, such as enable_thinking. reasoning: "none" leaves it in the
        content, "deepseek" and "auto" tell of it apart. The rest is as for generate().
        """
        chat = self._template(template)
        prompt = chat.prompt(self.tokenizer, messages, tools=tools, **check_arguments(variables or {}))
        parser = chat.answers.parser(tools, prompt.text, reasoning)
        stops = (*stop_strings(stop), *chat.stops)
        return ChatAnswer(self.generate(prompt.ids, stop=stops, shown=chat.answers.shown, **how), parser)

    def use_template(self, given: str) -> None:
        """Chat in another format from now on: a template's name, or its Jinja text. UsageError for no such name."""
        self._chat = self._template(given)

    def _template(self, given: str | None) -> ChatTemplate:
        own = self.chat_template
        if given is None:
            return own
        return replace(ChatTemplate.from_gguf(self._keys, self.tokenizer, given), process=own.process)

    def generate_batch(self, prompts: Iterable[Prompt], **how: Any) -> list[str]:
        """The texts that go on from several prompts, made side by side. The rest is as for generate()."""
        if isinstance(prompts, str | bytes):
            raise UsageError(f"prompts: {type(prompts).__name__}, expected several prompts")
        made = [self.generate(prompt, **how) for prompt in prompts]
        texts, left = [""] * len(made), list(enumerate(made))
        while left:
            active = left[: self.info.n_seqs]
            for _, generation in active:
                generation.start()
            for i, generation in active:
                piece = next(generation, None)
                texts[i] += piece or ""
                left = left if piece else [each for each in left if each[0] != i]
        return texts

    def generate_from(
        self,
        ids: list[int],
        settings: SamplerSettings,
        max_tokens: int | None = None,
        stops: Ids[str] = (),
        ignore_eos: bool = False,
        grammar: Grammar | None = None,
        shown: Iterable[str] = (),
    ) -> Generation:
        """generate() from token ids and ready-made settings."""
        self._service.check()
        sequence = self.sequence(ids, settings, max_tokens, ignore_eos, grammar=grammar)
        self.timings = sequence.timings
        return Generation(self._service, sequence, self.tokenizer, stops, shown)

    def sequence(
        self,
        ids: list[int],
        settings: SamplerSettings,
        max_tokens: int | None = None,
        ignore_eos: bool = False,
        n_logprobs: int | None = None,
        cache_prompt: bool = True,
        grammar: Grammar | None = None,
    ) -> Sequence:
        """A generation for `scheduler`, yet to join it. n_logprobs, cache_prompt: as Sequence's."""
        if not self.engine.model.causal:
            raise UsageError(f"{self.info.name}: {self.info.architecture} makes embeddings of texts, and no text")
        n_most, room = token_limit(max_tokens), self.info.n_ctx - len(ids) + 1
        if room < 1:
            raise UsageError(f"prompt: {len(ids)} tokens do not fit a context of {self.info.n_ctx} (n_ctx)")
        limit = room if n_most is None else min(n_most, room)
        return Sequence(
            ids,
            settings,
            limit,
            frozenset() if ignore_eos else self.tokenizer.eos_ids,
            self._message_ends(ids),
            "length" if limit == n_most else "context",
            n_logprobs,
            cache_prompt,
            constraint=self._grammars.constraint(grammar) if grammar else None,
        )

    def save_session(self, path: str | os.PathLike[str]) -> int:
        """Write the tokens of the sequence that ran last, with their keys and states, to a file: how many tokens.
        Another process that loads the same model may go on from there. Written whole or not at all; SessionError where
        it cannot be, UsageError where nothing ran yet."""
        with self._service.alone() as scheduler:
            return scheduler.save_slot(None, Path(path))

    def load_session(self, path: str | os.PathLike[str]) -> int:
        """Bring back what save_session() wrote: how many tokens a prompt that begins with them need not read again.
        SessionError for a file that is damaged, hostile or another model's."""
        with self._service.alone() as scheduler:
            return scheduler.restore_slot(None, Path(path))

    def close(self) -> None:
        """Give the device's memory back. Idempotent; a process that was forked off leaves it alone."""
        if self._service.close():
            self.engine.close()
            self.engine.device.close()
            if self._chat is not None:
                self._chat.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _ids(self, prompt: Prompt) -> list[int]:
        ids = self.tokenize(prompt) if isinstance(prompt, str) else prompt
        return token_ids("prompt", ids, self.engine.model.params.n_vocab)

    def _message_ends(self, ids: list[int]) -> list[int]:
        """Where a later prompt may part from this one: after the first message, and after the last ones."""
        ends = [i + 1 for i, token in enumerate(ids) if token in self.tokenizer.eos_ids]
        return list(dict.fromkeys([*ends[:1], *ends[-2:]]))
