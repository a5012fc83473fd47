"""Models with caches of F32, for tests that hold numbers to more digits than F16 has."""

from functools import partial

import vkrun

load_exact = partial(vkrun.load, cache_type_k="f32", cache_type_v="f32")
