"""shaders/compile.py: names that follow the sources, errors that help, files never stale or half written."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from vkrun.runtime.errors import BackendError
from vkrun.shaders import compile as shader_compile
from vkrun.shaders.compile import SPIRV_MAGIC, Library, VariantUnsupportedError

SHADER = """#version 450
#extension GL_GOOGLE_include_directive : require
#include "outer.glsl"
layout(local_size_x = 32) in;
layout(binding = 0) buffer X { float x[]; };
void main() { x[gl_GlobalInvocationID.x] = scale(SCALE); }
"""
OUTER = '#include "sub/inner.glsl"\nfloat scale(float s) { return s * INNER; }\n'
INNER = "#define INNER 3.0\n"
DEFINES = (("SCALE", "2.0"),)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    sources = tmp_path / "a folder"
    (sources / "sub").mkdir(parents=True)
    (sources / "scale.comp").write_text(SHADER)
    (sources / "outer.glsl").write_text(OUTER)
    (sources / "sub" / "inner.glsl").write_text(INNER)
    return Library(sources, (sources / "spv", tmp_path / "cache"))


@pytest.fixture(autouse=True)
def fresh_caches():
    yield
    forget()


def forget() -> None:
    """What a new process would not know."""
    shader_compile._source_digest.cache_clear()
    shader_compile._tool.cache_clear()


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def test_compiles_once_and_keeps_the_file(library: Library) -> None:
    words = library.spirv("scale", DEFINES)
    assert words.startswith(SPIRV_MAGIC) and len(words) % 4 == 0
    assert files(library.outputs[0]) == [library.key("scale", DEFINES) + ".spv"]
    assert library.key("scale", DEFINES).startswith("scale-SCALE_2_0-")
    marked = words + b"\0\0\0\0"
    (library.outputs[0] / (library.key("scale", DEFINES) + ".spv")).write_bytes(marked)
    assert library.spirv("scale", DEFINES) == marked


@pytest.mark.parametrize("changed", ["scale.comp", "outer.glsl", "sub/inner.glsl"])
def test_any_source_changes_the_name(library: Library, changed: str) -> None:
    before = library.key("scale", DEFINES)
    path = library.sources / changed
    path.write_text(path.read_text() + "// changed\n")
    forget()
    assert library.key("scale", DEFINES) != before


def test_defines_and_flags_change_the_name(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {library.key("scale", defines) for defines in ((), DEFINES, (("SCALE", "2-0"),), (("SCALE", "2_0"),))}
    assert len(names) == 4
    before = library.key("scale", DEFINES)
    monkeypatch.setattr(shader_compile, "FLAGS", ("-V",))
    assert library.key("scale", DEFINES) != before


def test_a_define_without_value_is_set(library: Library) -> None:
    (library.sources / "scale.comp").write_text(SHADER + "#ifndef WANTED\n#error not wanted\n#endif\n")
    assert library.available("scale", (*DEFINES, ("WANTED", "")))
    with pytest.raises(BackendError, match="not wanted"):
        library.spirv("scale", DEFINES)


def test_a_damaged_file_is_compiled_again(library: Library) -> None:
    words = library.spirv("scale", DEFINES)
    path = library.outputs[0] / (library.key("scale", DEFINES) + ".spv")
    for damaged in (b"", b"not spir-v!!", words[:-3]):
        path.write_bytes(damaged)
        assert library.spirv("scale", DEFINES) == words


def test_errors_name_variant_file_and_line(library: Library) -> None:
    (library.sources / "broken.comp").write_text("#version 450\nvoid main() { float y = z; }\n")
    with pytest.raises(BackendError, match=r"shader broken \(A=1\): broken.comp:2: 'z' : undeclared identifier"):
        library.spirv("broken", (("A", "1"),))
    with pytest.raises(BackendError, match=r"shader source absent.comp: No such file"):
        library.spirv("absent", ())
    assert files(library.outputs[0]) == []


def test_several_sources_go_through_the_preprocessor_together(library: Library) -> None:
    (library.sources / "sub" / "late.comp").write_text(
        "// a comment\n" + SHADER.replace("outer.glsl", "../sub/inner.glsl").replace("scale(SCALE)", "INNER + __LINE__")
    )
    variants = [("scale", DEFINES), ("late", (("WANTED", ""),)), ("scale", (("SCALE", "4.0"),))]
    made = library.preprocessed(variants)
    assert made == [text for variant in variants for text in library.preprocessed([variant])]
    assert ["scale(2.0)" in made[0], "3.0 + 7" in made[1], "scale(4.0)" in made[2]] == [True] * 3
    assert '#line 1 "sub/inner.glsl"' in made[1] and str(library.sources) not in "".join(made)


def test_errors_of_the_preprocessor_name_file_and_line(library: Library) -> None:
    (library.sources / "broken.comp").write_text("#version 450\n\n#error not this\n")
    with pytest.raises(BackendError, match=r"shader scale, broken: broken.comp:3: .*not this"):
        library.preprocessed([("scale", DEFINES), ("broken", ())])
    with pytest.raises(BackendError, match=r"shader broken \(A=1\): broken.comp:3: .*not this"):
        library.preprocessed([("broken", (("A", "1"),))])


def test_unknown_extensions_are_a_notice(library: Library) -> None:
    (library.sources / "new.comp").write_text("#version 450\n#extension GL_EXT_of_2099 : require\nvoid main() {}\n")
    assert not library.available("new", ())
    with pytest.raises(VariantUnsupportedError, match=r"shader new: new.comp:2: .*GL_EXT_of_2099"):
        library.spirv("new", ())
    done: list[tuple[int, int, str]] = []
    variants = [("new", ()), ("scale", DEFINES), ("scale", DEFINES)]
    notices = library.compile_all(variants, jobs=2, progress=lambda *step: done.append(step))
    assert len(notices) == 1 and "GL_EXT_of_2099" in notices[0]
    assert [step[:2] for step in done] == [(1, 2), (2, 2)] and {step[2] for step in done} == {
        "new",
        "scale (SCALE=2.0)",
    }
    assert library.find("scale", DEFINES)


def test_compile_all_stops_at_a_broken_shader(library: Library) -> None:
    (library.sources / "broken.comp").write_text("#version 450\nvoid main() { oops }\n")
    with pytest.raises(BackendError, match=r"shader broken: broken\.comp:2"):
        library.compile_all([("broken", ()), ("scale", DEFINES)], None, None)


def test_validation_refuses_bad_modules(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "spirv-val").write_text("#!/bin/sh\necho 'error: line 7: it is wrong' >&2\nexit 1\n")
    (fake / "spirv-val").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    forget()
    with pytest.raises(BackendError, match="spirv-val refuses it: error: line 7: it is wrong"):
        library.spirv("scale", DEFINES)
    assert files(library.outputs[0]) == []


def test_without_a_compiler(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    words = library.spirv("scale", DEFINES)
    monkeypatch.setenv("PATH", "")
    forget()
    assert library.spirv("scale", DEFINES) == words
    other = (("SCALE", "4.0"),)
    assert not library.available("scale", other)
    with pytest.raises(BackendError, match=r"shader scale \(SCALE=4.0\): .*glslangValidator.*glslang-tools"):
        library.spirv("scale", other)


def test_an_unwritable_package_uses_the_cache(library: Library) -> None:
    library.outputs[0].write_text("a file where the folder should be")
    library.spirv("scale", DEFINES)
    assert files(library.outputs[1]) == [library.key("scale", DEFINES) + ".spv"]
    nowhere = Library(library.sources, (library.outputs[0],))
    assert nowhere.spirv("scale", DEFINES).startswith(SPIRV_MAGIC)


def _compile_in_a_process(library: Library) -> bytes:
    return library.spirv("scale", DEFINES)


def test_processes_may_race(library: Library) -> None:
    with ProcessPoolExecutor(4) as pool:
        results = list(pool.map(_compile_in_a_process, [library] * 8))
    assert len(set(results)) == 1
    assert files(library.outputs[0]) == [library.key("scale", DEFINES) + ".spv"]


OUTPUTS = "from vkrun.shaders import compile; print(*compile.LIBRARY.outputs, sep='\\n')"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"HOME": "/h"}, ["{spv}", "/h/.cache/vkrun/spv"]),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, ["{spv}", "/x/vkrun/spv"]),
        ({"HOME": "/h", "VKRUN_CACHE_DIR": "/own"}, ["/own/spv", "{spv}"]),
        ({"VKRUN_CACHE_DIR": "/own", "VKRUN_DEBUG": "much"}, ["/own/spv", "{spv}"]),
        ({}, ["{spv}"]),
    ],
)
def test_where_spirv_goes(environ: dict[str, str], wanted: list[str]) -> None:
    run = subprocess.run([sys.executable, "-c", OUTPUTS], capture_output=True, text=True, env=environ, check=True)
    assert run.stdout.split() == [path.format(spv=shader_compile.SOURCES / "spv") for path in wanted]
