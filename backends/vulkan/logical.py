"""An open VkDevice with its one queue: the only place that submits and waits."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .api import vk
from .physical import Physical

WAIT_NS = 1_000_000_000  # one wait; the loop around it lets Python see Ctrl-C

_COMPUTE, _TRANSFER, _ALL = 0x800, 0x1000, 0x10000  # VkPipelineStageFlagBits
_INDIRECT, _HOST = 0x2, 0x4000
_GRID_READ = 0x1
_SHADER_READ, _SHADER_WRITE, _COPY_READ, _COPY_WRITE, _HOST_READ = 0x20, 0x40, 0x800, 0x1000, 0x2000
_ANY_READ, _ANY_WRITE = 0x8000, 0x10000  # VkAccessFlagBits


class Barrier:
    """A global memory barrier, its struct made once."""

    def __init__(self, stages: tuple[int, int], accesses: tuple[int, int]) -> None:
        self._stages = stages
        self._barrier = vk.struct("VkMemoryBarrier", srcAccessMask=accesses[0], dstAccessMask=accesses[1])

    def record(self, command: Any) -> None:
        vk.vkCmdPipelineBarrier(command, *self._stages, 0, 1, self._barrier, 0, vk.null, 0, vk.null)


class Logical:
    """`lock` is held by whoever records into the command pool or submits."""

    def __init__(self, physical: Physical, robust: bool) -> None:
        self.physical, self.lock = physical, threading.RLock()
        self.handle = vk.create("vkCreateDevice", "VkDevice", physical.handle, _create_info(physical, robust), vk.null)
        queue = vk.ffi.new("VkQueue *")
        vk.vkGetDeviceQueue(self.handle, physical.queue_family, 0, queue)
        self.queue = queue[0]
        pool = vk.struct(
            "VkCommandPoolCreateInfo",
            flags=vk.VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
            queueFamilyIndex=physical.queue_family,
        )
        self._pool = vk.create("vkCreateCommandPool", "VkCommandPool", self.handle, pool, vk.null)
        self.between_dispatches = Barrier((_COMPUTE, _COMPUTE), (_SHADER_WRITE, _SHADER_READ | _SHADER_WRITE))
        self.before_branches = Barrier((_COMPUTE, _INDIRECT), (_SHADER_WRITE, _GRID_READ))
        self.everything = Barrier((_ALL, _ALL), (_ANY_WRITE, _ANY_READ | _ANY_WRITE))
        self.before_copies = Barrier((_COMPUTE, _TRANSFER), (_SHADER_WRITE, _COPY_READ | _COPY_WRITE))
        self.before_host = Barrier((_TRANSFER, _HOST), (_COPY_WRITE, _HOST_READ))
        self._begin = vk.struct("VkCommandBufferBeginInfo")

    def commands(self, n: int) -> list[Any]:
        """New command buffers; freed with free_commands or with the device."""
        info = vk.struct("VkCommandBufferAllocateInfo", commandPool=self._pool, commandBufferCount=n)
        made = vk.ffi.new("VkCommandBuffer[]", n)
        vk.call("vkAllocateCommandBuffers", self.handle, info, made)
        return list(made)

    def free_commands(self, commands: Iterable[Any]) -> None:
        listed = list(commands)
        if listed:
            vk.vkFreeCommandBuffers(self.handle, self._pool, len(listed), vk.ffi.new("VkCommandBuffer[]", listed))

    @contextmanager
    def recording(self, command: Any) -> Iterator[Any]:
        vk.call("vkBeginCommandBuffer", command, self._begin)
        yield command
        vk.call("vkEndCommandBuffer", command)

    def fence(self) -> Any:
        return vk.create("vkCreateFence", "VkFence", self.handle, vk.struct("VkFenceCreateInfo"), vk.null)

    def submit(self, info: Any, fence: Any) -> None:
        vk.call("vkQueueSubmit", self.queue, 1, info, fence)

    def wait(self, fences: Any) -> None:
        """Wait for a `VkFence[1]` and reset it."""
        while vk.call("vkWaitForFences", self.handle, 1, fences, 1, WAIT_NS) == vk.VK_TIMEOUT:
            pass
        vk.call("vkResetFences", self.handle, 1, fences)

    def settle(self, fences: Any) -> None:
        """After an error or Ctrl-C between submitting and waiting: leave nothing running and the fences reset."""
        vk.vkDeviceWaitIdle(self.handle)
        vk.vkResetFences(self.handle, 1, fences)

    def once(self, record: Callable[[Any], None]) -> None:
        """Record, run once and wait: for set-up, never between two tokens."""
        with self.lock:
            (command,) = commands = self.commands(1)
            fences = vk.array("VkFence", [self.fence()])
            try:
                with self.recording(command):
                    self.everything.record(command)
                    record(command)
                    self.everything.record(command)
                    self.before_host.record(command)
                self.submit(submit_info(commands), fences[0])
                self.wait(fences)
            finally:
                vk.vkDestroyFence(self.handle, fences[0], vk.null)
                self.free_commands(commands)

    def close(self) -> None:
        vk.vkDestroyCommandPool(self.handle, self._pool, vk.null)
        vk.vkDestroyDevice(self.handle, vk.null)


def submit_info(commands: list[Any]) -> Any:
    buffers = vk.array("VkCommandBuffer", commands)
    return vk.struct("VkSubmitInfo", commandBufferCount=len(commands), pCommandBuffers=buffers)


def copy(command: Any, source: tuple[Any, int], target: tuple[Any, int], nbytes: int) -> None:
    """Record a copy between (buffer, offset) and (buffer, offset)."""
    region = vk.struct("VkBufferCopy", srcOffset=source[1], dstOffset=target[1], size=nbytes)
    vk.vkCmdCopyBuffer(command, source[0], target[0], 1, region)


def _create_info(physical: Physical, robust: bool) -> Any:
    queue = vk.struct(
        "VkDeviceQueueCreateInfo",
        queueFamilyIndex=physical.queue_family,
        queueCount=1,
        pQueuePriorities=vk.ffi.new("float[]", [1.0]),
    )
    return vk.struct(
        "VkDeviceCreateInfo",
        pNext=physical.feature_chain(robust),
        queueCreateInfoCount=1,
        pQueueCreateInfos=queue,
        enabledExtensionCount=len(physical.extensions),
        ppEnabledExtensionNames=vk.strings(physical.extensions),
    )
