#!/usr/bin/env python3
"""What a backend leaves behind: memory of the device and of the process, before, during and after.

    tools/reports/memory.py [--backend cuda] [--model MODEL] [--loads 10] [--tokens 4000] [--only PART,...]

loads    a model loaded and closed so many times in one process
killed   a process that is killed with a model loaded
flat     so many tokens generated one after the other
full     a load for which another process has left no room (cuda only)

Free memory is asked for by a process of its own each time. The exit code counts what was not as it should be.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import vkrun
from vkrun.backends import registry
from vkrun.backends.cuda import api
from vkrun.runtime.engine.decode import decode
from vkrun.runtime.engine.engine import KV_SIZE
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings

MIB = 1 << 20
SLACK = 8 * MIB  # what a driver may keep for the next one


def child(args: argparse.Namespace, part: str, wait_for: str = "") -> "subprocess.Popen[str]":
    """This program as a process of its own; returns once it has printed a line that begins so."""
    own = [sys.executable, os.path.abspath(__file__), "--backend", args.backend, "--model", str(args.model)]
    made = subprocess.Popen([*own, "--inside", part], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    while wait_for and made.stdout and (line := made.stdout.readline()) and not line.startswith(wait_for):
        pass
    return made


def free(args: argparse.Namespace) -> int:
    said, _ = child(args, "free").communicate(timeout=60)
    return int(said.split()[-1])


def own_memory() -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / MIB:.0f} MiB resident, {len(os.listdir('/proc/self/fd'))} files open"


def loads(args: argparse.Namespace) -> bool:
    before, files = free(args), len(os.listdir("/proc/self/fd"))
    for i in range(args.loads):
        with vkrun.load(args.model, backend=args.backend, n_ctx=512) as model:
            "".join(model.generate("a", max_tokens=4, temperature=0))
        if i in (0, args.loads - 1):
            files = files if i else len(os.listdir("/proc/self/fd"))
            print(f"  after {i + 1}: {free(args) / MIB:.0f} MiB free, {own_memory()}")
    return before - free(args) < SLACK and len(os.listdir("/proc/self/fd")) <= files


def killed(args: argparse.Namespace) -> bool:
    before = free(args)
    other = child(args, "loaded", wait_for="loaded")
    during = free(args)
    other.kill()
    other.wait()
    after = free(args)
    print(f"  before {before / MIB:.0f} MiB free, with the other {during / MIB:.0f}, killed {after / MIB:.0f}")
    return during < before - SLACK and before - after < SLACK


def flat(args: argparse.Namespace) -> bool:
    """Measured where the first steps of the last planned size are over, and at the end."""
    seen: list[int] = []
    with vkrun.load(args.model, backend=args.backend, n_ctx=args.tokens + 1) as model:
        device, first = model.engine.device, KV_SIZE
        while first < args.tokens // 2:
            first *= 2
        steps = decode(model.engine, [Chunk(0, 0, (1,))], SamplerSettings(temp=1.0, seed=1), args.tokens)
        for i, _ in enumerate(steps, 1):
            if i in (10, first + 100, args.tokens):
                seen.append(device.nbytes_free() or 0)
                print(f"  {i} tokens: {seen[-1] / MIB:.0f} MiB free, {own_memory()}")
    return len(seen) == 3 and seen[-2] - seen[-1] < SLACK


def full(args: argparse.Namespace) -> bool:
    other = child(args, "hog", wait_for="has")
    try:
        vkrun.load(args.model, backend=args.backend)
    except VkrunError as error:
        print(f"  {error}")
        return len(str(error).splitlines()) == 1 and "free" in str(error)
    finally:
        other.kill()
        other.wait()
    return False


def inside(args: argparse.Namespace) -> None:
    if args.inside == "loaded":
        model = vkrun.load(args.model, backend=args.backend, n_ctx=512)
        print("loaded", model.info.device, flush=True)
        time.sleep(600)
    backend, info = registry.choose(args.backend, None)
    device = backend.open(info)
    n_free = device.nbytes_free() or 0
    if args.inside == "hog":
        api.call("cuMemAlloc", n_free - 1024 * MIB)  # but for another's context
        print("has all but", device.nbytes_free(), flush=True)
        time.sleep(600)
    print("free", n_free)
    device.close()


PARTS = {"loads": loads, "killed": killed, "flat": flat, "full": full}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--model", type=Path, default=vkrun.BUNDLED)
    parser.add_argument("--loads", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, in order")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args)
        return
    bad = 0
    for name in args.only.split(","):
        print(name, flush=True)
        is_right = PARTS[name](args)
        bad += not is_right
        print(f"{'ok ' if is_right else 'BAD'} {name}", flush=True)
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
