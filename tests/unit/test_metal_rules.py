"""The stand-in for Metal refuses what Apple's documentation rules out: one planted misuse a rule."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from vkrun.tests.metal_stand_in.framework import MAX_BUFFER_NBYTES
from vkrun.tests.metal_stand_in.framework import StandIn as Mac
from vkrun.tests.metal_stand_in.rules import RULES, MisuseError
from vkrun.tests.metal_stand_in.values import Range, Size

SCOPE = "MTLBarrierScopeBuffers"


@dataclass
class Kernel:
    """Adds its argument to the first word of its second buffer where the first has room for it."""

    n_buffers: int = 2
    arguments_nbytes: int = 4
    n_threads: int = 32
    threadgroup_nbytes: int = 0

    def run(self, buffers: Sequence[np.ndarray], arguments: bytes, grid: Sequence[int]) -> str:
        if buffers[0].nbytes < 64:
            return "x[15] of 64 bytes"
        buffers[1][:4].view(np.uint32)[0] += np.frombuffer(arguments, np.uint32)[0]
        return ""


class Work:
    """A queue, buffers and a pipeline with which to do it right, or not."""

    def __init__(self, kernel: Kernel | None = None, is_whole: bool = False) -> None:
        self.mac = Mac(lambda _source: kernel or Kernel())
        self.device = self.mac.device
        self.queue = self.device.newCommandQueue()
        self.x, self.y, self.arguments = (self.buffer(256) for _ in range(3))
        self.pipeline = self.made_pipeline(is_whole)
        self.inside = self.mac.objc.autorelease_pool()
        self.inside.__enter__()

    def buffer(self, nbytes: int) -> Any:
        return self.device.newBufferWithLength_options_(nbytes, 0)

    def made_pipeline(self, is_whole: bool = False, is_indirect: bool = False) -> Any:
        options = self.mac.MTLCompileOptions.alloc().init()
        options.setLanguageVersion_("MTLLanguageVersion3_0")
        options.setMathMode_("MTLMathModeSafe")
        library, _ = self.device.newLibraryWithSource_options_error_("", options, None)
        assert library is not None
        descriptor = self.mac.MTLComputePipelineDescriptor.alloc().init()
        descriptor.setComputeFunction_(library.newFunctionWithName_("vkrun_kernel"))
        descriptor.setThreadGroupSizeIsMultipleOfThreadExecutionWidth_(is_whole)
        descriptor.setSupportIndirectCommandBuffers_(is_indirect)
        make = self.device.newComputePipelineStateWithDescriptor_options_reflection_error_
        return make(descriptor, 0, None, None)[0]

    def begun(self) -> tuple[Any, Any]:
        command = self.queue.commandBufferWithUnretainedReferences()
        return command, command.computeCommandEncoderWithDispatchType_("MTLDispatchTypeConcurrent")

    def bound(self, *, at: int = 0) -> tuple[Any, Any]:
        command, encoder = self.begun()
        encoder.setComputePipelineState_(self.pipeline)
        encoder.setBuffers_offsets_withRange_([self.x, self.y, self.arguments], [0, 0, at], Range(0, 3))
        return command, encoder

    def dispatched(self, threads: int = 32) -> tuple[Any, Any]:
        command, encoder = self.bound()
        encoder.dispatchThreadgroups_threadsPerThreadgroup_(Size(1, 1, 1), Size(threads, 1, 1))
        return command, encoder

    def committed(self) -> Any:
        command, encoder = self.dispatched()
        encoder.endEncoding()
        command.commit()
        return command


def out_of_pool(work: Work) -> None:
    work.inside.__exit__(None, None, None)
    work.begun()


def second_encoder(work: Work) -> None:
    command, _first = work.begun()
    command.computeCommandEncoderWithDispatchType_("MTLDispatchTypeConcurrent")


def after_its_end(work: Work) -> None:
    _command, encoder = work.dispatched()
    encoder.endEncoding()
    encoder.memoryBarrierWithScope_(SCOPE)


def committed_twice(work: Work) -> None:
    work.committed().commit()


def buffer_gone(work: Work) -> None:
    command = work.committed()
    del work.y
    gc.collect()
    command.waitUntilCompleted()


def written_amid(work: Work) -> None:
    command = work.committed()
    work.x.data[0] = 1
    command.waitUntilCompleted()


def without_pipeline(work: Work) -> None:
    _command, encoder = work.begun()
    encoder.setBuffer_offset_atIndex_(work.x, 0, 0)
    encoder.dispatchThreadgroups_threadsPerThreadgroup_(Size(1, 1, 1), Size(32, 1, 1))


def without_arguments(work: Work) -> None:
    _command, encoder = work.begun()
    encoder.setComputePipelineState_(work.pipeline)
    encoder.setBuffers_offsets_withRange_([work.x, work.y], [0, 0], Range(0, 2))
    encoder.dispatchThreadgroups_threadsPerThreadgroup_(Size(1, 1, 1), Size(32, 1, 1))


def beyond_the_table(work: Work) -> None:
    work.begun()[1].setBuffer_offset_atIndex_(work.x, 0, 31)


def odd_offset(work: Work) -> None:
    work.begun()[1].setBuffer_offset_atIndex_(work.x, 8, 0)


def odd_arguments(work: Work) -> None:
    _command, encoder = work.bound(at=16)
    encoder.dispatchThreadgroups_threadsPerThreadgroup_(Size(1, 1, 1), Size(32, 1, 1))


def too_many_bytes(work: Work) -> None:
    work.begun()[1].setBytes_length_atIndex_(bytes(4097), 4097, 0)


def wrong_threads(work: Work) -> None:
    work.dispatched(threads=64)


def part_of_a_simdgroup(_work: Work) -> None:
    Work(Kernel(n_threads=16), is_whole=True).dispatched(threads=16)


def too_much_threadgroup_memory(_work: Work) -> None:
    Work(Kernel(threadgroup_nbytes=(32 << 10) + 16))


def barrier_of_textures(work: Work) -> None:
    work.dispatched()[1].memoryBarrierWithScope_("MTLBarrierScopeTextures")


def barrier_for_nothing(work: Work) -> None:
    _command, encoder = work.dispatched()
    encoder.memoryBarrierWithScope_(SCOPE)
    encoder.endEncoding()


def told(work: Work, pipeline: Any) -> Any:
    """One command, whole."""
    descriptor = work.mac.MTLIndirectCommandBufferDescriptor.alloc().init()
    descriptor.setCommandTypes_("MTLIndirectCommandTypeConcurrentDispatch")
    descriptor.setMaxKernelBufferBindCount_(3)
    make = work.device.newIndirectCommandBufferWithDescriptor_maxCommandCount_options_
    kept = make(descriptor, 1, 0)
    command = kept.indirectComputeCommandAtIndex_(0)
    command.setComputePipelineState_(pipeline)
    for i, buffer in enumerate((work.x, work.y, work.arguments)):
        command.setKernelBuffer_offset_atIndex_(buffer, 0, i)
    command.concurrentDispatchThreadgroups_threadsPerThreadgroup_(Size(1, 1, 1), Size(32, 1, 1))
    return kept


def undeclared(work: Work) -> None:
    kept = told(work, work.made_pipeline(is_indirect=True))
    _command, encoder = work.begun()
    encoder.useResources_count_usage_([work.x, work.y], 2, 3)
    encoder.executeCommandsInBuffer_withRange_(kept, Range(0, 1))


def pipeline_not_for_commands(work: Work) -> None:
    told(work, work.pipeline)


def out_of_bounds(work: Work) -> None:
    work.x = work.buffer(32)
    work.committed().waitUntilCompleted()


def empty_buffer(work: Work) -> None:
    work.buffer(0)


def unheard_error(work: Work) -> None:
    work.begun()[1].setComputePipelineState_(None)


PLANTED: list[tuple[str, Callable[[Work], None]]] = [
    ("pool", out_of_pool),
    ("one encoder", second_encoder),
    ("ended", after_its_end),
    ("commit", committed_twice),
    ("released", buffer_gone),
    ("completion", written_amid),
    ("pipeline", without_pipeline),
    ("bound", without_arguments),
    ("table", beyond_the_table),
    ("alignment", odd_offset),
    ("alignment", odd_arguments),
    ("bytes", too_many_bytes),
    ("threads", wrong_threads),
    ("simdgroups", part_of_a_simdgroup),
    ("threadgroup memory", too_much_threadgroup_memory),
    ("barrier", barrier_of_textures),
    ("barrier", barrier_for_nothing),
    ("resources", undeclared),
    ("indirect", pipeline_not_for_commands),
    ("bounds", out_of_bounds),
    ("length", empty_buffer),
    ("errors", unheard_error),
]


def test_every_rule_has_a_misuse() -> None:
    assert {rule for rule, _ in PLANTED} == set(RULES) and len(RULES) >= 10


@pytest.mark.parametrize(("rule", "misuse"), PLANTED, ids=[misuse.__name__ for _, misuse in PLANTED])
def test_a_misuse_is_refused_by_its_rule(rule: str, misuse: Callable[[Work], None]) -> None:
    with pytest.raises(MisuseError) as refused:
        misuse(Work())
    assert refused.value.rule == rule


def test_what_is_done_right_runs_when_it_is_waited_for() -> None:
    work = Work()
    work.arguments.data[:4].view(np.uint32)[0] = 7
    first, second = work.committed(), work.committed()
    assert work.y.data[0] == 0
    second.waitUntilCompleted()
    assert work.y.data[0] == 14 and first.status() == 4


def test_an_encoder_that_goes_unended_is_told() -> None:
    work = Work()
    command, encoder = work.dispatched()
    del command, encoder
    gc.collect()
    assert work.mac.device.misuses == ["ended: an encoder went before endEncoding"]


def test_a_buffer_too_large_is_refused() -> None:
    with pytest.raises(MisuseError, match="length"):
        Work().buffer(MAX_BUFFER_NBYTES + 1)
