"""SentencePiece BPE against sentencepiece itself (recorded) and against the plain quadratic algorithm."""

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.errors import TextError
from vkrun.runtime.text.spm import SPACE, merge_by_score
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf

# Recorded with sentencepiece 0.2.3: SentencePieceTrainer.train(vocab_size=390, model_type="bpe", byte_fallback=True,
# normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
# character_coverage=0.995) on 30 copies of some lines of English, Python and Japanese; these are pieces 259 to 389 with
# scores 0, -1, -2 ..., after <unk> <s> </s> and the 256 bytes; GOLDEN is SentencePieceProcessor.encode of each text.
PIECES_TEXT = """
he ▁t ▁the an ▁▁ es ▁o al at ▁s in lo or re ve ▁d ▁w alu ana and ▁he valu ▁wor values ld ▁b ▁c ▁i ▁日 llo ver ▁on
▁▁▁ ▁日本 ▁and ▁sat anana ▁over ▁hello ▁world ): ac af ag am aï de ds ed ee ef el ir jà nt og ot rn se sp tu um vu
▁0 ▁m ▁n ▁r afé aga ame eep est lin log éjà ▁el ▁if ▁is ▁of ▁re ▁vu aces aïve dent keep otal turn ▁aga ▁cat ▁def
▁dog ▁log ▁mat ▁sum lines ▁band ▁café ▁ e a t n s l o h d r v i u , f c g m w ( ) : b p é 日 本 0 ; j k à ï
"""
PIECES: list[str] = [*PIECES_TEXT.split()]
GOLDEN = [
    ("the cat", [261, 347]),
    ("hello world", [297, 298]),
    ("  two  spaces", [263, 260, 375, 363, 263, 318, 340]),
    ("banana bandana ananas", [284, 295, 354, 277, 356, 295, 361]),
    ("over\nthe\tlog", [296, 13, 359, 259, 12, 332]),
    ("x", [356, 123]),
    ("日本語 naïve", [292, 235, 173, 161, 324, 341]),
    ("👩\u200d👧", [356, 243, 162, 148, 172, 229, 131, 144, 243, 162, 148, 170]),
    ("\x00", [356, 3]),
    ("def total(values):\r\n    return 0", [348, 260, 344, 376, 282, 299, 16, 13, 263, 263, 272, 345, 322]),
    ("the▁world", [261, 298]),
    ("   ", [263, 263]),
    ("aaaaaaaaaaa", [356, *[358] * 11]),
    ("Zürich 12345", [356, 93, 198, 191, 366, 368, 372, 364, 356, 52, 53, 54, 55, 56]),
]


def keys_of(pieces: list[str], values: list[float], **more: object) -> dict:
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)], *pieces]
    keys = {
        "model": "llama",
        "tokens": tokens,
        "scores": [0.0] * 259 + values,
        "token_type": [2, 3, 3] + [6] * 256 + [1] * len(pieces),
    }
    return {f"tokenizer.ggml.{name}": value for name, value in (keys | more).items()}


def build(pieces: list[str] = PIECES, **more: object):
    return need_tokenizer(tokenizer_from_gguf(keys_of(pieces, [-float(i) for i in range(len(pieces))], **more)))


OURS = build()


@pytest.mark.parametrize(("text", "ids"), GOLDEN)
def test_ids_equal_sentencepiece(text: str, ids: list[int]) -> None:
    assert OURS.encode(text, bos=False) == ids
    assert OURS.decode(ids) == text.replace(SPACE, " ")


def test_the_file_begins_a_text_by_default() -> None:
    assert OURS.encode("the cat") == [1, 261, 347]
    assert OURS.decode([1, 261, 347]) == "the cat"
    assert OURS.decode([1, 261, 347], special=True) == "<s> the cat"
    assert build(add_bos_token=False).encode("the cat") == [261, 347]
    assert OURS.encode("") == [1]


def test_the_blank_in_front_can_be_off() -> None:
    ours = build(add_space_prefix=False)
    assert ours.encode("the cat", bos=False) == [359, 259, 347]
    assert ours.decode([261, 347]) == " the cat"


def test_each_text_after_a_control_token_gets_its_blank() -> None:
    assert OURS.encode("the cat</s>the cat", bos=False) == [261, 347, 2, 261, 347]
    plain = OURS.encode("cat</s>", special=False, bos=False)
    assert 2 not in plain and OURS.decode(plain) == "cat</s>"


def test_phi_3s_tokens_swallow_the_white_space_behind_them() -> None:
    """But those it took over from Llama; the name tells, as files do not carry it."""
    marks = ["<|user|>", "<|end|>", "<|endoftext|>"]
    pieces = [*PIECES, *marks]
    values = [-float(i) for i in range(len(pieces))]
    keys = keys_of(pieces, values, token_type=[2, 3, 3] + [6] * 256 + [1] * len(PIECES) + [3] * 3)
    user, end, last = range(259 + len(PIECES), 259 + len(pieces))
    text = "<|user|>\n the cat</s> \t the<|end|> \n<|endoftext|> cat"
    phi = need_tokenizer(tokenizer_from_gguf(keys | {"general.name": "Phi3 mini"}))
    the, cat = OURS.encode("the cat", bos=False)
    assert phi.encode(text, bos=False) == [user, the, cat, 2, the, end, last, *OURS.encode(" cat", bos=False)]
    assert phi.encode("<s> the", bos=False) == [1, *OURS.encode(" the", bos=False)]
    other = need_tokenizer(tokenizer_from_gguf(keys | {"general.name": "Llama"}))
    assert other.encode("</s> the", bos=False) == [2, *OURS.encode(" the", bos=False)]
    assert phi.encode("</s> the", bos=False) == [2, *OURS.encode("the", bos=False)]


def test_bytes_and_ends() -> None:
    assert OURS.token_bytes(3 + 0xE6) == b"\xe6" and OURS.token_bytes(261) == b" the"
    assert OURS.decode([3 + 0xE6, 261]) == "\ufffd the"
    assert OURS.bos_id == 1 and OURS.eos_ids == {2} and OURS.is_special(0)


def test_without_byte_tokens_unknown_text_is_the_unknown_token() -> None:
    tokens = ["<unk>", "<s>", "</s>", SPACE, "a"]
    keys = {"model": "llama", "tokens": tokens, "scores": [0.0] * 5, "token_type": [2, 3, 3, 1, 1]}
    ours = need_tokenizer(tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in keys.items()}))
    assert ours.encode("aéa", bos=False) == [3, 4, 0, 4]


def merge_plainly(text: str, pieces: dict[str, int], scores: list[float]) -> list[str]:
    symbols = list(text)
    while True:
        pairs = [(-scores[pieces[a + b]], i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in pieces]
        if not pairs:
            return symbols
        _, i = min(pairs)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.text("ab▁", min_size=2, max_size=5), st.sampled_from([0.0, -1.0, -1.5, -2.0]), max_size=25),
    st.text("ab▁", max_size=25),
)
def test_merging_equals_the_plain_algorithm(vocabulary: dict[str, float], text: str) -> None:
    pieces = {piece: i for i, piece in enumerate(vocabulary)}
    scores = list(vocabulary.values())
    assert merge_by_score(text, pieces, scores) == merge_plainly(text, pieces, scores)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text("ab▁", min_size=1, max_size=4), st.sampled_from([0.0, -1.0, -2.0]), max_size=20),
    st.text("ab ", max_size=25),
)
def test_cutting_at_blanks_changes_nothing(vocabulary: dict[str, float], text: str) -> None:
    """Whether a piece has an inner blank or not, the ids are those of merging the whole text at once."""
    ours = need_tokenizer(tokenizer_from_gguf(keys_of(list(vocabulary), list(vocabulary.values()))))
    whole = SPACE + text.replace(" ", SPACE) if text else ""
    pieces = {piece: 259 + i for i, piece in enumerate(vocabulary)}
    scores = [0.0] * 259 + list(vocabulary.values())
    merged = merge_by_score(whole, pieces, scores)
    expected = [i for p in merged for i in ([pieces[p]] if p in pieces else [3 + byte for byte in p.encode()])]
    assert ours.encode(text, bos=False) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters=SPACE), max_size=40))
def test_any_text_comes_back(text: str) -> None:
    assert OURS.decode(OURS.encode(text, special=False)) == text


def test_long_texts_end() -> None:
    words = random.Random(0).choices(["the", "values", "world", "band", " ", "\n"], k=100_000)
    for text in (" ".join(words), "a" * 300_000, " " * 200_000):
        start = time.process_time()
        assert OURS.decode(OURS.encode(text)) == text
        assert time.process_time() - start < 15  # about 1 s; a quadratic merge takes hours


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "tokenizer.ggml.scores: missing"),
        ({"scores": [0.0] * 5}, "tokenizer.ggml.scores: 5 entries, expected 390"),
        ({"scores": [float("nan")] * 390}, "tokenizer.ggml.scores: entry 0 is nan"),
        ({"token_type": [1]}, "tokenizer.ggml.token_type: 1 entries, expected 390"),
        ({"tokens": []}, "tokenizer.ggml.tokens: 0 entries"),
    ],
)
def test_data_that_does_not_fit_is_named(change: dict, message: str) -> None:
    with pytest.raises(TextError, match=message):
        build(**change)
