"""WordPiece: the longest pieces from the left, of words that are cut and cleaned first."""

import pytest
from vkrun.runtime.errors import TextError
from vkrun.runtime.text.tokenizer import tokenizer_from_gguf
from vkrun.runtime.text.wordpiece import normalised, words

PREFIX = "tokenizer.ggml."
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "▁una", "aff", "able", "▁able", "▁!", "s", "▁世", "▁cafe", "▁É"]


def made(**keys):
    types = [3] * 4 + [1] * (len(TOKENS) - 4)
    given = {"model": "bert", "tokens": TOKENS, "token_type": types, "unknown_token_id": 1, "bos_token_id": 2}
    return tokenizer_from_gguf(
        {PREFIX + k.replace("__", "."): v for k, v in {**given, "eos_token_id": 3, **keys}.items()}
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("unaffable", [1]),  # the longest first piece leaves what no piece goes on with
        ("able!", [8, 9]),
        ("UN ables", [4, 8, 10]),
        ("世世", [11, 11]),
        ("caf\u00e9", [12]),
        ("able [SEP] un", [8, 3, 4]),
        ("able\u200b\x00", [8]),
        ("x" * 101, [1]),
    ],
)
def test_pieces(text, ids):
    assert made().encode(text) == [2, *ids, 3]
    assert made().encode(text, bos=False) == ids


def test_letters_as_they_are_where_the_file_says_so():
    assert made(normalizer__lowercase=False).encode("\u00c9", bos=False) == [13]


def test_the_separator_and_the_class_by_other_names():
    assert made(bos_token_id=-1, eos_token_id=-1).encode("un") == [4]
    keys = {"model": "bert", "tokens": TOKENS, "cls_token_id": 2, "seperator_token_id": 3}
    assert tokenizer_from_gguf({PREFIX + k: v for k, v in keys.items()}).encode("un") == [2, 4, 3]


def test_words_and_what_is_cleaned():
    assert list(words("a,b  c$\u2026d")) == ["a", ",", "b", "c", "$", "\u2026", "d"]
    assert normalised("A\tb\u3000\u4e16C\u0301", True) == "a b  \u4e16 c"


def test_text_comes_back():
    assert made().decode([2, 4, 6, 7, 9, 3]) == " unaffable !"


def test_lists_that_do_not_fit():
    with pytest.raises(TextError, match="token_type: 1 entries, expected 14"):
        made(token_type=[1])


def test_unused_tokens_at_the_end_need_no_rows():
    n, types = len(TOKENS), [3] * 4 + [1] * (len(TOKENS) - 4)
    keys = {"model": "bert", "tokens": [*TOKENS, "[PAD1]", "[PAD2]"], "token_type": [*types, 5, 5]}
    keys = {PREFIX + k: v for k, v in keys.items()}
    made = tokenizer_from_gguf(keys, n)
    assert made is not None and made.n_vocab == n + 2
    with pytest.raises(TextError, match=f"tokens: {n + 2} entries, but the model's embedding has {n - 1} rows"):
        tokenizer_from_gguf(keys, n - 1)
