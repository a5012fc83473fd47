"""`vkrun serve`: llama-server's options and environment variables. What it does lies in serving.py."""

from importlib import import_module
from typing import Any, ClassVar

import click

from .cache_options import cache_options, taken_cache_types
from .chat_options import thinking_options
from .eager_options import EAGER
from .foreign import FOREIGN, Takes, table
from .hub_options import from_hub, hub_options
from .ranges import Number, Whole
from .sampling_options import SAMPLING, taken_sampling
from .serve_options import ServeOptions
from .spelling import SpeltCommand, spelt_command, without_effect

_NOT_HERE = {
    "the page is part of the package": "--path --api-prefix --ui-config --webui-config --ui-config-file "
    "--webui-config-file",
    "one model is served": "--models-dir --models-max --models-preset --models-autoload --no-models-autoload",
    "a template is text for Jinja": "--skip-chat-parsing",
    "there is no such endpoint": "--rerank --reranking --embedding-only",
    "the page calls no tools, and the server runs none": "--tools --tools-runtime --mcp-servers-config "
    "--mcp-servers-json -ag --agent --ui-mcp-proxy --webui-mcp-proxy",
    "text alone is read": "--media-path --image-min-tokens --image-max-tokens -mmdev --mmproj-device",
    "requests say so themselves": "--grammar --grammar-file -j --json-schema -jf --json-schema-file -r "
    "--reverse-prompt --ignore-eos -l --logit-bias --pooling",
    "-c is shared by the slots": "--kv-unified-per-slot",
    "--cors-origins says which pages may call it": "--cors-methods --cors-headers --cors-credentials",
    "an address is listened at once": "--reuse-port",
    "--chat-template-kwargs tells a template so": "--reasoning-preserve --no-reasoning-preserve",
}
_READ = "what was read is gone on from wherever it is"
_FLAGS = {
    "every endpoint is there": "--embedding --embeddings --props",
    _READ: "--cache-prompt --no-cache-prompt --no-slots-idle --cache-idle-slots --no-cache-idle-slots",
    "the page calls no tools, and the server runs none": "--no-agent -no-ag --no-ui-mcp-proxy --no-webui-mcp-proxy",
    "a template is text for Jinja": "--no-skip-chat-parsing",
    "no credentials are asked of pages": "--no-cors-credentials",
    "requests hold texts as they are": "-e --escape --no-escape",
}
_VALUES = {
    "one thread hands tokens out": "--threads-http",
    _READ: "-sps --slot-prompt-similarity --cache-reuse",
    "streams are not pinged": "--sse-ping-interval",
    "no request asks for tags": "--tags",
    "it counts with a budget": "--reasoning-budget-message",
}


class ServeCommand(SpeltCommand):
    """llama-server's own beside those that other commands answer."""

    foreign: ClassVar = {
        **FOREIGN,
        **table(_NOT_HERE),
        **table(_FLAGS, Takes.NOTHING),
        **table(_VALUES, Takes.VALUE),
        **table({"vectors have length 1": "--embd-normalize"}, Takes.VALUE, "2"),
    }


def _option(*names: str, env: str | list[str] = "", **kw: Any) -> Any:
    """One whose value may stand in an environment variable of llama-server's, or in one of several."""
    return click.option(*names, envvar=env or None, show_envvar=bool(env), **kw)


_OPTIONS = [
    click.argument("word", required=False, metavar="[MODEL.gguf]"),
    _option("-m", "--model", env="LLAMA_ARG_MODEL", metavar="FILE", help="Model file [default: the bundled model]."),
    *hub_options(_option),
    _option("-a", "--alias", env="LLAMA_ARG_ALIAS", metavar="NAME", help="What clients call it [default: its name]."),
    _option("--host", env="LLAMA_ARG_HOST", default="127.0.0.1", show_default=True, help="0.0.0.0: for others too."),
    _option("--port", env="LLAMA_ARG_PORT", type=Whole(0, 65535), default=8080, show_default=True, help="0: any."),
    _option("--api-key", env="LLAMA_API_KEY", metavar="KEY,...", help="Any of them opens the server."),
    _option("--api-key-file", env="LLAMA_ARG_API_KEY_FILE", metavar="FILE", help="A key a line."),
    _option("--allowed-host", multiple=True, metavar="NAME", help="By which it may be called too (repeatable)."),
    _option("--cors-origins", multiple=True, metavar="URL", help="A site whose pages may call it (repeatable)."),
    _option("--ssl-cert-file", env="LLAMA_ARG_SSL_CERT_FILE", metavar="FILE", help="For https."),
    _option("--ssl-key-file", env="LLAMA_ARG_SSL_KEY_FILE", metavar="FILE", help="For https."),
    _option("-np", "--parallel", env="LLAMA_ARG_N_PARALLEL", type=Whole(-1, 256), default=4, show_default=True,
            metavar="N", help="Slots: answers that are made side by side."),
    _option("-c", "--ctx-size", env="LLAMA_ARG_CTX_SIZE", type=Whole(0, 1 << 24), metavar="N",
            help="Tokens of context that the slots share; 0: each what the model was trained on [default: 4096 each]."),
    _option("--swa-full", env="LLAMA_ARG_SWA_FULL", is_flag=True,
            help="Caches of layers with a window hold the whole context."),
    *cache_options(_option, **{letter: {"env": f"LLAMA_ARG_CACHE_TYPE_{letter.upper()}"} for letter in "kv"}),
    _option("-n", "--predict", "--n-predict", "predict", env="LLAMA_ARG_N_PREDICT", type=Whole(-2),
            metavar="N", help="Most tokens of an answer; -1: no limit [default: -1; bundled model: 256]."),
    _option("--replicas", type=Whole(1, 64), default=1, show_default=True, help="Workers, each on a device."),
    _option("-to", "--timeout", env="LLAMA_ARG_TIMEOUT", type=Number(1, 86400), default=600.0,
            show_default=True, metavar="S", help="For a request to come in, and for a reader that does not read."),
    _option("-cram", "--cache-ram", env="LLAMA_ARG_CACHE_RAM", type=Whole(-1, 1 << 30), metavar="MIB",
            help="Host memory for what the device has no room to keep; -1: no limit [default: an eighth of it]."),
    _option("--max-queue", type=Whole(0, 1 << 16), default=256, show_default=True, help="Requests that may wait."),
    _option("--max-gap", type=Number(1, 1000), metavar="N",
            help="Longest wait for an answer's next token beside prompts, in usual ones [default: 2 on average]."),
    _option("--slots/--no-slots", env="LLAMA_ARG_ENDPOINT_SLOTS", default=True, help="/slots [default: on]."),
    _option("--metrics", env="LLAMA_ARG_ENDPOINT_METRICS", is_flag=True, help="/metrics, for Prometheus."),
    _option("--webui/--no-webui", "--ui/--no-ui", "webui", env=["LLAMA_ARG_WEBUI", "LLAMA_ARG_UI"], default=True,
            help="The page at / [default: on]."),
    _option("--slot-save-path", env="LLAMA_ARG_SLOT_SAVE_PATH", metavar="DIR", help="Where slots are saved."),
    _option("--chat-template", env="LLAMA_ARG_CHAT_TEMPLATE", metavar="NAME", help="A template by its name, or Jinja."),
    _option("--chat-template-file", env="LLAMA_ARG_CHAT_TEMPLATE_FILE", metavar="FILE", help="The same from a file."),
    _option("--chat-template-kwargs", env="LLAMA_CHAT_TEMPLATE_KWARGS", metavar="JSON", help="What it is told."),
    _option("--allow-request-templates", is_flag=True, help="Requests may bring a template, and arguments for it."),
    _option("--prefill-assistant/--no-prefill-assistant", env="LLAMA_ARG_PREFILL_ASSISTANT", default=True,
            help="Answers go on from a last message that is the assistant's [default: on]."),
    _option("--reasoning-format", env="LLAMA_ARG_THINK", default="auto", show_default=True,
            type=click.Choice(["none", "auto", "deepseek"]), help="none: what is thought stays in the content."),
    _option("--reasoning-budget", env="LLAMA_ARG_THINK_BUDGET", type=click.Choice(["-1", "0"]), default="-1",
            help="0: no thinking, where the template knows how."),
    *thinking_options(_option, reasoning={"env": "LLAMA_ARG_REASONING"},
                      reasoning_effort={"env": "LLAMA_ARG_REASONING_EFFORT"}),
    *SAMPLING,
    _option("--backend", metavar="NAME", help="vulkan, cuda, kompute, cpu or host [default: the best there is]."),
    _option("-dev", "--device", env="LLAMA_ARG_DEVICE", metavar="DEVICE", help="Index, UUID or part of the name."),
    _option("--opt", type=Whole(0, 3), default=3, show_default=True, help="How lean the graph is made."),
    _option("--log/--no-log", default=True, help="A line for each request, without its words [default: on]."),
    _option("-v", "--verbose", is_flag=True, help="Say which options change nothing here."),
    *EAGER,
]  # fmt: skip


@click.pass_context
def _run(ctx: click.Context, /, **values: Any) -> int:
    """Serve a model: OpenAI's API, Anthropic's messages, and a page to chat at /. docs/serve.md says more."""
    hub, sampling, types = from_hub(values), taken_sampling(values), taken_cache_types(values)
    given = ServeOptions(hub=hub, sampling=sampling, cache_types=types, without_effect=without_effect(ctx), **values)
    return import_module(".serving", __package__).run(given)


command = spelt_command("serve", _run, _OPTIONS, ServeCommand)
