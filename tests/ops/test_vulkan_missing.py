"""Without the package, the loader or a driver there is no vulkan backend, and a line says how to get it."""

import os
import subprocess
import sys

ASK = """
from vkrun.backends.vulkan import BACKEND
print(BACKEND.devices())
print(BACKEND.why_missing())
"""
NO_PACKAGE = "import sys; sys.modules['vulkan'] = None\n"
NO_LOADER = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "vulkan":
            raise OSError("no libvulkan.so.1")  # as the package itself raises when it is imported
sys.meta_path.insert(0, Finder())
"""


def ask(before: str = "", **environ: str) -> list[str]:
    env = {**os.environ, **environ}
    done = subprocess.run([sys.executable, "-c", before + ASK], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:2]


def test_no_package() -> None:
    devices, why = ask(NO_PACKAGE)
    assert devices == "[]" and why.startswith("vulkan: the Python package vulkan:") and "pip install vulkan" in why


def test_no_loader() -> None:
    devices, why = ask(NO_LOADER)
    assert devices == "[]" and why.startswith("vulkan: the Vulkan loader:") and "apt install libvulkan1" in why


def test_no_driver() -> None:
    devices, why = ask(VK_DRIVER_FILES="/nowhere.json", VK_ICD_FILENAMES="/nowhere.json")
    assert devices == "[]" and why.startswith("vulkan: ") and "mesa-vulkan-drivers" in why


def test_all_is_well() -> None:
    devices, why = ask()
    assert "DeviceInfo(backend='vulkan', index=0" in devices and why == ""


def test_importing_the_backend_loads_no_library() -> None:
    code = "import sys, vkrun.backends.vulkan; print('vulkan' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"
