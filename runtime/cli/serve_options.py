"""What `vkrun serve` was given, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .cache_options import default_cache_types
from .hub_options import FromHub


@dataclass(frozen=True)
class ServeOptions:
    """The command line as it was given; None is "not given"."""

    word: str | None = None
    model: str | None = None
    hub: FromHub = field(default_factory=FromHub)
    alias: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str | None = None
    api_key_file: str | None = None
    allowed_host: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    parallel: int = 4
    ctx_size: int | None = None
    predict: int | None = None
    replicas: int = 1
    timeout: float = 600.0
    cache_ram: int | None = None
    swa_full: bool = False
    cache_types: Mapping[str, str] = field(default_factory=default_cache_types)  # keywords of load()
    max_queue: int = 256
    max_gap: float | None = None
    slots: bool = True
    metrics: bool = False
    webui: bool = True
    slot_save_path: str | None = None
    chat_template: str | None = None
    chat_template_file: str | None = None
    chat_template_kwargs: str | None = None
    allow_request_templates: bool = False
    prefill_assistant: bool = True
    reasoning_format: str = "auto"
    reasoning_budget: str = "-1"
    reasoning: str = "auto"
    reasoning_effort: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    backend: str | None = None
    device: str | None = None
    opt: int = 3
    log: bool = True
    verbose: bool = False
    without_effect: tuple[str, ...] = ()
