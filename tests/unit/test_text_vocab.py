"""Vocabularies from damaged or hostile files, special tokens, and files without a tokenizer."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vkrun.runtime.errors import TextError
from vkrun.runtime.text.special import SpecialSplitter
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf

GOOD = {
    "model": "gpt2",
    "pre": "gpt-2",
    "tokens": ["a", "b", "ab", "<|eot_id|>"],
    "token_type": [1, 1, 1, 3],
    "merges": ["a b"],
    "eos_token_id": 3,
}


def build(**change: object):
    return tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in (GOOD | change).items() if v is not None})


def test_lists_may_be_arrays() -> None:
    ours = need_tokenizer(build(token_type=np.array([1, 1, 1, 3], np.int32), eos_token_id=np.uint32(3)))
    assert ours.encode("abba") == [2, 1, 0] and ours.eos_ids == {3}


@pytest.mark.parametrize("name", ["none", "no_vocab", None])
def test_a_file_without_a_tokenizer_has_none(name: str | None) -> None:
    assert build(model=name) is None
    with pytest.raises(TextError, match="no tokenizer: give token ids"):
        need_tokenizer(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "rwkv"}, "tokenizer.ggml.model: 'rwkv', expected one of gpt2, gemma4, llama, bert"),
        ({"model": 7}, "tokenizer.ggml.model: 7, expected a string"),
        ({"pre": 7}, "tokenizer.ggml.pre: 7, expected a string"),
        ({"tokens": None}, "tokenizer.ggml.tokens: missing"),
        ({"tokens": "abc"}, "tokenizer.ggml.tokens: str, expected a list of str"),
        ({"tokens": ["a", 1]}, "tokenizer.ggml.tokens: 1, expected str"),
        ({"tokens": ["a", "b", "a", "c"]}, "tokenizer.ggml.tokens: 'a' stands at ids 0 and 2"),
        ({"merges": None}, "tokenizer.ggml.merges: missing"),
        ({"merges": [["a", "b"]]}, r"tokenizer.ggml.merges: \['a', 'b'\], expected str"),
        ({"token_type": [1, 1]}, "tokenizer.ggml.token_type: 2 entries, expected 4"),
        ({"token_type": ["1"] * 4}, "tokenizer.ggml.token_type: '1', expected int"),
        ({"bos_token_id": 1.5}, "tokenizer.ggml.bos_token_id: 1.5, expected an integer"),
        ({"add_bos_token": "yes"}, "tokenizer.ggml.add_bos_token: 'yes', expected a boolean"),
    ],
)
def test_bad_data_is_named_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(TextError, match=message) as caught:
        need_tokenizer(build(**change)).encode("ab")
    assert "\n" not in str(caught.value)


def test_a_special_id_outside_the_vocabulary_is_none() -> None:
    ours = need_tokenizer(build(bos_token_id=-1, eos_token_id=4, eot_token_id=2**63, add_bos_token=True))
    assert (ours.bos_id, ours.vocab.eos_id) == (None, None)
    assert ours.eos_ids == {3}  # known by its text
    assert ours.encode("ab") == need_tokenizer(build()).encode("ab")


def test_ids_outside_the_vocabulary() -> None:
    ours = need_tokenizer(build())
    for bad in (-1, 4, 2**40):
        with pytest.raises(TextError, match=f"token id {bad} is outside the vocabulary of 4"):
            ours.decode([0, bad])
        with pytest.raises(TextError, match="outside the vocabulary"):
            ours.is_special(bad)


def test_an_end_declared_as_text_is_control_all_the_same() -> None:
    ours = need_tokenizer(build(token_type=None, eos_token_id=None))
    assert ours.eos_ids == {3} and ours.is_special(3) and ours.encode("a<|eot_id|>") == [0, 3]


def test_harmony_end_is_no_end() -> None:
    tokens = ["a", "<|end|>", "<|return|>", "<|call|>"]
    ours = need_tokenizer(build(tokens=tokens, token_type=[1, 3, 3, 3], merges=[], eos_token_id=2))
    assert ours.eos_ids == {2, 3}


def test_empty_and_unused_tokens_say_nothing() -> None:
    ours = need_tokenizer(build(tokens=["a", "", "", "[PAD]"], merges=[], token_type=[1, 5, 5, 5], eos_token_id=None))
    assert ours.decode([0, 1, 2, 3, 0]) == "aa" and ours.n_vocab == 4


def test_splitting_takes_the_leftmost_and_longest() -> None:
    splitter = SpecialSplitter([("<|a|>", 1), ("<|a|>b", 2), ("|a", 3), ("  ", 4)])
    assert list(splitter.split("x<|a|>b<|a|>  y|a")) == ["x", 2, 1, 4, "y", 3]
    assert list(splitter.split("")) == [] and list(SpecialSplitter([]).split("<|a|>")) == ["<|a|>"]


def test_tokens_that_swallow_white_space() -> None:
    splitter = SpecialSplitter([("<m>", 7), ("<r>", 8), ("<x>", 9)], lstrip=frozenset({7}), rstrip=frozenset({8}))
    assert list(splitter.split(" a <m> b <r>\n\t<x> c <m> <r> d")) == [" a", 7, " b ", 8, 9, " c", 7, " ", 8, "d"]
    assert list(splitter.split("<r> <m>")) == [8, 7]


def test_nothing_is_seen_where_it_touches_plain_text() -> None:
    splitter = SpecialSplitter([("ab", 1), ("ba", 2)])
    assert list(splitter.split("aba")) == [1, "a"]
    assert list(splitter.split("aba", [(0, 1)])) == ["a", 2]
    assert list(splitter.split("aba", [(1, 2)])) == ["aba"]
    assert list(splitter.split("abab", [(2, 4)])) == [1, "ab"]


def split_plainly(text: str, ids: dict[str, int], plain: list[tuple[int, int]]) -> list[str | int]:
    out: list[str | int] = []
    at = 0
    while at < len(text):
        fits = [s for s in ids if text.startswith(s, at) and not any(a < at + len(s) and at < b for a, b in plain)]
        if fits:
            best = max(fits, key=len)
            out.append(ids[best])
            at += len(best)
        else:
            out.append(text[at])
            at += 1
    return out


@given(
    st.text("ab<|", max_size=20),
    st.lists(st.text("ab<|", min_size=1, max_size=4), unique=True, max_size=6),
    st.lists(st.integers(0, 20), max_size=6, unique=True).map(sorted),
)
def test_splitting_equals_the_plain_algorithm(text: str, specials: list[str], cuts: list[int]) -> None:
    plain = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if a < b]
    ids = {special: i for i, special in enumerate(specials)}
    flat: list[str | int] = []
    for piece in SpecialSplitter(ids.items()).split(text, plain):
        flat += [piece] if isinstance(piece, int) else list(piece)
    assert flat == split_plainly(text, ids, plain)


def test_many_special_tokens_do_not_slow_the_split() -> None:
    splitter = SpecialSplitter((f"<|special_{i}|>", i) for i in range(100_000))
    start = time.process_time()
    assert len(list(splitter.split("<|special_7|><|" * 50_000))) == 100_000
    assert time.process_time() - start < 10  # about 0.3 s; trying each token at each place takes hours
