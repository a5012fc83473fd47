"""The one step that pyproject.toml cannot say: the wheel carries every shader variant, as SPIR-V and as text."""

import importlib
import shutil
import sys
import types
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithShaders(build_py):
    """build_py into an empty folder, then one .spv file a variant. Editable installs compile on first use instead."""

    def run(self) -> None:
        if self.editable_mode:
            return super().run()
        target = Path(self.build_lib) / "vkrun"
        shutil.rmtree(target, ignore_errors=True)  # a file that an earlier build left would go into the wheel
        super().run()
        self._write_spirv(target / "shaders" / "spv")
        return self._write_texts(target / "shaders")

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The package's root is the project's, where this file lies too."""
        modules = super().find_package_modules(package, package_dir)
        return [module for module in modules if module[:2] != ("vkrun", "setup")]

    def _write_spirv(self, folder: Path) -> None:
        compiler, catalogue, errors = _package_modules("shaders.compile", "shaders.catalogue", "runtime.errors")
        variants = list(catalogue.variants())
        try:
            for notice in compiler.compile_all(variants, progress=self._progress):
                self.announce(f"left out: {notice}", 3)
        except errors.BackendError as error:
            raise SystemExit(f"vkrun's wheel carries compiled shaders: {error}") from None
        folder.mkdir(parents=True, exist_ok=True)
        for variant in variants:
            if words := compiler.LIBRARY.find(*variant):
                (folder / f"{compiler.LIBRARY.key(*variant)}.spv").write_bytes(words)

    def _write_texts(self, folder: Path) -> None:
        """For APIs that compile on the user's machine, and then need no GLSL compiler."""
        texts, catalogue = _package_modules("shaders.texts", "shaders.catalogue")
        texts.write_packed(folder / texts.PACKED.name, catalogue.variants())

    def _progress(self, n_done: int, n_total: int, variant: str) -> None:
        self.announce(f"shader {n_done}/{n_total}: {variant}", 2)


def _package_modules(*names: str) -> list[Any]:
    """Modules of the package in this folder, whatever the folder is called, without running its __init__.py."""
    package = types.ModuleType("vkrun")
    package.__path__ = [str(ROOT)]
    sys.modules["vkrun"] = package
    return [importlib.import_module(f"vkrun.{name}") for name in names]


setup(cmdclass={"build_py": BuildWithShaders})
