"""The pipeline cache on disk: one file a device and driver, checked before a driver sees it."""

import hashlib
import struct
from pathlib import Path
from typing import Any

from ...runtime import config
from ...runtime.caches import keep
from ...runtime.errors import BackendError
from .api import vk
from .logical import Logical
from .physical import Physical

MAGIC = b"vkrun pipelines 1\n"
MAX_NBYTES = 256 << 20
_HEADER = struct.Struct("<IIII16s")  # VkPipelineCacheHeaderVersionOne: size, version, vendor, device, UUID


def create(logical: Logical) -> Any:
    """A VkPipelineCache, with what an earlier process left where that is sound."""
    data = _load(logical.physical)
    try:
        return _create(logical, data)
    except BackendError:  # a driver that refuses old data
        return _create(logical, b"")


def save(logical: Logical, cache: Any) -> None:
    """Write the cache for the next process."""
    path = _path(logical.physical)
    data = _data(logical, cache)
    if path is not None and data and _load(logical.physical) != data:
        keep(path, MAGIC + hashlib.sha256(data).digest() + data)


def _create(logical: Logical, data: bytes) -> Any:
    initial = vk.ffi.from_buffer(data) if data else vk.null
    info = vk.struct("VkPipelineCacheCreateInfo", initialDataSize=len(data), pInitialData=initial)
    return vk.create("vkCreatePipelineCache", "VkPipelineCache", logical.handle, info, vk.null)


def _path(physical: Physical) -> Path | None:
    """None when there is no place for caches, or they are switched off."""
    wanted = config.read()
    if wanted.cache_dir is None or not wanted.has("PIPELINE_CACHE"):
        return None
    key = f"{physical.vendor:x}:{physical.device:x}:{physical.cache_uuid.hex()}:{physical.driver}"
    return wanted.cache_dir / "pipelines" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"


def _load(physical: Physical) -> bytes:
    """The kept cache's data, or nothing when it is absent, damaged or another driver's."""
    path = _path(physical)
    try:
        if path is None or path.stat().st_size > MAX_NBYTES:
            return b""
        kept = path.read_bytes()
    except OSError:
        return b""
    at = len(MAGIC) + 32
    data = kept[at:]
    sound = kept.startswith(MAGIC) and hashlib.sha256(data).digest() == kept[len(MAGIC) : at]
    return data if sound and _is_ours(data, physical) else b""


def _is_ours(data: bytes, physical: Physical) -> bool:
    if len(data) < _HEADER.size:
        return False
    size, version, vendor, device, uuid = _HEADER.unpack_from(data)
    ours = physical.vendor, physical.device, physical.cache_uuid
    return size >= _HEADER.size and version == 1 and (vendor, device, uuid) == ours


def _data(logical: Logical, cache: Any) -> bytes:
    size = vk.ffi.new("size_t *")
    vk.call("vkGetPipelineCacheData", logical.handle, cache, size, vk.null)
    data = vk.ffi.new("char[]", size[0])
    vk.call("vkGetPipelineCacheData", logical.handle, cache, size, data)
    return bytes(vk.ffi.buffer(data, size[0]))
