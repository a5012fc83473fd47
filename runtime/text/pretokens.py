"""How `tokenizer.ggml.pre` cuts text into words before merges: a property of each trained vocabulary.

A rule is a sequence of patterns (Oniguruma syntax). Each pattern cuts the pieces the one before it left; what matches
becomes a piece of its own, and so does what lies between two matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LLAMA3 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_MARKS}|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)

# Words cut at a change from lower to upper case; scripts without case count as both.
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"


def _cased(upper: str, lower: str, tail: str = "") -> str:
    start = r"[^\r\n\p{L}\p{N}]?"
    return rf"{start}[{upper}]*[{lower}]+{tail}|{start}[{upper}]+[{lower}]*{tail}"


_GPT4O_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_GPT4O = rf"{_cased(_UPPER, _LOWER, _CONTRACTION + '?')}|\p{{N}}{{1,3}}|{_GPT4O_MARKS}|{_SPACES}"
_TEKKEN = rf"{_cased(_UPPER, _LOWER)}|\p{{N}}|{_GPT4O_MARKS}|{_SPACES}"
_NO_HAN = r"&&[^\p{Han}]"
_KIMI = (
    rf"\p{{Han}}+|{_cased(_UPPER + _NO_HAN, _LOWER + _NO_HAN, _CONTRACTION + '?')}"
    rf"|\p{{N}}{{1,3}}|{_MARKS}|{_SPACES}"
)

# Letters with case as they stood when DeepSeek's first vocabulary was trained: first and last code points.
_CASED_LETTERS = """
41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c 38e-3a1 3a3-3f5
3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15
1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3
1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139
213c-213f 2145-2149 214e 2183 2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787
a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2
118a0-118df 1e900-1e943
"""


def _ranges(code_points: str) -> str:
    spans = (span.split("-") for span in code_points.split())
    return "".join("-".join(rf"\x{{{point}}}" for point in span) for span in spans)


_DEEPSEEK_LETTERS = rf"\s?[{_ranges(_CASED_LETTERS)}]+"
_DEEPSEEK_MARKS = rf"\s?[{_ranges('21-2f 3a-7e ff01-ff0f ff1a-ff5e 2018-201f 3000-3002')}]+"
_DEEPSEEK_ASIAN = rf"[{_ranges('4e00-9fa5 800-4e00 ac00-d7ff')}]+"
_DEEPSEEK3_ASIAN = rf"[{_ranges('4e00-9fa5 3040-309f 30a0-30ff')}]+"
_DEEPSEEK3 = (
    r"[\x{21}-\x{2f}\x{3a}-\x{40}\x{5b}-\x{60}\x{7b}-\x{7e}][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)
# `(?<!\s)` changes no match, as only the first blank of a run can begin one, and keeps long runs linear.
_SPACES_LAST = r"(?<!\s)\s+$"
_BLOOM = rf" ?[^(\s|.,!?{_ranges('2026 3002 ff0c 3001 964 6d4 60c')})]+"


@dataclass(frozen=True)
class PreRule:
    """`ignore_merges`: a word that is a token as a whole stays whole. `add_bos`: what a silent file means.

    nfc: text is composed (Unicode's NFC) before it is cut, as the model's own tokenizer does.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    nfc: bool = False


_DEFAULT = PreRule((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))
_DIGITS_GPT2 = (r"\p{N}", _GPT2)

_FAMILIES: Sequence[tuple[str, PreRule]] = (
    ("default", _DEFAULT),
    (
        "gpt-2 phi-2 mpt olmo jais trillion granite-docling jina-es jina-de jina-v1-en jina-v2-es jina-v2-de"
        " jina-v2-code roberta-bpe gigachat mellum modern-bert a.x-4.0 exaone4",
        PreRule((_GPT2,)),
    ),
    ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", PreRule(_DIGITS_GPT2)),
    (
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
        PreRule((_LLAMA3,), ignore_merges=True, add_bos=True),
    ),
    ("dbrx smaug-bpe chatglm-bpe glm4", PreRule((_LLAMA3,))),
    ("qwen2", PreRule((_QWEN2,), nfc=True)),
    ("deepseek-r1-qwen stablelm2 hunyuan megrez grok-2 solar-open kormo", PreRule((_QWEN2,))),
    ("qwen35", PreRule((_QWEN35,), nfc=True)),
    ("gpt-4o llama4 kanana2 minimax-m2", PreRule((_GPT4O,))),
    ("tekken", PreRule((_TEKKEN,), ignore_merges=True, add_bos=True)),
    ("kimi-k2", PreRule((_KIMI,))),
    (
        "deepseek-llm",
        PreRule((r"[\r\n]", _DEEPSEEK_LETTERS, _DEEPSEEK_MARKS, _SPACES_LAST, _DEEPSEEK_ASIAN, r"\p{N}+")),
    ),
    ("deepseek-coder", PreRule((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_ASIAN, r"\p{N}"))),
    ("deepseek-v3 hunyuan-dense joyai-llm", PreRule((r"\p{N}{1,3}", _DEEPSEEK3_ASIAN, _DEEPSEEK3))),
    (
        "falcon",
        PreRule((r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]")),
    ),
    ("poro-chat bloom gpt3-finnish", PreRule((_BLOOM,))),
    ("viking", PreRule((_BLOOM, r"\p{N}"))),
    (
        "bailingmoe bailingmoe2 llada-moe",
        PreRule((rf"'(?i:[sdmt]|ll|ve|re)|{_WORD}|\p{{N}}|{_MARKS}|\s*[\r\n]|\s+(?!\S)|\s+",)),
    ),
    ("seed-coder", PreRule((rf"{_CONTRACTION}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",))),
)

RULES = {name: rule for names, rule in _FAMILIES for name in names.split()}
