"""Messages between processes: they come out as they went in, and nothing else comes out."""

import os
import pickle

import pytest
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.server.jobs import Done, Failed, Grammar, Job, Likely, Progress, Timings, Token, Usage
from vkrun.runtime.server.worker import messages
from vkrun.runtime.server.worker.messages import N_LENGTH, Cancel, Died, Given, Hold, Run, Start, pack, unpack
from vkrun.runtime.server.worker.options import WorkerOptions

JOB = Job("1", (1, 2, 3), stop=("x",), grammar=Grammar("regex", "a+"), user="me")
EVENTS = (Progress(1, 0, 3), Token(5, "é", Likely(5, b"\xc3", -1.0), (Likely(6, b"a", -2.0),)), Failed("no", 1.5))
SENT = [
    Start(WorkerOptions("m.gguf"), 1),
    Run(JOB),
    Cancel("1"),
    Hold("1", True),
    Died("lost"),
    Given((*(("1", e) for e in EVENTS), ("2", Done("stop", Usage(1, 2, 3), Timings()))), ((0, "1"),)),
]


@pytest.mark.parametrize("message", SENT)
def test_there_and_back(message: messages.Command) -> None:
    data = pack(message)
    assert int.from_bytes(data[:N_LENGTH], "little") == len(data) - N_LENGTH
    assert unpack(data[N_LENGTH:]) == message


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("true",)


BAD = [
    pickle.dumps(Evil()),
    pickle.dumps(Cancel(Evil())),  # type: ignore[arg-type]
    pickle.dumps({"a": 1}),
    pickle.dumps(JOB),
    pickle.dumps(OSError),
    pickle.dumps(Died("x"))[:-3],
    b"",
    b"\x80\x05.",
    b"Segmentation fault",
]


@pytest.mark.parametrize("body", BAD)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(VkrunError, match="message: "):
        unpack(body)


def test_a_message_that_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_BYTES", 1000)
    with pytest.raises(VkrunError, match="bytes, at most 1000 allowed"):
        pack(Cancel("x" * 1000))
