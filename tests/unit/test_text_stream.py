"""Streaming: pieces joined equal the whole, and nothing past a stop string escapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vkrun.runtime.errors import TextError
from vkrun.runtime.text.bpe import LETTER_OF_BYTE
from vkrun.runtime.text.stream import Detokenizer, StopFinder
from vkrun.runtime.text.tokenizer import need_tokenizer, tokenizer_from_gguf

TOKENIZER = need_tokenizer(
    tokenizer_from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": [*LETTER_OF_BYTE.values(), "<|im_end|>"],
            "tokenizer.ggml.merges": [],
        }
    )
)
BYTES = st.one_of(st.binary(max_size=40), st.text(max_size=12).map(lambda s: s.encode("utf-8", "surrogatepass")))


@given(BYTES, st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_pieces_joined_equal_one_decode(data: bytes, sizes: list[int]) -> None:
    stream, parts, at, i = Detokenizer(TOKENIZER), [], 0, 0
    while at < len(data):
        parts.append(stream.feed_bytes(data[at : at + sizes[i % len(sizes)]]))
        at, i = at + sizes[i % len(sizes)], i + 1
    assert "".join(parts) + stream.flush() == data.decode("utf-8", "replace")


def test_a_character_comes_out_whole_and_at_once() -> None:
    stream = Detokenizer(TOKENIZER)
    ids = TOKENIZER.encode("é👍")
    assert [stream.feed(i) for i in ids] == ["", "é", "", "", "", "👍"]
    assert stream.flush() == ""


def test_control_tokens_are_text_where_they_are_asked_for() -> None:
    end = TOKENIZER.vocab.ids["<|im_end|>"]
    assert TOKENIZER.vocab.control_id("<|im_end|>") == end and TOKENIZER.vocab.control_id("a") is None
    assert Detokenizer(TOKENIZER).feed(end) == "" == Detokenizer(TOKENIZER, shown=["<|none|>"]).feed(end)
    shown = Detokenizer(TOKENIZER, shown=["<|im_end|>", "<|none|>"])
    assert [shown.feed(i) for i in (65, end)] == [TOKENIZER.decode([65]), "<|im_end|>"]


def test_an_unfinished_character_is_flushed_and_the_stream_starts_anew() -> None:
    stream = Detokenizer(TOKENIZER)
    first = TOKENIZER.encode("👍")[:2]
    assert [stream.feed(i) for i in first] == ["", ""]
    assert stream.flush() == "\ufffd"
    assert stream.feed(TOKENIZER.encode("a")[0]) == "a"


def test_control_tokens_show_only_when_asked() -> None:
    assert Detokenizer(TOKENIZER).feed(256) == ""
    assert Detokenizer(TOKENIZER, special=True).feed(256) == "<|im_end|>"
    with pytest.raises(TextError, match="token id 257 is outside the vocabulary of 257"):
        Detokenizer(TOKENIZER).feed(257)


def cut_at_first_end(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The plain meaning: grow the text by one character until some stop ends it; the longest such counts."""
    for end in range(1, len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            stop = max(done, key=len)
            return text[: end - len(stop)], stop
    return text, None


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
def test_stops_however_the_text_is_divided(text: str, stops: list[str], sizes: list[int]) -> None:
    finder, out, at, i = StopFinder(stops), "", 0, 0
    while at < len(text):
        size = sizes[i % len(sizes)]
        out += finder.feed(text[at : at + size])
        assert cut_at_first_end(text, stops)[0].startswith(out)
        at, i = at + size, i + 1
    assert (out + finder.flush(), finder.found) == cut_at_first_end(text, stops)


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    finder = StopFinder(["\nUser:"])
    assert [finder.feed(part) for part in ("Hi", " there\nUs", "e", "ful\n", "User", ": x", "y")] == [
        "Hi",
        " there",
        "",
        "\nUseful",
        "",
        "",
        "",
    ]
    assert finder.found == "\nUser:" and finder.flush() == ""


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(TextError, match="stop: an empty string"):
        StopFinder(["a", ""])
