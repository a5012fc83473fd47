"""tokenizer.json (or vocab.json and merges.txt) -> GGUF's tokenizer keys, for byte-level BPE."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConvertError
from .checkpoint import Checkpoint

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
# The split patterns as checkpoints spell them, and GGUF's names for them.
PATTERNS = {
    _CONTRACTION + _WORD + r"|\p{N}" + _MARKS + _SPACES: "qwen2",
    _CONTRACTION + _WORD + r"|\p{N}{1,3}" + _MARKS + _SPACES: "llama-bpe",
    _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACES: "qwen35",
}
CLASSES = {"Qwen2Tokenizer": "qwen2", "Qwen2TokenizerFast": "qwen2", "GPT2Tokenizer": "gpt-2"}


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF stores: one text and one type a token, merges as "left right", and special ids (eos, bos, ...)."""

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    ids: dict[str, int] = field(default_factory=dict)
    add_bos: bool = False
    chat_template: str | None = None


def _splits(node: Any) -> Iterator[dict[str, Any]]:
    """The pre-tokenizer's steps, nested sequences flattened."""
    if isinstance(node, dict) and node.get("type") == "Sequence":
        for child in node.get("pretokenizers", []):
            yield from _splits(child)
    elif isinstance(node, dict):
        yield node


def detect_pre(tokenizer: dict[str, Any]) -> str:
    """GGUF's name for the split rule. ConvertError for one that is not known: it would tokenise wrongly."""
    steps = list(_splits(tokenizer.get("pre_tokenizer")))
    patterns = [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]
    if not patterns and any(step.get("type") == "ByteLevel" and step.get("use_regex", True) for step in steps):
        return "gpt-2"
    if len(patterns) == 1 and patterns[0] in PATTERNS:
        return PATTERNS[patterns[0]]
    raise ConvertError(
        f"tokenizer.json: unknown split rule {patterns or [s.get('type') for s in steps]}; give --pre NAME"
    )


def _merge(pair: str | list[str]) -> str:
    return pair if isinstance(pair, str) else " ".join(pair)


def _added(entries: list[dict[str, Any]]) -> dict[int, tuple[str, int]]:
    return {int(e["id"]): (e["content"], CONTROL if e.get("special") else USER_DEFINED) for e in entries}


def _from_json(source: Checkpoint, pre: str | None) -> tuple[str, dict[str, int], list[str], list[dict[str, Any]]]:
    data = source.json("tokenizer.json")
    model = data.get("model", {})
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
        raise ConvertError(f"tokenizer.json: model {model.get('type')!r}, expected a byte-level 'BPE'")
    merges = [_merge(pair) for pair in model.get("merges", [])]
    return pre or detect_pre(data), model.get("vocab", {}), merges, data.get("added_tokens", [])


def _from_files(source: Checkpoint, pre: str | None) -> tuple[str, dict[str, int], list[str], list[dict[str, Any]]]:
    config = source.json("tokenizer_config.json")
    pre = pre or CLASSES.get(config.get("tokenizer_class", ""))
    if not pre:
        raise ConvertError(f"tokenizer_config.json: class {config.get('tokenizer_class')!r} not known; give --pre NAME")
    lines = (source.folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = [{"id": key, **value} for key, value in config.get("added_tokens_decoder", {}).items()]
    return pre, source.json("vocab.json"), merges, added


def _lists(vocab: dict[str, int], added: dict[int, tuple[str, int]], size: int) -> tuple[list[str], list[int]]:
    """Tokens and types by id; ids without a token are filled in, as models pad their vocabulary."""
    known = {index: (text, NORMAL) for text, index in vocab.items()} | added
    if beyond := [index for index in known if not 0 <= index < size]:
        raise ConvertError(f"tokenizer: token id {max(beyond)}, the model's vocabulary has {size}")
    entries = [known.get(index, (f"[PAD{index}]", UNUSED)) for index in range(size)]
    return [text for text, _ in entries], [kind for _, kind in entries]


def _ids_of(value: Any) -> list[int]:
    return [i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)]


def special_ids(source: Checkpoint, tokens: list[str]) -> dict[str, int]:
    """eos, bos, padding, a second end (eot): from the tokenizer's own text, else generation_config, else config."""
    config, texts = source.json("tokenizer_config.json"), {text: i for i, text in enumerate(tokens)}
    found: dict[str, int] = {}
    for name, key in (("eos", "eos_token"), ("bos", "bos_token"), ("padding", "pad_token")):
        token = config.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        plain = "pad" if name == "padding" else name
        listed = _ids_of(source.json("generation_config.json").get(f"{plain}_token_id"))
        ids = [texts[text]] if text in texts else []
        ids += listed or _ids_of(source.config.get(f"{plain}_token_id"))
        if ids:
            found[name] = ids[0]
        if name == "eos" and (others := [i for i in ids if i != ids[0]]):
            found["eot"] = others[0]
    return {name: index for name, index in found.items() if 0 <= index < len(tokens)}


def _chat_template(source: Checkpoint) -> str | None:
    path = source.folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = source.json("tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template


def read_vocabulary(source: Checkpoint, size: int, pre: str | None = None) -> Vocabulary | None:
    """The folder's vocabulary; None when it has no tokenizer files. pre overrides the detected split rule."""
    if (source.folder / "tokenizer.json").is_file():
        found = _from_json(source, pre)
    elif (source.folder / "vocab.json").is_file() and (source.folder / "merges.txt").is_file():
        found = _from_files(source, pre)
    else:
        return None
    rule, vocab, merges, added = found
    tokens, types = _lists(vocab, _added(added), size)
    add_bos = bool(source.json("tokenizer_config.json").get("add_bos_token", False))
    return Vocabulary(rule, tokens, types, merges, special_ids(source, tokens), add_bos, _chat_template(source))
