"""The default command: load a model, then complete a prompt or chat."""

import time
from dataclasses import replace
from typing import Any

import click

from .. import config
from ..gguf.file import GGUFFile
from ..model import Model, load
from ..text.chat import template_arguments
from ..text.named import template_text
from .answer import Answers, sampler_settings, stats_text
from .chat import Chat
from .chat_options import ChatOptions, thinking
from .conversation import ChatFormat, Conversation
from .kept_session import kept_session
from .model_paths import check_model, model_path
from .progress import Bar
from .prompt import Asked, asked, with_stdin
from .run_options import RunOptions
from .screen import Screen, lines, note
from .texts import file_text

N_PREDICT_BUNDLED = 256  # it never ends by itself: it was trained on whole files
INTERRUPTED = 130


def run(options: RunOptions) -> int:
    """The exit code; raises VkrunError, and click's UsageError for what does not fit together."""
    settings, wanted = sampler_settings(options), asked(options)
    form, template = chat_format(options.chat)
    _check_completes(options, wanted)
    path = model_path(wanted.model, options.hub, "vkrun MODEL.gguf")
    if wanted.on_stdin:
        check_model(path)  # before stdin, which may be long in coming
        wanted = replace(wanted, prompt=with_stdin(options, wanted.prompt))
    for name in config.unknown():
        note(f"{name} is none of vkrun's variables and does nothing")
    for line in options.without_effect if options.verbose else ():
        note(line)
    before = time.perf_counter()
    with Bar() as bar, open_model(options, path, bar) as model:
        answers = Answers(
            model, settings, _n_predict(options, wanted), options.ignore_eos, wanted.stops, options.grammar, bar
        )
        load_s = time.perf_counter() - before
        if template is not None:
            model.use_template(template)
        with kept_session(model, options.prompt_cache, options.prompt_cache_ro):
            if not _chats(options, wanted):
                return complete(answers, wanted.prompt or "", options, load_s)
            answers.hides_reasoning = options.chat.hides
            talk = Conversation(model, wanted.system, wanted.model is None and template is None, form)
            once = options.single_turn or (wanted.prompt is not None and not options.conversation)
            return Chat(answers, talk, load_s, options.stats).run(wanted.prompt, once)


def open_model(options: RunOptions, path: str, bar: Bar) -> Model:
    """The model, loaded with a bar on a terminal; says where it runs when that is no GPU or with -v."""
    n_ctx = _n_ctx_trained(path) if options.ctx_size == 0 else options.ctx_size
    kept: dict[str, Any] = {"cache_ram": options.cache_ram, "swa_full": options.swa_full, **options.cache_types}
    model = load(path, options.backend, options.device, n_ctx, opt=options.opt, progress=bar, **kept)
    bar.stop()
    _say_where(model, options)
    return model


def complete(answers: Answers, prompt: str, options: RunOptions, load_s: float) -> int:
    """Print the prompt and what follows it; 130 after Ctrl-C."""
    screen = Screen(prompt if options.display_prompt else "")
    ids = answers.model.tokenize(prompt)
    answers.answer(ids, screen)
    screen.end_line()
    if answers.timings.ended == "context":
        note(f"the context of {answers.model.info.n_ctx} tokens is full; a larger -c holds more")
    if options.stats:
        lines(stats_text(answers.timings, load_s, answers.total_s))
    return INTERRUPTED if answers.interrupted else 0


def _check_completes(options: RunOptions, wanted: Asked) -> None:
    """UsageError for what -no-cnv leaves no use for."""
    if options.conversation is not False:
        return
    if wanted.system is not None:
        raise click.UsageError("-sys and -no-cnv: a system message needs the chat format")
    if options.chat.asks:
        raise click.UsageError(f"{options.chat.asks} and -no-cnv: there is no chat format without a chat")
    if wanted.prompt is None and not wanted.on_stdin:
        raise click.UsageError("-no-cnv: no prompt; give one as a word, with -p or with -f")


def _chats(options: RunOptions, wanted: Asked) -> bool:
    if options.conversation is not None:
        return options.conversation
    return wanted.prompt is None or wanted.system is not None or options.single_turn or options.chat.asks is not None


def chat_format(options: ChatOptions) -> tuple[ChatFormat, str | None]:
    """How to chat, and the template in the place of the file's, if one was given; UsageError for what is none."""
    template = options.template
    if options.file is not None:
        template = file_text(options.file, "--chat-template-file")
    elif template is not None:
        template_text(template)
    wanted = {
        **thinking(options.budget, options.thinks, options.effort),
        **template_arguments(options.arguments or "{}"),
    }
    return ChatFormat(wanted, options.reasoning), template


def _n_predict(options: RunOptions, wanted: Asked) -> int | None:
    n = options.predict
    if n is None and wanted.model is None:
        return N_PREDICT_BUNDLED
    return None if n is None or n < 0 else n


def _n_ctx_trained(path: str) -> int:
    with GGUFFile.open(path) as f:
        return f.get_int(f"{f.get_str('general.architecture')}.context_length", lo=1)


def _say_where(model: Model, options: RunOptions) -> None:
    info = model.info
    if options.verbose:
        note(f"{info.name}: {info.architecture}, {info.n_params / 1e6:.1f} M parameters, {info.nbytes / 2**20:.1f} MiB")
        note(f"on {info.backend}: {info.device}, {info.driver}")
        note(f"memory: {info.needs}")
        if info.tuning:
            note(info.tuning)
        for line in info.notes:
            note(line)
    if info.shrunk:
        note(info.shrunk)
    if info.is_software:
        hint = "" if options.backend or options.device else "; no GPU was found, `vkrun devices` tells more"
        note(f"running on a software device: {info.device} ({info.backend}){hint}")
    if (options.ctx_size or 0) > info.n_ctx_train:
        note(f"a context of {info.n_ctx} tokens; the model was trained on {info.n_ctx_train}")
