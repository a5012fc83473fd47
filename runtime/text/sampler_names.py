"""Samplers by their names in llama.cpp: of a list of those that are wanted, what switches the others off."""

from collections.abc import Sequence

from ..errors import UsageError

# in the order in which they are asked, and what of SamplerSettings switches each off
_NEUTRAL: dict[str, dict[str, float]] = {
    "penalties": {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    "top_k": {"top_k": 0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "temperature": {"temp": 1.0},
}
ORDER = tuple(_NEUTRAL)
_ALIASES = {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p", "typical": "typ_p", "typical_p": "typ_p"}
_ABSENT = {"dry", "top_n_sigma", "typ_p", "xtc", "infill", "adaptive_p"}  # llama.cpp's others, which are off by default
_LETTERS = {
    **dict(zip("edskyp", ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p"), strict=True)),
    **dict(zip("mxtia", ("min_p", "xtc", "temperature", "infill", "adaptive_p"), strict=True)),
}


def names_of(letters: str) -> list[str]:
    """The names of llama.cpp's letters for samplers; what is none stays as it is."""
    return [_LETTERS.get(letter, letter) for letter in letters]


def switched_off(names: Sequence[str]) -> dict[str, float]:
    """Values of SamplerSettings with which the samplers that are not named do nothing. UsageError for what is no name,
    and for an order in which they are not asked."""
    named = [_ALIASES.get(name, name) for name in (word.strip().lower().replace("-", "_") for word in names)]
    for name in named:
        if name not in (*ORDER, *_ABSENT):
            raise UsageError(f"no sampler {name!r:.40}; there are {', '.join(ORDER)}")
    on = [name for name in named if name in ORDER]
    if on != [name for name in ORDER if name in on]:
        raise UsageError(f"{', '.join(on)}; vkrun asks them in the order {', '.join(ORDER)}")
    return {key: value for name in ORDER if name not in on for key, value in _NEUTRAL[name].items()}
