#!/bin/sh
# Builds kp (Kompute's Python package, which ships no wheels) and installs it.
#   build_kp.sh PYTHON [FOLDER]     PYTHON: the interpreter of the environment that gets kp
#                                   FOLDER: leave the wheel there, and install nothing
# Needs: cmake, a C++ compiler, Python's headers, libvulkan-dev, libfmt-dev. Takes half a minute on two cores.
set -eu

version=0.9.0
python=${1:?usage: build_kp.sh PYTHON [FOLDER]}
here=$(mktemp -d "${TMPDIR:-/tmp}/vkrun-kp.XXXXXX")
trap 'rm -rf "$here"' EXIT
trap 'exit 130' INT TERM

# A throw-away environment: kp needs an old setuptools, which the user's own must not be made to take. Its pip is a link
# to the user's, as not every Python has ensurepip, and an old pip no --python.
"$python" -m venv --without-pip "$here/env"
build_python=$here/env/bin/python
mkdir "$here/path"
ln -s "$("$python" -c 'import os, pip; print(os.path.dirname(pip.__file__))')" "$here/path/pip"
build_pip() {
    PYTHONPATH=$here/path PIP_DISABLE_PIP_VERSION_CHECK=1 "$build_python" -m pip "$@"
}
build_pip install --quiet 'setuptools<81' wheel pybind11 numpy

# kp's setup.py loses PYTHON_EXECUTABLE (a missing comma glues it to another option), and CMake then takes whatever
# python3.x it meets on PATH, such as a version manager's shims. A toolchain file says which one is meant.
cat > "$here/python.cmake" <<END
foreach(name PYTHON_EXECUTABLE Python_EXECUTABLE Python3_EXECUTABLE)
  set(\${name} "$build_python" CACHE FILEPATH "" FORCE)
endforeach()
# All its files read vulkan.hpp, which is most of the work: a few at a time read it once.
set(CMAKE_UNITY_BUILD ON CACHE BOOL "" FORCE)
END

export CMAKE_TOOLCHAIN_FILE="$here/python.cmake"
CMAKE_PREFIX_PATH=$("$build_python" -m pybind11 --cmakedir)
export CMAKE_PREFIX_PATH
export KOMPUTE_OPT_INSTALL=OFF
export KOMPUTE_OPT_USE_BUILT_IN_VULKAN_HEADER=OFF
export KOMPUTE_OPT_USE_BUILT_IN_FMT=OFF
export KOMPUTE_OPT_USE_BUILT_IN_PYBIND11=OFF
export KOMPUTE_OPT_DISABLE_VK_DEBUG_LAYERS=ON # or kp loads the validation layer wherever that is installed
export CXXFLAGS="-w" # kp builds with -Werror, which newer compilers and headers trip over

folder=${2:-$here/wheel}
build_pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir "$folder" "kp==$version"
if [ -z "${2:-}" ]; then
    "$python" -m pip install --disable-pip-version-check --no-deps --force-reinstall "$folder"/kp-*.whl
fi
