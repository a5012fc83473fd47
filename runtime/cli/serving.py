"""From the command line of `vkrun serve` to a server that runs."""

import ssl
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from .. import config
from ..errors import UsageError, VkrunError, reason
from ..extras import brought_by
from ..model import BUNDLED
from ..text.chat import template_arguments
from ..text.sampler import SamplerSettings
from .chat_options import thinking
from .model_paths import check_model, model_path
from .screen import note
from .serve_options import ServeOptions
from .texts import file_text

N_CTX = 4096
N_SLOTS = 4
N_PREDICT_BUNDLED = 256  # it never ends by itself: it was trained on whole files
EXTRA = "vkrun serve needs packages that are not here ({}); {} brings them"


def run(given: ServeOptions) -> int:
    """Serve until a signal; 0 when all that ran had ended. VkrunError for what cannot be served."""
    server, options = _part("..server.http.run"), _part("..server.http.options")
    path = model_path(_named(given), given.hub, "vkrun serve MODEL.gguf")
    check_model(path)
    for name in config.unknown():
        note(f"{name} is none of vkrun's variables and does nothing")
    for line in given.without_effect if given.verbose else ():
        note(line)
    wanted = options.Options(
        host=given.host,
        port=given.port,
        keys=keys_of(given),
        hosts=given.allowed_host,
        origins=tuple(url for text in given.cors_origins for url in text.split(",") if url),
        slots=given.slots,
        metrics=given.metrics,
        page=given.webui,
        slot_save_path=_folder(given.slot_save_path),
        templates=given.allow_request_templates,
        template_arguments=_arguments(given),
        prefill=given.prefill_assistant,
        reasoning_format=given.reasoning_format,
        timeout_s=given.timeout,
        n_predict=_n_predict(given, path),
        settings=SamplerSettings(**given.sampling),
        certificate=_certificate(given),
        log=_logged if given.log else lambda _line: None,
    )
    return server.serve(_alias(given), wanted, _workers(given, path), _template(given), note)


def _part(name: str) -> Any:
    try:
        return import_module(name, __package__)
    except ImportError as error:
        if (error.name or "").startswith("vkrun"):
            raise
        raise VkrunError(EXTRA.format(error.name, brought_by("server"))) from None


def _named(given: ServeOptions) -> str | None:
    if given.word is not None and given.model is not None:
        raise click.UsageError(f"{given.word} and -m {given.model}: two models; name one")
    return given.word if given.model is None else given.model


def _alias(given: ServeOptions) -> str | None:
    return given.alias.split(",")[0].strip() or None if given.alias else None


def keys_of(given: ServeOptions) -> tuple[str, ...]:
    """The keys of both options. UsageError where one was given that holds none: all would be let in."""
    found: list[str] = []
    if given.api_key is not None:
        found += _keys("--api-key", given.api_key.split(","))
    if given.api_key_file is not None:
        found += _keys("--api-key-file", file_text(given.api_key_file, "--api-key-file").splitlines())
    return tuple(found)


def _keys(option: str, texts: list[str]) -> list[str]:
    made = [text.strip() for text in texts if text.strip()]
    if not made:
        raise UsageError(f"{option}: no key in it")
    if not all(key.isascii() and key.isprintable() for key in made):
        raise UsageError(f"{option}: a key with characters that no header carries")
    return made


def _folder(path: str | None) -> Path | None:
    if path is not None and not Path(path).is_dir():
        raise UsageError(f"--slot-save-path: {path} is no folder")
    return None if path is None else Path(path)


def _certificate(given: ServeOptions) -> tuple[str, str] | None:
    pair = given.ssl_cert_file, given.ssl_key_file
    if (pair[0] is None) != (pair[1] is None):
        raise UsageError("--ssl-cert-file and --ssl-key-file: one without the other")
    if pair[0] is None or pair[1] is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair[0], pair[1])
    except (OSError, ssl.SSLError) as error:
        why = "no certificate and key in PEM" if isinstance(error, ssl.SSLError) else reason(error)
        raise VkrunError(f"--ssl-cert-file {pair[0]}, --ssl-key-file {pair[1]}: {why}") from None
    return pair[0], pair[1]


def _template(given: ServeOptions) -> str | None:
    return (
        file_text(given.chat_template_file, "--chat-template-file")
        if given.chat_template_file is not None
        else given.chat_template
    )


def _n_predict(given: ServeOptions, path: str) -> int | None:
    if given.predict is None:
        return N_PREDICT_BUNDLED if path == str(BUNDLED) else None
    return None if given.predict < 0 else given.predict


def _arguments(given: ServeOptions) -> dict[str, Any]:
    made: Any = thinking(given.reasoning_budget, given.reasoning, given.reasoning_effort)
    return {**made, **template_arguments(given.chat_template_kwargs or "{}")}


def _workers(given: ServeOptions, path: str) -> Any:
    """llama-server's -c is of all slots together."""
    n_seqs = N_SLOTS if given.parallel < 1 else given.parallel
    shared = N_CTX * n_seqs if given.ctx_size is None else given.ctx_size
    return _part("..server.worker.options").WorkerOptions(
        path=path,
        backend=given.backend,
        device=given.device,
        n_ctx=max(1, shared // n_seqs) if shared else 0,
        n_seqs=n_seqs,
        opt=given.opt,
        n_replicas=given.replicas,
        cache_ram=given.cache_ram,
        swa_full=given.swa_full,
        **given.cache_types,
        max_queue=given.max_queue,
        max_queue_user=max(1, given.max_queue // 2),
        max_gap=given.max_gap,
    )


def _logged(line: str) -> None:
    note(f"{time.strftime('%H:%M:%S')} {line}")
