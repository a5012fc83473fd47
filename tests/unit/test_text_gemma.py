"""Gemma 4's BPE over a vocabulary made here."""

import pytest
from vkrun.runtime.errors import TextError
from vkrun.runtime.text.tokenizer import tokenizer_from_gguf

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", *BYTES, "\u2581", "a", "b", "\n", "ab", "\u2581ab", "\n\n", "b\n"]
MERGES = ["a b", "\u2581 ab", "\n \n", "b \n"]
TYPES = [3, 3, 3, 2, *[6] * 256, *[1] * 8]


def keys(**more: object) -> dict[str, object]:
    made = {"model": "gemma4", "tokens": TOKENS, "merges": MERGES, "token_type": TYPES} | more
    return {f"tokenizer.ggml.{name}": value for name, value in made.items()}


def test_merges_stop_at_lines_and_spaces_are_marks():
    made = tokenizer_from_gguf(keys())
    assert made is not None
    for text, wanted in (
        ("ab ab", ["ab", "\u2581ab"]),
        ("  ab", ["\u2581", "\u2581ab"]),
        ("ab\n\nb\n", ["ab", "\n\n", "b", "\n"]),
        ("a\u00e9", ["a", "<0xC3>", "<0xA9>"]),
        ("a<eos>", ["a", "<eos>"]),
    ):
        ids = made.encode(text)
        assert [TOKENS[i] for i in ids] == ["<bos>", *wanted]
        assert made.decode(ids, special=True) == f"<bos>{text}"


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(TextError, match="merges: 'ab', expected"):
        tokenizer_from_gguf(keys(merges=["ab"])).encode("a")  # type: ignore[union-attr]
