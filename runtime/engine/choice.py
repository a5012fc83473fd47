"""TokenChoice: how the next tokens of one sequence are chosen, on the device where it can, else on the host."""

import numpy as np

from ..errors import TextError
from ..ir.ops import OPS
from ..ir.ops.sampling import settings_row
from ..text.sampler import Sampler, SamplerSettings

MAX_CANDIDATES = 64  # of a token that the device draws


def can_draw(settings: SamplerSettings) -> bool:
    """Can the device choose by these settings? Penalties and long candidate lists need all logits on the host."""
    return not settings.penalises and (settings.temp <= 0 or 0 < settings.top_k <= MAX_CANDIDATES)


class TokenChoice:
    """`row`: the settings as the op `draw` reads them, int32 [N_SETTINGS]; n_drawn: candidates that it needs."""

    def __init__(self, settings: SamplerSettings) -> None:
        self.on_device = can_draw(settings)
        self.n_drawn = 1 if settings.temp <= 0 else MAX_CANDIDATES
        seed = settings.seed
        if seed in (None, -1):
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.row = settings_row(settings.temp, settings.top_p, settings.min_p, settings.top_k, seed or 0)
        self._sampler = Sampler(settings)

    def choose(self, logits: np.ndarray, ids: list[int]) -> int:
        """The token after ids, by their logits [n_vocab], on the host; what the device draws is drawn here alike.

        TextError unless all logits are finite."""
        if not self.on_device:
            return self._sampler.sample(logits, ids)
        if not np.isfinite(logits).all():
            raise not_finite(len(ids))
        (best,) = OPS["top_k"].compute(logits[None], k=min(self.n_drawn, logits.size))
        (token,) = OPS["draw"].compute(logits[None], best, self.row[None], np.array([[len(ids) - 1]], np.int32))
        return int(token[0, 0])


def not_finite(n_tokens: int) -> TextError:
    return TextError(f"logits: not finite after {n_tokens} tokens, so no token can be chosen")
