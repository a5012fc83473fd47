"""Metal's texts on a CPU, unchanged: as C++ over a stand-in for Apple's headers (msl/), by clang, whose vectors are
Metal's. Checked with Metal's address spaces, or compiled and run as host kernels are, each access instrumented.
"""

import functools
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.errors import BackendError
from ...shaders import metal
from ...shaders.kernel import KernelCode
from . import kernels
from .dispatch import Bound, Dispatch, Lanes
from .kernels import Compiler, HostKernel

COMPILERS = ("clang++", *(f"clang++-{n}" for n in range(21, 13, -1)))
HERE = Path(__file__).resolve().parent
LANGUAGE = ("-x", "c++", "-std=c++17", "-w", f"-I{HERE / 'msl'}", f"-I{HERE}", f"-I{kernels.PRELUDES}")
HALVES = ("-Xclang", "-fallow-half-arguments-and-returns")
CHECK = ("-fsyntax-only", *HALVES)
RUN = (
    *("-O1", "-fPIC", "-shared", "-nodefaultlibs", "-ffp-contract=off", "-fwrapv", "-fno-strict-aliasing", *HALVES),
    *("-fsanitize=thread,array-bounds,shift-exponent,integer-divide-by-zero", "-ftrivial-auto-var-init=pattern"),
    *("-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-compound-read-before-write=1"),
)
# clang's own of these names, which machines of one memory lay together: types differ, and instrumentation sees all
SPACES = """#define device __attribute__((opencl_global))
#define constant const __attribute__((opencl_constant))
#define threadgroup __attribute__((opencl_local))
#define thread
#define kernel
"""
PLAIN = '__attribute__((no_sanitize("thread")))'  # what is not the kernel's own
INDEX = (
    "-DVK_AT(x,i)=(*({ auto vkrun_i = (i); "
    "vkrun_check_index((const void *)(x), vkrun_i, sizeof *(x), #x, VK_HERE); (x) + vkrun_i; }))"
)
SECTION = '__attribute__((section("vkrun_threadgroup"), used, aligned(16)))'
GAP_NBYTES = 64  # behind each array, which belongs to none
DECLARED = (  # all in one piece of memory
    rf"static {SECTION} threadgroup \1 \2[\3]; static {SECTION} char vkrun_gap_\2[{GAP_NBYTES}]; "
    r'vkrun_declare((const void *)\2, sizeof \2, sizeof *\2, "\2");'
)
CHECKED = "-DVKRUN_CHECK"
FORWARDS = Lanes(32, False)  # Apple's simdgroups
ARRAY = re.compile(r"^threadgroup ([\w<>, ]+?) (\w+)\s*\[(.*)\];", re.MULTILINE)
PRAGMA = re.compile(r"^#pragma .*$", re.MULTILINE)
SIGNATURE = re.compile(
    r"\[\[max_total_threads_per_threadgroup\((.+?)\)\]\] kernel void (\w+)\(([^{]*)\)\s*\{", re.DOTALL
)
PARAMETER = re.compile(r"^(.*?)(\w+) \[\[(\w+)(?:\((\d+)\))?\]\]$", re.DOTALL)

# Metal Shading Language Specification, "Attributes for Kernel Function Input Arguments": types, and what they are here
POSITIONS = {
    "threadgroup_position_in_grid": ("uint3", "uint3{group[0], group[1], group[2]}"),
    "threadgroups_per_grid": ("uint3", "uint3{work->grid[0], work->grid[1], work->grid[2]}"),
    "thread_index_in_threadgroup": ("uint", "vkrun_lane"),
    "thread_index_in_simdgroup": ("uint", "vkrun_lane % vkrun_subgroup"),
    "threads_per_simdgroup": ("uint", "vkrun_subgroup"),
    "simdgroup_index_in_threadgroup": ("uint", "vkrun_lane / vkrun_subgroup"),
    "simdgroups_per_threadgroup": ("uint", "(vkrun_n_threads(work) + vkrun_subgroup - 1u) / vkrun_subgroup"),
}


@dataclass(frozen=True)
class Parameter:
    """Of a kernel's entry: `type` with its address space, what attribute it has, and the attribute's number."""

    type: str
    name: str
    attribute: str
    number: int | None


@dataclass(frozen=True)
class Entry:
    """A kernel function: `most` threads a threadgroup, as an expression, which share `n_arrays`."""

    name: str
    most: str
    parameters: tuple[Parameter, ...]
    n_arrays: int

    @property
    def buffers(self) -> list[Parameter]:
        return [p for p in self.parameters if p.attribute == "buffer"]


@dataclass(frozen=True, eq=False)
class Library:
    """A compiled text. `threadgroup_nbytes`: what its arrays take of a threadgroup's memory."""

    kernel: HostKernel
    entry: Entry
    threadgroup_nbytes: int

    def run(
        self,
        entry: str,
        buffers: Sequence[Bound],
        arguments: bytes,
        grid: Sequence[int],
        threads: int,
        lanes: Lanes = FORWARDS,
    ) -> str:
        """Empty, or what the kernel did that it must not, in a line. `grid` in threadgroups of `threads`."""
        if entry != self.entry.name:
            raise BackendError(f"msl: no function {entry}, the library has {self.entry.name}")
        return Dispatch(self.kernel, buffers, arguments, grid, lanes, threads).run()


@functools.cache
def compiler() -> Compiler:
    """clang, which alone has Metal's vectors and address spaces. BackendError when it is missing."""
    path = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if path is None:
        raise BackendError("host: no clang++ on PATH, which runs Metal's texts; install it (Debian, Ubuntu: clang)")
    kernels.compiler()  # which makes the runner
    return Compiler(path, kernels.run([path, "--version"]).partition("\n")[0])


def why_missing() -> str:
    try:
        compiler()
    except BackendError as error:
        return str(error)
    return ""


def check(text: str) -> None:
    """BackendError shows the first error of a text with Metal's address spaces and attributes."""
    entry, plain = read(text, CHECKED)
    _require_attributes(entry)
    kernels.run([compiler().path, *LANGUAGE, *CHECK, "-"], SPACES + plain)


def compiled(name: str, text: str) -> Library:
    """A text, compiled and loaded. BackendError shows its first error, or what of Apple's limits it is over."""
    entry, plain = read(text, INDEX)
    _require_attributes(entry)
    loaded = kernels.library(compiler(), name, SPACES + plain + _host_entry(entry), (*LANGUAGE, *RUN))
    nbytes, most = loaded.vkrun_threadgroup_nbytes(), loaded.vkrun_most_threads()
    if nbytes > metal.LIMITS.threadgroup_nbytes or most > metal.LIMITS.threads:
        raise BackendError(
            f"msl: {entry.name} has {most} threads and {nbytes} bytes of threadgroup memory, "
            f"at most {metal.LIMITS.threads} and {metal.LIMITS.threadgroup_nbytes} are allowed"
        )
    return Library(HostKernel(loaded.vkrun_kernel, np.zeros(loaded.vkrun_n_numbers(), np.uint8)), entry, nbytes)


@functools.cache
def library(code: KernelCode) -> Library:
    try:
        return compiled(f"msl-{code.stem}", metal.text_of(code))
    except BackendError as error:
        raise BackendError(f"host: {code.title} as MSL: {error}") from error


def kernel(code: KernelCode) -> HostKernel:
    """One for all calls, as that of kernels.py."""
    return library(code).kernel


def read(text: str, *defines: str) -> tuple[Entry, str]:
    """The entry, and the text after its preprocessor with arrays in threadgroup memory as C++ has them."""
    end = "enum { vkrun_waits = VK_WAITS, vkrun_n = __COUNTER__ };\n"
    waits = "" if "VK_WAITS" in text else "#define VK_WAITS 1\n"
    made = kernels.run([compiler().path, *LANGUAGE, "-E", *defines, "-"], f"{text}\n{waits}{end}")
    found = SIGNATURE.search(made)
    if found is None:
        raise BackendError("msl: no kernel function with max_total_threads_per_threadgroup")
    parameters = tuple(_parameter(p) for p in _split(found[3]))
    made, n_arrays = ARRAY.subn(r"static threadgroup \1 \2[\3];" if CHECKED in defines else DECLARED, made)
    return Entry(found[2], found[1], parameters, n_arrays), PRAGMA.sub("", made)


def _split(parameters: str) -> list[str]:
    """By commas, of which brackets have none."""
    lines = (line for line in parameters.splitlines() if not line.startswith("#"))
    return [" ".join(p.split()) for p in " ".join(lines).split(",")]


def _parameter(words: str) -> Parameter:
    found = PARAMETER.match(words)
    if found is None:
        raise BackendError(f"msl: parameter {words} without an attribute")
    return Parameter(found[1].strip(), found[2], found[3], int(found[4]) if found[4] else None)


def _require_attributes(entry: Entry) -> None:
    """As the specification has them: types of positions, address spaces and numbers of buffers."""
    numbers = [p.number for p in entry.buffers]
    if sorted(map(str, numbers)) != sorted(map(str, range(len(numbers)))) or len(numbers) > metal.LIMITS.buffers:
        raise BackendError(f"msl: {entry.name} has buffers {numbers}, at most {metal.LIMITS.buffers} may be numbered")
    for p in entry.parameters:
        if p.attribute == "buffer" and not re.fullmatch(r"(device|constant) .*[*&]", p.type):
            raise BackendError(
                f"msl: {p.name} is {p.type}, expected a pointer or reference to device or constant memory"
            )
        if p.attribute != "buffer" and POSITIONS.get(p.attribute, ("",))[0] != p.type:
            raise BackendError(f"msl: {p.name} is {p.type} [[{p.attribute}]], which is no input of a kernel here")


def _host_entry(entry: Entry) -> str:
    """What lanes.cpp calls, and what is asked of the library."""
    arguments = [p for p in entry.buffers if p.type.startswith("constant")]
    given = ", ".join(_given(p) for p in entry.parameters)
    nbytes = f"sizeof({_pointed(arguments[0])})" if arguments else "0"
    return f"""
extern char vkrun_begin[] __asm__("__start_vkrun_threadgroup") __attribute__((weak, visibility("hidden")));
extern char vkrun_end[] __asm__("__stop_vkrun_threadgroup") __attribute__((weak, visibility("hidden")));
{PLAIN} static unsigned vkrun_n_threads(const vkrun_dispatch *work) {{
    return work->threads ? work->threads : {entry.most};
}}
{PLAIN} static void vkrun_main(const vkrun_dispatch *work, const unsigned *group) {{ {entry.name}({given}); }}
extern "C" {{
unsigned vkrun_n_numbers() {{ return vkrun_n; }}
unsigned vkrun_most_threads() {{ return {entry.most}; }}
unsigned vkrun_threadgroup_nbytes() {{ return vkrun_end - vkrun_begin - {GAP_NBYTES * entry.n_arrays}; }}
{PLAIN} int vkrun_kernel(const vkrun_dispatch *work) {{
    static vkrun_arrays memory = {{vkrun_begin, vkrun_end, nullptr}};
    return vkrun_run_instrumented(
        work, vkrun_main, {entry.most}, vkrun_waits, {len(entry.buffers) - len(arguments)}, {nbytes}, &memory);
}}
}}
"""


def _pointed(parameter: Parameter) -> str:
    return re.sub(r"^(device|constant) |[*&]$", "", parameter.type).strip()


def _given(parameter: Parameter) -> str:
    if parameter.attribute != "buffer":
        return POSITIONS[parameter.attribute][1]
    if parameter.type.startswith("constant"):
        return f"*(constant {_pointed(parameter)} *)work->arguments"
    return f"(device {_pointed(parameter)} *)work->buffers[{parameter.number}]"
