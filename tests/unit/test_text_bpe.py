"""Byte-level BPE against tokenizers trained here and run by Hugging Face's own pipeline."""

import json
import time
import unicodedata
import warnings
from itertools import islice
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as HfTokenizer
from tokenizers.models import BPE
from vkrun.runtime.errors import TextError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.text.bpe import BYTE_OF_LETTER, LETTER_OF_BYTE, BpeTokenizer
from vkrun.runtime.text.tokenizer import tokenizer_from_gguf
from vkrun.tests.slowness import slowness

# Written here a second time, as the models' own tokenizer.json files state them.
PATTERNS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "qwen35": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
COMPOSED = {"qwen2", "qwen35"}  # whose tokenizers compose characters (NFC) before they cut
CORPUS = [
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    "The quick brown fox jumps over the lazy dog; it's what we'll DON'T do in 2024, 12345 times.",
    "日本語のテキストです。中文文本也在这里。Привет, мир! ελληνικά नमस्ते दुनिया 한국어 👩‍👩‍👧 🎉",
    "\r\n\r\n\t\ttabs   and    spaces \n \n\n  x = {'a': [1, 2, 3]}  # comment!!! ???",
] * 4
TRICKY = [
    "",
    " ",
    "  ",
    "\n",
    "\r\n\r\n  \n x",
    "a  b   c    d     ",
    "\t\tx\t y",
    "it's IT'S we'LL 'tis don\u2019t '",
    "1 12 123 1234 12345 ٣٤٥ Ⅷ ½",
    "👩‍👩‍👧‍👦👍🏽🇩🇪",
    "e\u0301 नमस्ते \u200b\u200d\ufeff",
    "nul\0byte \x07\x1b[0m",
    "\u00a0nbsp\u3000wide\u2028line\u0085nel",
    "!!!???...\n\n\n;;",
    "<|im_start|>user\nhi<|im_end|>",
    "x" * 1000,
    " " * 1000 + "x",
]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def train(pattern: str, ignore_merges: bool = False, nfc: bool = False) -> HfTokenizer:
    hf = HfTokenizer(BPE(ignore_merges=ignore_merges))
    if nfc:
        hf.normalizer = normalizers.NFC()
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    hf.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    hf.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    hf.train_from_iterator(CORPUS, trainer)
    hf.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIALS])
    hf.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    return hf


def gguf_keys(hf: HfTokenizer, pre: str) -> dict:
    model = json.loads(hf.to_str())["model"]
    tokens = [hf.id_to_token(i) for i in range(hf.get_vocab_size())]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t in SPECIALS else 4 if t == "<think>" else 1 for t in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.eos_token_id": hf.token_to_id("<|im_end|>"),
        "tokenizer.ggml.bos_token_id": hf.token_to_id("<|endoftext|>"),
        "tokenizer.ggml.add_bos_token": False,
    }


def build(keys: dict) -> BpeTokenizer:
    ours = tokenizer_from_gguf(keys)
    assert isinstance(ours, BpeTokenizer)
    return ours


def pair_of(pre: str) -> tuple[HfTokenizer, BpeTokenizer]:
    hf = train(PATTERNS[pre], ignore_merges=pre == "llama-bpe", nfc=pre in COMPOSED)
    return hf, build(gguf_keys(hf, pre))


PAIRS = {pre: pair_of(pre) for pre in PATTERNS}
HF, OURS = PAIRS["qwen2"]


def id_of(text: str) -> int:
    token = HF.token_to_id(text)
    assert token is not None
    return token


@pytest.mark.parametrize("pre", PATTERNS)
def test_ids_and_text_equal_hugging_face(pre: str) -> None:
    hf, ours = PAIRS[pre]
    for text in TRICKY + CORPUS:
        ids = ours.encode(text)
        assert ids == hf.encode(text).ids, text
        assert ours.decode(ids, special=True) == composed(pre, text)
        assert ours.decode(ids, special=True) == hf.decode(ids, skip_special_tokens=False)
    assert ours.n_vocab == hf.get_vocab_size()


def composed(pre: str, text: str) -> str:
    return unicodedata.normalize("NFC", text) if pre in COMPOSED else text


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60), st.sampled_from(sorted(PATTERNS)))
def test_any_text_equals_hugging_face_and_comes_back(text: str, pre: str) -> None:
    hf, ours = PAIRS[pre]
    ids = ours.encode(text)
    assert ids == hf.encode(text).ids
    assert ours.decode(ids, special=True) == composed(pre, text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, HF.get_vocab_size() - 1), max_size=30))
def test_any_ids_decode_as_python_decodes_their_bytes(ids: list[int]) -> None:
    text = OURS.decode(ids)
    assert text == b"".join(OURS.token_bytes(i) for i in ids).decode("utf-8", "replace")
    assert text == HF.decode(ids, skip_special_tokens=True)


def test_the_patterns_tell_the_rules_apart() -> None:
    words = {pre: ours._engine.pre_tokenizer.pre_tokenize_str("1234 नमस्ते") for pre, (_, ours) in PAIRS.items()}
    assert len({tuple(span for _, span in cut) for cut in words.values()}) == 4


@pytest.mark.parametrize(
    ("pre", "composes"), [("qwen2", True), ("qwen35", True), ("deepseek-r1-qwen", False), ("llama-bpe", False)]
)
def test_qwen_composes_characters_before_it_cuts(pre: str, composes: bool) -> None:
    tokenizer = tokenizer_from_gguf(gguf_keys(HF, pre))
    assert tokenizer is not None
    apart, whole = "cafe\u0301 A\u030a", "caf\u00e9 \u00c5"
    assert (tokenizer.decode(tokenizer.encode(apart)) == whole) is composes
    assert tokenizer.decode(tokenizer.encode(whole)) == whole


def test_every_byte_has_its_own_letter() -> None:
    assert set(LETTER_OF_BYTE.values()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert all(BYTE_OF_LETTER[LETTER_OF_BYTE[byte]] == byte for byte in range(256))


def test_specials_are_text_where_they_must_not_be_parsed() -> None:
    text = "a<|im_end|><think>b"
    end, think = id_of("<|im_end|>"), id_of("<think>")
    assert end in OURS.encode(text) and think in OURS.encode(text)
    plain = OURS.encode(text, special=False)
    assert end not in plain and think in plain  # user-defined tokens are recognised in any text
    assert OURS.decode(plain) == text


def test_plain_spans_keep_control_tokens_out() -> None:
    text = "<|im_end|>x<|im_end|>"
    end = id_of("<|im_end|>")
    assert OURS.encode(text).count(end) == 2
    ids = OURS.encode(text, plain=[(0, 10)])
    assert ids.count(end) == 1 and ids[-1] == end
    assert OURS.decode(ids, special=True) == text


def test_control_tokens_have_no_text_of_their_own() -> None:
    end = id_of("<|im_end|>")
    assert OURS.token_bytes(end) == b"" and OURS.token_bytes(end, special=True) == b"<|im_end|>"
    assert OURS.is_special(end) and not OURS.is_special(id_of("<think>"))
    assert OURS.decode([end]) == ""


def test_ends_are_known_by_key_and_by_name() -> None:
    assert OURS.eos_ids == {id_of("<|im_end|>"), id_of("<|endoftext|>")}


def test_begin_and_end_tokens() -> None:
    begin, end = id_of("<|endoftext|>"), id_of("<|im_end|>")
    assert OURS.encode("a")[0] != begin and OURS.encode("a", bos=True)[0] == begin
    keys = gguf_keys(HF, "qwen2") | {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    both = build(keys)
    assert both.encode("a") == [begin, *OURS.encode("a"), end]
    assert both.encode("a", bos=False) == OURS.encode("a")
    del keys["tokenizer.ggml.bos_token_id"]
    without = build(keys)
    assert without.encode("a") == [*OURS.encode("a"), end]
    with pytest.raises(TextError, match="bos_token_id"):
        without.encode("a", bos=True)


def test_llama3_begins_a_text_unless_told_otherwise() -> None:
    keys = gguf_keys(HF, "llama-bpe")
    del keys["tokenizer.ggml.add_bos_token"]
    assert build(keys).encode("a")[0] == id_of("<|endoftext|>")


def test_unknown_rule_warns_and_falls_back() -> None:
    with pytest.warns(UserWarning, match="'my-own-rule' is not known"):
        ours = build(gguf_keys(HF, "my-own-rule"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        default = build(gguf_keys(HF, "default"))
    assert ours.encode(CORPUS[1]) == default.encode(CORPUS[1])
    assert default.decode(default.encode(CORPUS[1])) == CORPUS[1]


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert OURS.decode(OURS.encode("a\ud800b")) == "a\ufffdb"


def test_a_byte_without_a_token_is_an_error_not_a_loss() -> None:
    keys = gguf_keys(HF, "qwen2")
    keys["tokenizer.ggml.tokens"] = ["[GONE]" if t == LETTER_OF_BYTE[0] else t for t in keys["tokenizer.ggml.tokens"]]
    ours = build(keys)
    assert ours.encode("abc") == OURS.encode("abc")
    with pytest.raises(TextError, match="no token for byte 0x00"):
        ours.encode("a\0")


def test_merges_that_can_never_apply_are_left_out() -> None:
    keys = gguf_keys(HF, "qwen2")
    keys["tokenizer.ggml.merges"] = ["zz qq", *keys["tokenizer.ggml.merges"]]
    assert build(keys).encode(CORPUS[0]) == OURS.encode(CORPUS[0])
    keys["tokenizer.ggml.merges"] = ["nospace"]
    with pytest.raises(TextError, match=r"merges: 'nospace', expected \"left right\""):
        build(keys).encode("a")


def large_keys(n_tokens: int, n_merges: int = 0) -> dict:
    """A vocabulary of words over 24 letters, each made by one merge of two known ones, and then by others of two."""
    tokens, merges = list(LETTER_OF_BYTE.values()), []
    pool = [LETTER_OF_BYTE[byte] for byte in b"etaoinshrdlucmfwypvbgk ."]
    known, at = set(tokens), 0
    while len(tokens) < n_tokens:
        left, right = pool[at // 24], pool[at % 24]
        at += 1
        if left + right not in known:
            known.add(left + right)
            pool.append(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    cuts = ((t[:i], t[i:]) for t in reversed(tokens) for i in range(1, len(t)))
    more = (f"{left} {right}" for left, right in cuts if left in known and right in known)
    made = dict.fromkeys(merges) | dict.fromkeys(islice(more, n_merges))
    merges = list(made)[: n_merges or len(merges)]
    keys = {"model": "gpt2", "pre": "qwen2", "tokens": tokens, "merges": merges}
    return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}


def test_a_large_vocabulary_loads_in_a_second(tmp_path: Path) -> None:
    """From the file to the first text's ids, in the processor's time, by how slow the machine is just then."""
    path, keys = tmp_path / "vocab.gguf", large_keys(150_000, 400_000)
    tokens, merges = (keys[f"tokenizer.ggml.{name}"] for name in ("tokens", "merges"))
    assert (len(tokens), len(merges)) == (150_000, 400_000)
    write_keys(path, tokens, merges)
    seconds = []
    for _ in range(3):  # the least counts: others may be using the machine
        start = time.process_time()
        with GGUFFile.open(path) as f:
            ours = tokenizer_from_gguf(f.keys)
        assert ours is not None and ours.decode(ours.encode("the rest")) == "the rest"
        seconds.append((time.process_time() - start) / slowness())
    assert min(seconds) < 1, seconds


def write_keys(path: Path, tokens: list[str], merges: list[str]) -> None:
    writer = gguf.GGUFWriter(path, "test")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_long_runs_end() -> None:
    ours = build(large_keys(152_000))
    for run in ("a" * 1_000_000, " " * 1_000_000 + "x", "!" * 100_000):
        start = time.process_time()
        ids = ours.encode(run)
        assert time.process_time() - start < 20  # about 1 s; what is quadratic takes hours
        assert ours.decode(ids) == run


@pytest.mark.parametrize(
    "pre", ["deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon", "tekken", "gpt-4o", "viking"]
)
def test_no_rule_is_quadratic_in_a_long_run(pre: str) -> None:
    ours = build(gguf_keys(HF, pre))
    for run in (" " * 100_000 + "x", "A" * 100_000, "Aa" * 50_000, "1" * 50_000, "中" * 30_000):
        start = time.process_time()
        assert ours.decode(ours.encode(run, bos=False)) == run
        assert time.process_time() - start < 10


@pytest.mark.parametrize(("pre", "expected"), [("llama-bpe", [256]), ("qwen2", [257, 99])])
def test_a_word_that_is_a_token_stays_whole_where_the_rule_says_so(pre: str, expected: list[int]) -> None:
    tokens = [*(LETTER_OF_BYTE[byte] for byte in range(256)), "abc", "ab"]
    keys = {"model": "gpt2", "pre": pre, "tokens": tokens, "merges": ["a b"]}
    assert build({f"tokenizer.ggml.{name}": value for name, value in keys.items()}).encode("abc") == expected
