"""A context that is too large: told with its option before anything is uploaded, with one that fits; that one runs."""

import re

import pytest
from vkrun.backends import registry
from vkrun.tests.cli.running import MODEL, errors, vkrun


@pytest.mark.parametrize("backend", ["vulkan", "kompute"])
def test_the_message_names_the_option_and_what_fits(backend):
    if why := registry.get(backend).why_missing():
        pytest.skip(why)
    done = vkrun(MODEL, "hello", "--backend", backend, "-n", "1", "-c", str(1 << 24))
    assert done.returncode == 2 and not done.stdout
    said = errors(done)[-1]
    assert said.startswith(f"vkrun: a context of {1 << 24} tokens (-c, n_ctx) is too large for ")
    assert re.search("; the largest that fits is [0-9]+$", said)


@pytest.mark.full
def test_what_is_named_as_fitting_fits():
    if why := registry.get("kompute").why_missing():
        pytest.skip(why)
    words = (MODEL, "hello", "--backend", "kompute", "-n", "1", "-c")
    n = int(errors(vkrun(*words, str(1 << 24)))[-1].split()[-1])
    assert vkrun(*words, str(n)).returncode == 0
    assert vkrun(*words, str(n + 1)).returncode == 2
