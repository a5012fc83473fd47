#!/usr/bin/env python3
"""What a long generation costs: tokens a second and memory as it grows, the host's share of a step, and Vulkan calls.

    tools/reports/decode.py [-m MODEL.gguf] [-n 4000] [--backend vulkan]

The rate is given for each tenth of the generation, with the device time of the attention layers beside it (profiled at
that many keys), since that alone may grow.
"""

import argparse
import resource
import time
from pathlib import Path

import vkrun
from vkrun.backends.vulkan.api import vk
from vkrun.runtime.engine.decode import decode
from vkrun.runtime.ir.composites.attention import LAYER
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings

GREEDY = SamplerSettings(temp=0)


def rates(model: vkrun.Model, n: int) -> None:
    """Tokens a second, peak resident memory and attention's milliseconds a token, for each tenth of n tokens."""
    engine, part = model.engine, n // 10
    engine.reset(0)
    drawing = iter(decode(engine, [Chunk(0, 0, (1,))], GREEDY, n))
    for tenth in range(10):
        start = time.perf_counter()
        for _ in range(part):
            next(drawing)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"tokens {tenth * part:5d} to {(tenth + 1) * part:5d}: {part / seconds:7.1f} t/s, peak {peak} MiB",
            flush=True,
        )
    for _ in drawing:
        pass


def attention_ms(model: vkrun.Model, pos: int) -> tuple[float, float]:
    """Device milliseconds of a step at a position: of attention, and of everything else."""
    engine = model.engine
    for _ in decode(engine, [Chunk(0, pos, (1,))], GREEDY, 1):
        pass
    ready = engine.last
    assert ready is not None
    best = [min(times) for times in zip(*(_at(engine, ready, pos) for _ in range(5)), strict=True)]
    mine = sum(t for node, t in zip(ready.plan.nodes, best, strict=True) if OPS[node.op].layer == LAYER)
    return 1e3 * mine, 1e3 * (sum(best) - mine)


def _at(engine, ready, pos: int) -> list[float]:
    n_ctx = engine.model.capacity.n_ctx
    engine.device.write(ready.inputs.storage, ready.inputs.fill([[Chunk(0, pos, (1,))]], n_ctx))
    return ready.program.profile()


def host_share(model: vkrun.Model, n: int = 200) -> None:
    """Milliseconds of a step in which Python works and does not wait, and Vulkan calls a token."""
    assert model.engine.last is not None
    program = model.engine.last.program
    waited, wait = 0.0, program.wait

    def timed() -> None:
        nonlocal waited
        start = time.perf_counter()
        wait()
        waited += time.perf_counter() - start

    program.wait = timed
    try:
        with vk.counting() as calls:
            start = time.perf_counter()
            for _ in decode(model.engine, [Chunk(0, 10, (1,))], GREEDY, n):
                pass
            total = time.perf_counter() - start
    finally:
        del program.wait
    made = {name: round(count / n, 2) for name, count in dict(calls).items()}
    print(f"a step: {1e3 * total / n:.3f} ms, of which Python works {1e3 * (total - waited) / n:.3f} ms")
    print(f"Vulkan calls a token: {made}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, default=vkrun.BUNDLED)
    parser.add_argument("-n", type=int, default=4000)
    parser.add_argument("--backend", default="vulkan")
    args = parser.parse_args()
    with vkrun.load(args.model, backend=args.backend, n_ctx=args.n + 96) as model:
        rates(model, args.n)
        for pos in (50, args.n - 50):
            mine, rest = attention_ms(model, pos)
            print(f"device time at token {pos}: attention {mine:.3f} ms, the rest {rest:.3f} ms")
        for _ in decode(model.engine, [Chunk(0, 10, (1,))], GREEDY, 5):
            pass
        host_share(model)


if __name__ == "__main__":
    main()
