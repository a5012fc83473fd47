"""What is shown of work that takes long, and what is not shown of work that does not."""

import re
import threading
import time

import pytest
from vkrun.backends import registry
from vkrun.runtime.cli import progress
from vkrun.runtime.cli.progress import Bar
from vkrun.tests.cli.running import MODEL, Terminal


class FakeBar:
    """What rich's Progress is asked for."""

    def __init__(self) -> None:
        self.said: list[tuple] = []
        self.started = threading.Event()

    def add_task(self, title: str, total: int | None) -> int:
        self.said.append((title, total))
        return 7

    def update(self, task: int, completed: int, total: int | None = None) -> None:
        self.said.append((task, completed, total))

    def start(self) -> None:
        self.started.set()

    def stop(self) -> None:
        self.said.append(("stopped",))


@pytest.fixture
def made(monkeypatch):
    bars: list[FakeBar] = []
    monkeypatch.setattr(progress, "_bar", lambda _in_bytes: bars.append(FakeBar()) or bars[-1])
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    monkeypatch.setattr(progress, "PATIENCE_PLAIN", 0.01)
    return bars


def wait_until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_bar_comes_by_itself_while_the_caller_is_busy(made, monkeypatch):
    monkeypatch.setattr(progress, "is_terminal", lambda _stream: True)
    with Bar() as bar:
        assert not bar.may_come_again()
        bar("compiling", 0, 0)  # and then nothing: a driver is at work
        wait_until(lambda: made and made[0].started.is_set())
        assert bar.may_come_again()
        bar("compiling", 3, 9)
        bar("compiling", 9, 9)
        bar("loading", 0, 5)
        wait_until(lambda: len(made) == 2 and made[1].started.is_set())
    title = progress.TITLES["compiling"]
    assert made[0].said == [(title, None), (7, 0, None), (7, 3, 9), ("stopped",)]
    assert made[1].said == [("loading", 5), (7, 0, None), ("stopped",)]


def test_nothing_is_drawn_into_a_line_that_is_being_written(made, monkeypatch):
    monkeypatch.setattr(progress, "is_terminal", lambda _stream: True)
    with Bar() as bar:
        with bar.lines_of_others() as write_begins:
            bar("compiling", 0, 0)
            wait_until(lambda: made and made[0].started.is_set())
            write_begins()
            assert made[0].said[-1] == ("stopped",)
            bar("compiling", 1, 9)
            time.sleep(0.1)
            assert len(made) == 1
        bar("compiling", 0, 0)
        wait_until(lambda: len(made) == 2)


def test_what_is_quick_shows_nothing(made, monkeypatch, capsys):
    before = set(threading.enumerate())
    for on_terminal in (True, False):
        monkeypatch.setattr(progress, "is_terminal", lambda _stream, on=on_terminal: on)
        monkeypatch.setattr(progress, "PATIENCE", 60)
        monkeypatch.setattr(progress, "PATIENCE_PLAIN", 60)
        with Bar() as bar:
            for i in range(5):
                bar("compiling", i, 4)
    assert not made and capsys.readouterr().err == ""
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_without_a_terminal_it_is_one_line(made, monkeypatch, capsys):
    monkeypatch.setattr(progress, "is_terminal", lambda _stream: False)
    said = []
    monkeypatch.setattr(progress, "note", said.append)
    with Bar() as bar:
        bar("compiling", 0, 9)
        wait_until(lambda: said)
        bar("compiling", 5, 9)
        assert not bar.may_come_again()
    assert said == ["compiling kernels for this device, once ..."] and not made


@pytest.mark.full
def test_a_cold_start_on_a_software_driver_says_what_it_does_before_the_prompt_is_echoed(tmp_path):
    found = [d for d in registry.get("vulkan").devices() if d.is_software and not d.missing]
    if not found:
        pytest.skip("no software Vulkan device")
    words = (MODEL, "hello", "-n", "4", "--temp", "0", "--backend", "vulkan", "-dev", str(found[0].index))
    with Terminal(*words, VKRUN_CACHE_DIR=str(tmp_path), MESA_SHADER_CACHE_DISABLE="true") as terminal:
        terminal.wait_for(progress.TITLES["compiling"])
        assert "hello" not in terminal.text
        assert terminal.ends() == 0
    after = terminal.text[terminal.text.rindex(progress.TITLES["compiling"]) :]
    assert re.search(
        r"\x1b\[2Khello[^\x1b]*\n\Z", after
    )  # the bar's line is wiped out first, and nothing is drawn after
    assert {p.name for p in tmp_path.iterdir()} >= {"pipelines", "probes"}
