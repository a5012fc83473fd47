"""A physical device's facts: name, driver, memory, limits and features, and the feature chain that enables them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ...runtime import config
from ...shaders.catalogue import usable
from ...shaders.kernel import Features
from ..base import DeviceInfo
from .api import vk
from .instance import API_1_1, instance

GIB = 1 << 30
KINDS = {1: "integrated gpu", 2: "discrete gpu", 3: "virtual gpu", 4: "cpu"}
WORTH = ("discrete gpu", "integrated gpu", "virtual gpu", "cpu")


_COOPMAT, _MEMORY_MODEL = "VkPhysicalDeviceCooperativeMatrixFeaturesKHR", "VkPhysicalDeviceVulkanMemoryModelFeatures"
_ADDRESSES = "VkPhysicalDeviceBufferDeviceAddressFeatures"

# what a shader may use: VKRUN_NO_ switch, struct, the extension that brings it (and the core version), its fields
_FEATURE_STRUCTS = (
    ("FP16", "VkPhysicalDeviceShaderFloat16Int8Features", "VK_KHR_shader_float16_int8", 2, ("shaderFloat16",)),
    (
        "INT_DOT",
        "VkPhysicalDeviceShaderIntegerDotProductFeatures",
        "VK_KHR_shader_integer_dot_product",
        3,
        ("shaderIntegerDotProduct",),
    ),
    ("ADDRESSES", _ADDRESSES, "", 2, ("bufferDeviceAddress",)),
    ("COOPMAT", _COOPMAT, "VK_KHR_cooperative_matrix", 99, ("cooperativeMatrix",)),
    (
        "COOPMAT",
        _MEMORY_MODEL,
        "VK_KHR_vulkan_memory_model",
        2,
        ("vulkanMemoryModel", "vulkanMemoryModelDeviceScope"),
    ),
)
_SUBGROUP_OPERATIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10  # basic, vote, arithmetic, ballot, shuffle
_COMPUTE_STAGE = 0x20
_NVIDIA = 0x10DE
_BUDGET, _PORTABILITY = "VK_EXT_memory_budget", "VK_KHR_portability_subset"
_FLOAT_CONTROLS = "VK_KHR_shader_float_controls"  # of version 1.2


@dataclass(frozen=True)
class Limits:
    """What the host must keep to, in bytes unless it says otherwise. Tests open devices with smaller ones."""

    max_binding: int  # of one descriptor
    max_allocation: int  # of one VkDeviceMemory
    max_buffer: int
    max_pushed: int
    alignment: int  # of a descriptor's offset
    timestamp_ns: float  # 0: no timestamps
    timestamp_bits: int


@dataclass(frozen=True)
class MemoryType:
    index: int
    heap: int
    heap_nbytes: int
    flags: int


@dataclass(frozen=True)
class Physical:
    """A physical device, as far as the backend cares. `enabled` maps a feature struct to its fields that are on."""

    handle: Any
    api_version: int
    name: str
    driver: str
    kind: str
    uuid: str
    vendor: int
    device: int
    cache_uuid: bytes
    queue_family: int
    limits: Limits
    features: Features
    keeps_denormals: bool  # of halves, where shaders ask it to
    enabled: Mapping[str, tuple[str, ...]]
    extensions: tuple[str, ...]
    memory_types: tuple[MemoryType, ...]
    heap_is_device: tuple[bool, ...]

    @property
    def has_addresses(self) -> bool:
        """Whether shaders may reach buffers by addresses."""
        return _ADDRESSES in self.enabled

    @property
    def memory(self) -> int:
        """Bytes of the device-local heaps."""
        heaps = {t.heap: t.heap_nbytes for t in self.memory_types if self.heap_is_device[t.heap]}
        return sum(heaps.values())

    def memory_free(self) -> int | None:
        """Bytes that this process may still take of the device-local heaps; None where the driver does not say."""
        if _BUDGET not in self.extensions:
            return None
        budget = vk.struct("VkPhysicalDeviceMemoryBudgetPropertiesEXT")
        vk.vkGetPhysicalDeviceMemoryProperties2(
            self.handle, vk.struct("VkPhysicalDeviceMemoryProperties2", pNext=budget)
        )
        heaps = (h for h, local in enumerate(self.heap_is_device) if local)
        return sum(max(0, budget.heapBudget[h] - budget.heapUsage[h]) for h in heaps)

    def info(self, index: int) -> DeviceInfo:
        return DeviceInfo(
            "vulkan",
            index,
            self.name,
            self.driver,
            self.kind,
            self.uuid,
            self.memory,
            self.memory_free(),
            self.features.offered(),
        )

    def feature_chain(self, robust: bool) -> Any:
        """The VkPhysicalDeviceFeatures2 that enables what this device has."""
        chain = vk.null
        for struct, fields in self.enabled.items():
            chain = vk.struct(struct, pNext=chain, **dict.fromkeys(fields, 1))
        return vk.struct("VkPhysicalDeviceFeatures2", pNext=chain, features={"robustBufferAccess": int(robust)})


def physicals() -> list[Physical]:
    """The devices with Vulkan 1.1 and compute, best first: by kind, then by memory. BackendError without a loader."""
    handles = vk.listed("vkEnumeratePhysicalDevices", "VkPhysicalDevice", instance().handle)
    found = [p for p in map(_describe, list(handles)) if p]
    return sorted(found, key=lambda p: (WORTH.index(p.kind), -p.memory))


def _describe(handle: Any) -> Physical | None:
    base = vk.struct("VkPhysicalDeviceProperties2")
    vk.vkGetPhysicalDeviceProperties2(handle, base)
    properties = base.properties
    family = _queue_family(handle)
    if properties.apiVersion < API_1_1 or family is None:
        return None
    version = min(properties.apiVersion, instance().api_version)
    extensions = _extensions(handle)
    enabled = _usable(handle, version, extensions, _switched_off(properties))
    types, local = _memory(handle)
    return Physical(
        handle=handle,
        api_version=version,
        name=vk.text(properties.deviceName),
        driver=_driver(handle, version, extensions),
        kind=KINDS.get(properties.deviceType, "virtual gpu"),
        uuid=_uuid(handle),
        vendor=properties.vendorID,
        device=properties.deviceID,
        cache_uuid=bytes(properties.pipelineCacheUUID),
        queue_family=family[0],
        limits=_limits(handle, version, extensions, properties.limits, family[1]),
        features=_features(handle, enabled, properties),
        keeps_denormals=_keeps_denormals(handle, version, extensions),
        enabled=enabled,
        extensions=_extensions_to_enable(version, extensions, enabled),
        memory_types=types,
        heap_is_device=local,
    )


def _switched_off(properties: Any) -> frozenset[str]:
    wanted, off = config.read(), set[str]()
    if wanted.validate:
        off |= {"COOPMAT"}  # older layers take its struct for an error
    is_faster = properties.vendorID == _NVIDIA or properties.deviceType == vk.VK_PHYSICAL_DEVICE_TYPE_CPU
    if wanted.robust or wanted.validate or not is_faster:  # neither bounds nor hazards are seen behind addresses
        off |= {"ADDRESSES"}
    return wanted.off | off


def _uuid(handle: Any) -> str:
    ids = vk.struct("VkPhysicalDeviceIDProperties")
    _extended(handle, ids)
    return str(UUID(bytes=bytes(ids.deviceUUID)))


def _extensions(handle: Any) -> set[str]:
    listed = vk.listed("vkEnumerateDeviceExtensionProperties", "VkExtensionProperties", handle, vk.null)
    return {vk.text(e.extensionName) for e in listed}


def _extensions_to_enable(version: int, extensions: set[str], structs: Iterable[str]) -> tuple[str, ...]:
    """Those that bring the feature structs where the version does not, and what else is of use."""
    needed = [e for _, s, e, core_from, _ in _FEATURE_STRUCTS if s in structs and version >> 12 & 1023 < core_from]
    optional = [_PORTABILITY, *([_BUDGET] if config.read().has("MEMORY_BUDGET") else [])]
    optional += [_FLOAT_CONTROLS] if version >> 12 & 1023 < 2 else []
    return tuple(e for e in (*needed, *(o for o in optional if o in extensions)) if e)


def _extended(handle: Any, struct: Any) -> None:
    vk.vkGetPhysicalDeviceProperties2(handle, vk.struct("VkPhysicalDeviceProperties2", pNext=struct))


def _queue_family(handle: Any) -> tuple[int, int] | None:
    """Index and timestamp bits of the queue family to use: of those with compute, one with timestamps, and rather one
    without graphics, since the desktop then keeps its own."""
    families = vk.listed("vkGetPhysicalDeviceQueueFamilyProperties", "VkQueueFamilyProperties", handle)
    able = [(i, f) for i, f in enumerate(families) if f.queueFlags & vk.VK_QUEUE_COMPUTE_BIT]
    able.sort(key=lambda c: (not c[1].timestampValidBits, bool(c[1].queueFlags & vk.VK_QUEUE_GRAPHICS_BIT)))
    return (able[0][0], able[0][1].timestampValidBits) if able else None


def _driver(handle: Any, version: int, extensions: set[str]) -> str:
    if version >> 12 & 1023 < 2 and "VK_KHR_driver_properties" not in extensions:
        return ""
    driver = vk.struct("VkPhysicalDeviceDriverProperties")
    _extended(handle, driver)
    return f"{vk.text(driver.driverName)} {vk.text(driver.driverInfo)}".strip()


def _limits(handle: Any, version: int, extensions: set[str], limits: Any, timestamp_bits: int) -> Limits:
    memory = vk.struct("VkPhysicalDeviceMaintenance3Properties")
    _extended(handle, memory)
    max_buffer = memory.maxMemoryAllocationSize
    if version >> 12 & 1023 >= 3 or "VK_KHR_maintenance4" in extensions:
        buffers = vk.struct("VkPhysicalDeviceMaintenance4Properties")
        _extended(handle, buffers)
        max_buffer = buffers.maxBufferSize or max_buffer
    timestamps = timestamp_bits > 0 and limits.timestampPeriod > 0
    return Limits(
        limits.maxStorageBufferRange,
        memory.maxMemoryAllocationSize,
        max_buffer,
        limits.maxPushConstantsSize,
        max(1, limits.minStorageBufferOffsetAlignment),
        limits.timestampPeriod if timestamps else 0.0,
        timestamp_bits,
    )


def _usable(handle: Any, version: int, extensions: set[str], off: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """The feature structs with the fields that the device has and no switch forbids."""
    known = {
        struct: fields
        for switch, struct, extension, core_from, fields in _FEATURE_STRUCTS
        if switch not in off and (version >> 12 & 1023 >= core_from or extension in extensions)
    }
    chain, structs = vk.null, {}
    for struct in known:
        chain = structs[struct] = vk.struct(struct, pNext=chain)
    vk.vkGetPhysicalDeviceFeatures2(handle, vk.struct("VkPhysicalDeviceFeatures2", pNext=chain))
    enabled = {s: tuple(f for f in fields if getattr(structs[s], f)) for s, fields in known.items()}
    if not enabled.get(_COOPMAT):  # the memory model is wanted for cooperative matrices alone
        enabled.pop(_MEMORY_MODEL, None)
    return {s: fields for s, fields in enabled.items() if fields}


def _features(handle: Any, enabled: Mapping[str, tuple[str, ...]], properties: Any) -> Features:
    on = {field for fields in enabled.values() for field in fields}
    limits = properties.limits
    offered = Features(
        subgroup_size=_subgroup_size(handle),
        float16="shaderFloat16" in on,
        int_dot="shaderIntegerDotProduct" in on,
        cooperative_matrix=_matrix_shapes(handle) if {"cooperativeMatrix", "vulkanMemoryModel"} <= on else (),
        shared_nbytes=limits.maxComputeSharedMemorySize,
        max_workgroup=min(limits.maxComputeWorkGroupInvocations, limits.maxComputeWorkGroupSize[0]),
        delta_chunks=config.read().has("DELTA_CHUNKS"),
        software=properties.deviceType == vk.VK_PHYSICAL_DEVICE_TYPE_CPU,
    )
    return usable(offered)


def _keeps_denormals(handle: Any, version: int, extensions: set[str]) -> bool:
    if not config.read().has("DENORMALS") or (version >> 12 & 1023 < 2 and _FLOAT_CONTROLS not in extensions):
        return False
    controls = vk.struct("VkPhysicalDeviceFloatControlsProperties")
    _extended(handle, controls)
    alone = controls.denormBehaviorIndependence != vk.VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_NONE
    return alone and bool(controls.shaderDenormPreserveFloat16)


def _matrix_shapes(handle: Any) -> tuple[tuple[int, int, int], ...]:
    """Rows, columns and inner size of the products of halves summed in fp32 that a subgroup computes."""
    name = "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"
    raw = vk.vkGetInstanceProcAddr(instance().handle, vk.ffi.new("char[]", name.encode()))
    if not raw:
        return ()
    get, count = vk.ffi.cast(f"PFN_{name}", raw), vk.ffi.new("uint32_t *")
    vk.check(get(handle, count, vk.null), name)
    kind = vk.struct("VkCooperativeMatrixPropertiesKHR")
    listed = vk.ffi.new("VkCooperativeMatrixPropertiesKHR[]", [kind[0]] * count[0])
    vk.check(get(handle, count, listed), name)
    half, single, subgroup = (
        vk.VK_COMPONENT_TYPE_FLOAT16_KHR,
        vk.VK_COMPONENT_TYPE_FLOAT32_KHR,
        vk.VK_SCOPE_SUBGROUP_KHR,
    )
    wanted = (half, half, single, single, subgroup)
    return tuple(
        (m.MSize, m.NSize, m.KSize)
        for m in listed[0 : count[0]]
        if (m.AType, m.BType, m.CType, m.ResultType, m.scope) == wanted
    )


def _subgroup_size(handle: Any) -> int:
    """0 unless compute shaders have basic, vote, arithmetic, ballot and shuffle."""
    subgroups = vk.struct("VkPhysicalDeviceSubgroupProperties")
    _extended(handle, subgroups)
    able = subgroups.supportedOperations & _SUBGROUP_OPERATIONS == _SUBGROUP_OPERATIONS
    wanted = able and subgroups.supportedStages & _COMPUTE_STAGE and config.read().has("SUBGROUP")
    return subgroups.subgroupSize if wanted else 0


def _memory(handle: Any) -> tuple[tuple[MemoryType, ...], tuple[bool, ...]]:
    base = vk.struct("VkPhysicalDeviceMemoryProperties2")
    vk.vkGetPhysicalDeviceMemoryProperties2(handle, base)
    memory = base.memoryProperties
    heaps = [(memory.memoryHeaps[i].size, memory.memoryHeaps[i].flags) for i in range(memory.memoryHeapCount)]
    types = [memory.memoryTypes[i] for i in range(memory.memoryTypeCount)]
    made = tuple(MemoryType(i, t.heapIndex, heaps[t.heapIndex][0], t.propertyFlags) for i, t in enumerate(types))
    return made, tuple(bool(flags & vk.VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) for _, flags in heaps)
