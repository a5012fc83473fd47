"""The one file that touches the `vulkan` package: its cffi library called directly, results checked.

The package's own wrappers cost 24 us a call, its `lib` 1 to 3 us. cffi does not keep what a struct points to alive, so
`Api.struct` does. VK_WHOLE_SIZE arrives from the package as -1; the one here is right.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from ...runtime.errors import BackendError

WHOLE_SIZE = 2**64 - 1

_ADVICE = {
    "VK_ERROR_DEVICE_LOST": "the driver gave up on the device (a time-out, a crash or a fault); open it again",
    "VK_ERROR_INCOMPATIBLE_DRIVER": "no installed driver supports Vulkan 1.1",
}


class Api:
    """`vk.vkCmdDispatch(...)` is the raw function, `vk.VK_X` a constant, `vk.call("vkX", ...)` a checked call.

    Nothing is loaded before the first use; `load_error()` says why it cannot be.
    """

    def load_error(self) -> str:
        """Empty, or why the package or the Vulkan loader cannot be loaded."""
        try:
            return "" if self._package else "no package"
        except ImportError as error:
            return f"the Python package vulkan: {error} (pip install vulkan)"
        except OSError as error:
            return f"the Vulkan loader: {error}"

    @cached_property
    def _package(self) -> Any:
        return import_module("vulkan._vulkan")

    @cached_property
    def ffi(self) -> Any:
        return self._package.ffi

    @cached_property
    def null(self) -> Any:
        return self.ffi.NULL

    @cached_property
    def _alive(self) -> WeakKeyDictionary:
        return WeakKeyDictionary()

    @cached_property
    def _struct_types(self) -> dict[str, int]:
        """`BUFFERCREATEINFO` -> VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO's number."""
        start, package = "VK_STRUCTURE_TYPE_", vars(self._package)
        return {n[len(start) :].replace("_", ""): v for n, v in package.items() if n.startswith(start)}

    @cached_property
    def _result_names(self) -> dict[int, str]:
        package = self._package
        typed = self.ffi.typeof("VkResult").elements
        return {value: name for value, name in typed.items() if hasattr(package, name)}

    _counter: Counter | None = None

    def __getattr__(self, name: str) -> Any:
        """Functions and constants of the library, kept once found."""
        if not name.startswith(("vk", "VK_")):
            raise AttributeError(name)
        found = getattr(self._package, name) if name.startswith("VK_") else getattr(self._package.lib, name)
        if self._counter is not None and name.startswith("vk"):
            found = _counted(name, found, self._counter)
        self.__dict__[name] = found
        return found

    @contextmanager
    def counting(self) -> Iterator[Counter]:
        """Count the Vulkan calls made inside, by name: tests hold a run's calls down with it."""
        self._forget()
        self._counter = counter = Counter()
        try:
            yield counter
        finally:
            self._counter = None
            self._forget()

    def _forget(self) -> None:
        for name in [n for n in self.__dict__ if n.startswith("vk")]:
            del self.__dict__[name]

    def check(self, result: int, what: str) -> int:
        """BackendError with the name of a negative VkResult; other results come back."""
        if result < 0:
            name = self.result_name(result)
            advice = _ADVICE.get(name)
            raise BackendError(f"{what}: {name}" + (f": {advice}" if advice else ""))
        return result

    def result_name(self, result: int) -> str:
        return self._result_names.get(result, f"VkResult {result}")

    def call(self, name: str, *args: Any) -> int:
        """A checked call of a function that returns a VkResult."""
        return self.check(getattr(self, name)(*args), name)

    def create(self, name: str, ctype: str, *args: Any) -> Any:
        """A checked call whose last parameter receives one handle."""
        out = self.ffi.new(f"{ctype} *")
        self.call(name, *args, out)
        return out[0]

    def struct(self, ctype: str, **fields: Any) -> Any:
        """A pointer to a new struct, with sType set where it has one; everything it points to lives as long."""
        kind = self._struct_types.get(ctype.removeprefix("Vk").upper())
        made = self.ffi.new(f"{ctype} *", {**({} if kind is None else {"sType": kind}), **fields})
        self._alive[made] = tuple(fields.values())
        return made

    def array(self, ctype: str, items: Iterable[Any]) -> Any:
        """A new C array of structs or handles; pointers to structs are copied in and what they point to kept."""
        items = list(items)
        by_value = [i[0] if _is_struct_pointer(self.ffi, i, ctype) else i for i in items]
        made = self.ffi.new(f"{ctype}[]", by_value)
        self._alive[made] = tuple(items)
        return made

    def strings(self, names: Iterable[str]) -> Any:
        """A new `const char *[]`."""
        chars = [self.ffi.new("char[]", n.encode()) for n in names]
        made = self.ffi.new("char *[]", chars)
        self._alive[made] = tuple(chars)
        return made

    def text(self, chars: Any) -> str:
        return self.ffi.string(chars).decode("utf-8", "replace")

    def listed(self, name: str, ctype: str, *args: Any) -> Any:
        """An array from a function that is called twice, first for the count."""
        count = self.ffi.new("uint32_t *")
        self._listing(name, *args, count, self.null)
        made = self.ffi.new(f"{ctype}[]", count[0])
        self._listing(name, *args, count, made)
        return made[0 : count[0]]

    def _listing(self, name: str, *args: Any) -> None:
        result = getattr(self, name)(*args)
        if result is not None:
            self.check(result, name)


def _is_struct_pointer(ffi: Any, item: Any, ctype: str) -> bool:
    return isinstance(item, ffi.CData) and ffi.typeof(item) is ffi.typeof(f"{ctype} *")


def _counted(name: str, function: Callable[..., Any], counter: Counter) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        counter[name] += 1
        return function(*args)

    return call


vk = Api()
