"""What the command line asks of the server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...text.sampler import SamplerSettings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
ANYWHERE = frozenset({"0.0.0.0", "::"})
# paths without a key: a page that holds nothing, a word whether it works
OPEN = frozenset({"/", "/health", "/v1/health"})


@dataclass(frozen=True)
class Options:
    """Defaults are the safe ones.

    keys: any of them opens every path but the page and /health; none: no key is asked for. hosts: names under which the
    server may be called beside loopback's and `host`. origins: pages of other sites that may call it. templates: may a
    request bring a chat template, or arguments for it? prefill: does an answer go on from a last message that is the
    assistant's? timeout_s: for a body to come in and for a reader to go on
    reading. max_body, max_head: bytes. log: takes a line for each request.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    slots: bool = True
    metrics: bool = False
    page: bool = True
    slot_save_path: Path | None = None
    templates: bool = False
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    prefill: bool = True
    reasoning_format: str = "auto"
    timeout_s: float = 600.0
    max_body: int = 16 << 20
    max_head: int = 32 << 10
    n_predict: int | None = None
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    certificate: tuple[str, str] | None = None  # files: the certificate's, its key's
    log: Callable[[str], None] = lambda _line: None
