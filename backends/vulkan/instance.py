"""The process's one Vulkan instance, made at first use, and the validation layer's messages."""

import atexit
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ...runtime import config
from ...runtime.errors import BackendError
from .api import vk

API_1_1, API_1_3 = 1 << 22 | 1 << 12, 1 << 22 | 3 << 12
VALIDATION = "VK_LAYER_KHRONOS_validation"
DEBUG_UTILS, VALIDATION_FEATURES = "VK_EXT_debug_utils", "VK_EXT_validation_features"
PORTABILITY = "VK_KHR_portability_enumeration"
PORTABILITY_FLAG = 1  # VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR


@dataclass
class Instance:
    """The handle, and what the validation layer has said since the last clear()."""

    handle: Any
    api_version: int
    validated: bool
    messages: list[str] = field(default_factory=list)
    keep: list[Any] = field(default_factory=list)  # callbacks and structs that must live as long


@cache
def instance() -> Instance:
    """Made once a process. BackendError when the loader, a driver or the validation layer is missing."""
    if error := vk.load_error():
        raise BackendError(f"vulkan: {error}")
    made = Instance(vk.null, _api_version(), config.read().validate)
    if made.api_version < API_1_1:
        raise BackendError("vulkan: the loader knows Vulkan 1.0 only, expected 1.1 or later")
    made.handle = vk.create("vkCreateInstance", "VkInstance", _create_info(made), vk.null)
    if made.validated:
        _listen(made)
    atexit.register(_destroy, made)
    return made


def _api_version() -> int:
    out = vk.ffi.new("uint32_t *")
    vk.call("vkEnumerateInstanceVersion", out)
    return min(out[0], API_1_3)


def _create_info(made: Instance) -> Any:
    names = _extension_names(vk.null)
    extensions = [PORTABILITY] if PORTABILITY in names else []
    layers, chain = [], vk.null
    if made.validated:
        layers, chain = [VALIDATION], _validation(made)
        extensions += [DEBUG_UTILS, VALIDATION_FEATURES]
    app = vk.struct("VkApplicationInfo", pApplicationName=vk.ffi.new("char[]", b"vkrun"), apiVersion=made.api_version)
    return vk.struct(
        "VkInstanceCreateInfo",
        pNext=chain,
        flags=PORTABILITY_FLAG if PORTABILITY in names else 0,
        pApplicationInfo=app,
        enabledLayerCount=len(layers),
        ppEnabledLayerNames=vk.strings(layers),
        enabledExtensionCount=len(extensions),
        ppEnabledExtensionNames=vk.strings(extensions),
    )


def _extension_names(layer: Any) -> set[str]:
    found = vk.listed("vkEnumerateInstanceExtensionProperties", "VkExtensionProperties", layer)
    return {vk.text(e.extensionName) for e in found}


def _validation(made: Instance) -> Any:
    """Synchronisation validation, and our listener for messages of the instance's own making."""
    layers = {vk.text(p.layerName) for p in vk.listed("vkEnumerateInstanceLayerProperties", "VkLayerProperties")}
    if VALIDATION not in layers:
        raise BackendError(f"VKRUN_VALIDATE=1: no {VALIDATION}; Debian, Ubuntu: apt install vulkan-validationlayers")
    wanted = vk.ffi.new(
        "VkValidationFeatureEnableEXT[]", [vk.VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT]
    )
    features = vk.struct(
        "VkValidationFeaturesEXT",
        pNext=_listener(made),
        enabledValidationFeatureCount=1,
        pEnabledValidationFeatures=wanted,
    )
    made.keep.append(features)
    return features


def _listener(made: Instance) -> Any:
    def hear(severity: int, _kinds: int, data: Any, _user: Any) -> int:
        made.messages.append(vk.text(data.pMessage))
        return 0

    callback = vk.ffi.callback("PFN_vkDebugUtilsMessengerCallbackEXT", hear)
    info = vk.struct(
        "VkDebugUtilsMessengerCreateInfoEXT",
        messageSeverity=vk.VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT
        | vk.VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        messageType=vk.VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT
        | vk.VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT
        | vk.VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        pfnUserCallback=callback,
    )
    made.keep += [callback, info]
    return info


def _listen(made: Instance) -> None:
    raw = vk.vkGetInstanceProcAddr(made.handle, vk.ffi.new("char[]", b"vkCreateDebugUtilsMessengerEXT"))
    create = vk.ffi.cast("PFN_vkCreateDebugUtilsMessengerEXT", raw)
    out = vk.ffi.new("VkDebugUtilsMessengerEXT *")
    vk.check(create(made.handle, _listener(made), vk.null, out), "vkCreateDebugUtilsMessengerEXT")
    made.keep.append(out)


def _destroy(made: Instance) -> None:
    """At exit, after the devices. The messenger goes first, its callback being Python."""
    if made.validated:
        raw = vk.vkGetInstanceProcAddr(made.handle, vk.ffi.new("char[]", b"vkDestroyDebugUtilsMessengerEXT"))
        vk.ffi.cast("PFN_vkDestroyDebugUtilsMessengerEXT", raw)(made.handle, made.keep[-1][0], vk.null)
    vk.vkDestroyInstance(made.handle, vk.null)


def forget() -> None:
    """In a process that was forked off: the instance is the parent's, the next one is the process's own."""
    instance.cache_clear()
    atexit.unregister(_destroy)
