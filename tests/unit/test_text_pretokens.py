"""What each `tokenizer.ggml.pre` rule cuts, worked out by hand from the vocabulary it belongs to."""

import pytest
from tokenizers import Regex, pre_tokenizers
from vkrun.runtime.text.pretokens import RULES, PreRule


def words(pre: str, text: str) -> list[str]:
    rule: PreRule = RULES[pre]
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
    return [text[start:end] for _, (start, end) in pre_tokenizers.Sequence(cuts).pre_tokenize_str(text)]


CASES = [
    ("gpt-2", "it's 1234  x\n\n y", ["it", "'s", " 1234", " ", " x", "\n\n", " y"]),
    ("gpt-2", "IT'S", ["IT", "'", "S"]),
    ("qwen2", "IT'S 1234  x", ["IT", "'S", " ", "1", "2", "3", "4", " ", " x"]),
    ("qwen2", "a.b();\n\n  c", ["a", ".b", "();\n\n", " ", " c"]),
    ("qwen2", "e\u0301x", ["e", "\u0301x"]),
    ("qwen35", "e\u0301x", ["e\u0301x"]),
    ("llama-bpe", "12345 678", ["123", "45", " ", "678"]),
    ("gpt-4o", "camelCaseWord's HTTPServer 1234", ["camel", "Case", "Word's", " HTTPServer", " ", "123", "4"]),
    ("gpt-4o", "a//\n/b", ["a", "//\n/", "b"]),
    ("tekken", "camelCase's 12", ["camel", "Case", "'s", " ", "1", "2"]),
    ("smollm", "x 12 y", ["x", " ", "1", "2", " y"]),
    ("starcoder", "a1b", ["a", "1", "b"]),
    ("falcon", "a<=b 12345.", ["a", "<=", "b", " ", "123", "45", "."]),
    ("default", "a<b 1234", ["a", "<", "b", " ", "123", "4"]),
    ("deepseek-v3", "x12345日本語です.foo", ["x", "123", "45", "日本語です", ".foo"]),
    ("deepseek-llm", "Hi there!\n日本 12x", ["Hi", " there", "!", "\n", "日本", " ", "12", "x"]),
    ("deepseek-llm", "ab   ", ["ab", "   "]),
    ("deepseek-coder", "f(x) 12", ["f", "(", "x", ")", " ", "1", "2"]),
    ("kimi-k2", "中文abc中", ["中文", "abc", "中"]),
    ("bloom", "one two, three", ["one", " two", ",", " three"]),
    ("viking", "one 12", ["one", " ", "1", "2"]),
    ("seed-coder", "a;;\nb", ["a", ";;", "\n", "b"]),
    ("bailingmoe", "a\n \nb'S 12", ["a", "\n \n", "b", "'S", " ", "1", "2"]),
]


@pytest.mark.parametrize(("pre", "text", "expected"), CASES)
def test_words(pre: str, text: str, expected: list[str]) -> None:
    assert words(pre, text) == expected


@pytest.mark.parametrize("pre", RULES)
def test_no_rule_loses_a_character(pre: str) -> None:
    text = "Hi\r\n  Wörld's 12345 日本語 \u0301e\u0301 <=>!? \t\t\x00 😀👩\u200d👧   "
    assert "".join(words(pre, text)) == text


def test_known_names() -> None:
    names = "qwen2 qwen35 gpt-2 llama-bpe default deepseek-llm deepseek-v3 smollm starcoder tekken gpt-4o falcon refact"
    assert set(names.split()) | {"codeshell", "command-r"} <= RULES.keys()
    assert {name for name, rule in RULES.items() if rule.add_bos} >= {"llama-bpe", "tekken"}
