"""Texts of shaders: made together where several are missing, and kept."""

from itertools import islice

import pytest
from vkrun.runtime import config
from vkrun.shaders import texts
from vkrun.shaders.catalogue import variants
from vkrun.shaders.compile import Variant
from vkrun.shaders.translate import translate

VARIANTS: list[Variant] = list(islice(variants(), 4))


def test_what_is_missing_is_made_together_and_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Variant]] = []
    monkeypatch.setattr(config, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(texts, "translate", lambda some: asked.append(list(some)) or translate(some))
    first = texts.text(*VARIANTS[0])
    found = texts.texts([*VARIANTS, VARIANTS[1]])
    assert found[0] == first and found[1] == found[-1] and len(set(found)) == len(VARIANTS)
    assert asked == [VARIANTS[:1], VARIANTS[1:]]
    assert texts.texts(VARIANTS) == found[:-1] and len(asked) == 2


def test_without_a_place_to_keep_them_they_are_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "cache_dir", lambda: None)
    assert texts.texts(VARIANTS[:2]) == [texts.text(*v) for v in VARIANTS[:2]]
