"""Compute pipelines: each (shader, defines, constants) once a device, created in parallel, cached on disk."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from ...runtime import config
from ...runtime.errors import BackendError
from ...shaders import denormals
from ...shaders.addresses import by_addresses, pushed_nbytes
from ...shaders.compile import spirv
from ...shaders.interface import of_spirv
from ...shaders.kernel import ARGUMENTS_NBYTES, Defines, KernelCall, KernelCode
from ..base import Progress
from ..together import Once, made_together
from . import pipeline_cache
from .api import vk
from .logical import Logical

SAVE_AFTER = 16  # new pipelines of one compile() that are worth a write to disk at once


@dataclass(frozen=True)
class PipelineKey:
    code: KernelCode
    n_bindings: int

    @staticmethod
    def of(call: KernelCall) -> "PipelineKey":
        return PipelineKey(call.code, len(call.buffers))


@dataclass(frozen=True)
class BindingLayout:
    """Layouts of a descriptor set of n storage buffers (None where their addresses are pushed), and of pipelines."""

    set: Any
    pipeline: Any


class Pipelines:
    """What outlives programs: modules, layouts, pipelines and their cache."""

    def __init__(self, logical: Logical) -> None:
        self._logical, self._lock = logical, Lock()
        self._modules: dict[tuple[str, Defines], Any] = {}
        self._layouts: dict[int, BindingLayout] = {}  # by the number of descriptors
        self._once = Once(self._create)
        self._made: dict[PipelineKey, Any] = {}
        self._cache = pipeline_cache.create(logical)

    def layout(self, key: PipelineKey) -> BindingLayout:
        return self.bound_layout(0 if self.pushes_addresses(key.code) else key.n_bindings)

    def bound_layout(self, n_bindings: int) -> BindingLayout:
        with self._lock:
            if n_bindings not in self._layouts:
                self._layouts[n_bindings] = self._create_layout(n_bindings)
            return self._layouts[n_bindings]

    def pushes_addresses(self, code: KernelCode) -> bool:
        """Whether a shader's buffers are at addresses behind its arguments, see shaders/addresses.py."""
        physical = self._logical.physical
        return physical.has_addresses and pushed_nbytes(of_spirv(code.stem, code.defines)) <= physical.limits.max_pushed

    def get(self, keys: Iterable[PipelineKey], progress: Progress | None = None) -> dict[PipelineKey, Any]:
        """Pipelines for keys, those missing created in parallel. BackendError names the shader that fails."""
        listed, n_before = list(keys), len(self._made)
        found = made_together(self._made, listed, self._once, lambda _key, made: made, progress)
        if len(self._made) - n_before >= SAVE_AFTER:
            pipeline_cache.save(self._logical, self._cache)
        return found

    def ahead(self, keys: Iterable[PipelineKey]) -> None:
        """Create those that are missing, beside whatever else is done."""
        self._once.ahead(k for k in keys if k not in self._made)

    def close(self) -> None:
        device = self._logical.handle
        pipeline_cache.save(self._logical, self._cache)
        for pipeline in self._once.made():
            vk.vkDestroyPipeline(device, pipeline, vk.null)
        for module in self._modules.values():
            vk.vkDestroyShaderModule(device, module, vk.null)
        for layout in self._layouts.values():
            vk.vkDestroyPipelineLayout(device, layout.pipeline, vk.null)
            if layout.set is not None:
                vk.vkDestroyDescriptorSetLayout(device, layout.set, vk.null)
        vk.vkDestroyPipelineCache(device, self._cache, vk.null)

    def _create(self, key: PipelineKey) -> Any:
        code = key.code
        config.note(4, f"pipeline {code.title}")
        physical, numbered = self._logical.physical, of_spirv(code.stem, code.defines).numbered(dict(code.constants))
        stage = vk.struct(
            "VkPipelineShaderStageCreateInfo",
            stage=vk.VK_SHADER_STAGE_COMPUTE_BIT,
            module=self._module(code),
            pName=vk.ffi.new("char[]", b"main"),
            pSpecializationInfo=_constants({**numbered, denormals.CONSTANT_ID: int(physical.keeps_denormals)}),
        )
        info = vk.struct("VkComputePipelineCreateInfo", stage=stage[0], layout=self.layout(key).pipeline)
        out = vk.ffi.new("VkPipeline *")
        result = vk.vkCreateComputePipelines(self._logical.handle, self._cache, 1, info, vk.null, out)
        if result < 0:
            raise BackendError(f"{self._logical.physical.name}: shader {code.title}: {vk.result_name(result)}")
        return out[0]

    def _module(self, code: KernelCode) -> Any:
        name = code.stem, code.defines
        if name in self._modules:
            return self._modules[name]
        words = by_addresses(spirv(*name)) if self.pushes_addresses(code) else spirv(*name)
        if self._logical.physical.keeps_denormals:
            words = denormals.keeping_denormals(words)
        info = vk.struct(
            "VkShaderModuleCreateInfo",
            codeSize=len(words),
            pCode=vk.ffi.new("uint32_t[]", struct.unpack(f"<{len(words) // 4}I", words)),
        )
        made = vk.create("vkCreateShaderModule", "VkShaderModule", self._logical.handle, info, vk.null)
        with self._lock:
            kept = self._modules.setdefault(name, made)
        if kept is not made:  # another thread was faster
            vk.vkDestroyShaderModule(self._logical.handle, made, vk.null)
        return kept

    def _create_layout(self, n_bindings: int) -> BindingLayout:
        device, physical = self._logical.handle, self._logical.physical
        sets = self._create_sets(n_bindings) if n_bindings else None
        nbytes = physical.limits.max_pushed if physical.has_addresses else ARGUMENTS_NBYTES
        push = vk.struct("VkPushConstantRange", stageFlags=vk.VK_SHADER_STAGE_COMPUTE_BIT, size=nbytes)
        info = vk.struct(
            "VkPipelineLayoutCreateInfo",
            setLayoutCount=0 if sets is None else 1,
            pSetLayouts=vk.null if sets is None else vk.array("VkDescriptorSetLayout", [sets]),
            pushConstantRangeCount=1,
            pPushConstantRanges=push,
        )
        return BindingLayout(sets, vk.create("vkCreatePipelineLayout", "VkPipelineLayout", device, info, vk.null))

    def _create_sets(self, n_bindings: int) -> Any:
        bindings = [
            vk.struct(
                "VkDescriptorSetLayoutBinding",
                binding=i,
                descriptorType=vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                descriptorCount=1,
                stageFlags=vk.VK_SHADER_STAGE_COMPUTE_BIT,
            )
            for i in range(n_bindings)
        ]
        info = vk.struct(
            "VkDescriptorSetLayoutCreateInfo",
            bindingCount=n_bindings,
            pBindings=vk.array("VkDescriptorSetLayoutBinding", bindings),
        )
        return vk.create("vkCreateDescriptorSetLayout", "VkDescriptorSetLayout", self._logical.handle, info, vk.null)


def _constants(values: Mapping[int, int]) -> Any:
    """Specialisation constants by number, of 32 bits each; those that a shader has not are no fault."""
    data = vk.ffi.new("uint32_t[]", [v & 0xFFFFFFFF for v in values.values()])
    entries = [
        vk.struct("VkSpecializationMapEntry", constantID=number, offset=4 * i, size=4)
        for i, number in enumerate(values)
    ]
    return vk.struct(
        "VkSpecializationInfo",
        mapEntryCount=len(values),
        pMapEntries=vk.array("VkSpecializationMapEntry", entries),
        dataSize=4 * len(values),
        pData=data,
    )
