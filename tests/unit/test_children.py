"""Processes that end with this one are begun in groups of their own: Ctrl-C at a terminal reaches none of them, which
would print what they were at while they start."""

import asyncio
import os
from pathlib import Path

import pytest
import uvloop
from vkrun.runtime.engine import planner
from vkrun.runtime.server.worker import process as worker
from vkrun.runtime.server.worker.options import WorkerOptions
from vkrun.runtime.text import template_process


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_servers_worker_has_a_group_of_its_own(run) -> None:
    """Whatever the event loop: Ray's replicas have uvloop's, which knows fewer options."""

    async def test() -> None:
        made = await worker._launch(WorkerOptions("none.gguf", module="vkrun.runtime.version"))
        try:
            assert os.getpgid(made.pid) == made.pid != os.getpgid(0)
        finally:
            made.kill()
            await made.wait()

    run(test())


@pytest.mark.parametrize("begun", [planner, template_process])
def test_so_have_the_others(begun, monkeypatch: pytest.MonkeyPatch) -> None:
    class Begun(Exception):
        pass

    def popen(*_words: object, **how: object) -> None:
        assert how["start_new_session"] is True
        raise Begun

    monkeypatch.setattr(begun.subprocess, "Popen", popen)
    with pytest.raises(Begun):
        if begun is planner:
            planner.Planner.__new__(planner.Planner)._begin()
        else:
            template_process.TemplateProcess().start()


def test_every_process_that_stays_is_begun_so() -> None:
    """Those that are waited for at once (subprocess.run) are not: Ctrl-C is to end them."""
    root = Path(planner.__file__).parents[2]
    for path in [*root.glob("runtime/**/*.py"), *root.glob("backends/**/*.py"), *root.glob("shaders/**/*.py")]:
        text = path.read_text()
        n = text.count("subprocess.Popen(") + text.count("create_subprocess_exec(")
        assert n == text.count("start_new_session=True"), path
