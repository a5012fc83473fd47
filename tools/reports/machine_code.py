#!/usr/bin/env python3
"""What NVIDIA's Vulkan driver makes of the kernels that decoding takes: instructions, registers, and what went into
memory instead, as a table in Markdown; with --out each kernel's code as nvdisasm shows it.

    tools/reports/machine_code.py MODEL [--seqs 1,8] [--arch SM90] [--out FOLDER]

Needs zstd, and nvdisasm of the CUDA toolkit. The code is taken from the driver's pipeline cache, where driver 580 keeps
it compressed by zstd, behind a header with the mark NVuc; another may not. A model of a few layers shows the kernels of
a large one of the same shape. Loads and stores of local memory (LDL, STL) are arrays that are not counted through by
constants; registers that were too many stand in shared memory, at a thread's own place.
"""

import argparse
import re
import struct
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

import vkrun
from vkrun.backends.vulkan import pipeline_cache, resources
from vkrun.backends.vulkan.api import vk
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.backends.vulkan.pipelines import PipelineKey, Pipelines
from vkrun.runtime.engine.decode import decode
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings

ZSTD, MARK, CODE = b"\x28\xb5\x2f\xfd", b"NVuc", 1
HEADER_NBYTES, HEADER_LEAST = 0x160, 0x100
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(.*?);")
REGISTER, OPCODE = re.compile(r"\bR(\d+)\b"), re.compile(r"^(?:@!?U?P\d+ +)?([A-Z0-9]+)")
COLUMNS = ("kernel", "instructions", "registers", "LDL", "STL", "branches", "LDG", "LDS", "SHFL")


class KeptPipelines(Pipelines):
    """Each made with a cache of its own, whose data stay in `kept`, by the kernel's title."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept: dict[str, bytes] = {}
        self._one = Lock()

    def _create(self, key: PipelineKey) -> Any:
        with self._one:
            usual = self._cache
            self._cache = pipeline_cache._create(self._logical, b"")
            try:
                made = super()._create(key)
                self.kept[key.code.title] = pipeline_cache._data(self._logical, self._cache)
            finally:
                vk.vkDestroyPipelineCache(self._logical.handle, self._cache, vk.null)
                self._cache = usual
        return made


def blobs(path: str, seqs: list[int]) -> dict[str, bytes]:
    """The driver's data of each kernel that a step of so many sequences takes."""
    resources.Pipelines = KeptPipelines
    with vkrun.load(path, backend="vulkan", n_ctx=512, n_seqs=max(seqs)) as model:
        for n in seqs:
            for _ in decode(model.engine, [Chunk(slot, 24, (5,)) for slot in range(n)], SamplerSettings(temp=0), 2):
                pass
        device = model.engine.device
        assert isinstance(device, VulkanDevice) and isinstance(device._resources.pipelines, KeptPipelines)
        return dict(device._resources.pipelines.kept)


def machine_code(data: bytes) -> bytes:
    """Of a pipeline cache's data with one kernel. SystemExit where it is not as the driver was seen to write it."""
    start = data.find(ZSTD)
    raw = subprocess.run(["zstd", "-dc"], input=data[start:], capture_output=True).stdout if start >= 0 else b""
    base = raw.find(MARK)
    for at in range(base, base + HEADER_NBYTES, 4) if base >= 0 else ():
        kind, size, offset = struct.unpack_from("<III", raw, at)
        if kind == CODE and size and not size % 128 and HEADER_LEAST <= offset <= len(raw) - base - size:
            return raw[base + offset : base + offset + size]
    raise SystemExit("no machine code in the driver's pipeline cache: not NVIDIA's, or of another version")


def disassembled(code: bytes, arch: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(code)
        file.flush()
        return subprocess.run(["nvdisasm", "-b", arch, file.name], capture_output=True, text=True, check=True).stdout


def cells(title: str, listing: str) -> tuple[str, ...]:
    lines = [re.sub(r"\s+", " ", line) for line in INSTRUCTION.findall(listing)]
    found = Counter(m[1] for line in lines if (m := OPCODE.match(line)))
    registers = max((int(r) for line in lines for r in REGISTER.findall(line)), default=-1) + 1
    return title, str(len(lines)), str(registers), *(str(found[op]) for op in ("LDL", "STL", "BRA", *COLUMNS[6:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seqs", default="1,8", help="sequences of a step, for several steps")
    parser.add_argument("--arch", default="SM90", help="nvdisasm's name of the device's")
    parser.add_argument("--out", help="folder for the code of each kernel")
    args = parser.parse_args()
    rows = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))]
    for title, data in sorted(blobs(args.model, [int(n) for n in args.seqs.split(",")]).items()):
        listing = disassembled(machine_code(data), args.arch)
        rows.append(cells(title, listing))
        if args.out:
            Path(args.out).mkdir(parents=True, exist_ok=True)
            (Path(args.out) / (re.sub(r"[^A-Za-z0-9_=]+", "_", title)[:180] + ".sass")).write_text(listing)
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))


if __name__ == "__main__":
    main()
