"""Sessions in files: what comes back is what was saved, whatever else stands in a file is refused, and a disk that is
full or a process that ends leaves what was there."""

import errno
import json
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.engine import saved
from vkrun.runtime.engine.parked import NO_RINGS, PIECE, Arrays
from vkrun.runtime.engine.saved import HEAD, MAGIC, Form, Session, save
from vkrun.runtime.errors import SessionError

FORM = Form("cafe", 100, 5000, [("<f4", 3), ("<f2", 2)], [("<f4", 7)], [])
RINGS = [("<f4", 2)]


class Source:
    row_nbytes, ring_nbytes, state_nbytes, rings = 16, 8, 28, NO_RINGS

    def take_keys(self, cache: int, start: int, stop: int) -> Arrays:
        n = stop - start
        return [np.full((n, 3), start + cache, np.float32), np.arange(2 * n).reshape(n, 2).astype(np.float16) % 1000]

    def take_rings(self, cache: int, start: int, stop: int) -> Arrays:
        return [np.arange(2 * start, 2 * stop, dtype=np.float32).reshape(-1, 2) + cache]

    def take_state(self, state: int) -> Arrays:
        return [np.arange(7, dtype=np.float32) + state]


def write(path: Path, n: int = 20, states: tuple[int, ...] = (5, 20), form: Form = FORM) -> bytes:
    save(path, form, 2, [i % 100 for i in range(n)], {pos: pos + 1 for pos in states}, Source())
    return path.read_bytes()


def read(path: Path, form: Form = FORM) -> tuple[list[int], list[tuple[int, Arrays]], list[tuple[int, Arrays]]]:
    with Session.open(path, form) as session:
        found = session.ids, list(session.pieces()), list(session.states())
        session.finish()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.session"


def test_what_is_saved_comes_back(path: Path) -> None:
    write(path, 2 * PIECE + 7, (64, 1000, 2 * PIECE + 7))
    ids, keys, states = read(path)
    assert ids == [i % 100 for i in range(2 * PIECE + 7)] and [start for start, _ in keys] == [0, PIECE, 2 * PIECE]
    for start, (a, b) in keys:
        wanted = Source().take_keys(2, start, start + len(a))
        assert np.array_equal(a, wanted[0]) and np.array_equal(b, wanted[1]) and b.dtype == np.float16
    assert [pos for pos, _ in states] == [64, 1000, 2 * PIECE + 7]
    assert all(np.array_equal(made, np.arange(7) + pos + 1) for pos, (made,) in states)
    assert os.stat(path).st_mode & 0o077 == 0  # a conversation is its owner's


@pytest.mark.parametrize(
    "form, why",
    [
        (Form("beef", 100, 5000, FORM.rows, FORM.states, []), "saved with another model, cafe, expected beef"),
        (Form("cafe", 100, 5000, [("<f4", 4), ("<f2", 2)], FORM.states, []), "caches and states of other sizes"),
        (Form("cafe", 100, 5000, [("<f2", 3), ("<f2", 2)], FORM.states, []), "caches of f32/f16, expected f16 as"),
        (Form("cafe", 100, 5000, FORM.rows, [], []), "caches and states of other sizes"),
        (Form("cafe", 100, 5000, FORM.rows, FORM.states, RINGS), "caches and states of other sizes"),
        (Form("cafe", 100, 19, FORM.rows, FORM.states, []), "20 tokens, the context holds 1 to 19"),
        (Form("cafe", 19, 5000, FORM.rows, FORM.states, []), "token 19, expected 0 to 18"),
    ],
)
def test_what_does_not_fit_is_refused(path: Path, form: Form, why: str) -> None:
    write(path)
    with pytest.raises(SessionError, match=why):
        read(path, form)


def forged(path: Path, **changes: object) -> None:
    """A file of sound size and digest with another header."""
    whole = path.read_bytes()
    _, version, n = HEAD.unpack(whole[: HEAD.size])
    header = json.loads(whole[HEAD.size : HEAD.size + n]) | changes
    text = json.dumps(header).encode()
    made = HEAD.pack(MAGIC, version, len(text)) + text + whole[HEAD.size + n : -32]
    path.write_bytes(made + blake2b(made, digest_size=32).digest())


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"n_tokens": 21}, "bytes, expected"),
        ({"n_tokens": 1 << 62}, "tokens, the context holds"),
        ({"n_tokens": -1}, "tokens, the context holds"),
        ({"n_tokens": True}, "tokens, the context holds"),
        ({"n_tokens": 20.0}, "tokens, the context holds"),
        ({"positions": [20, 5]}, "states at positions"),
        ({"positions": [5, 5]}, "states at positions"),
        ({"positions": [0, 5]}, "states at positions"),
        ({"positions": [5, 21]}, "states at positions"),
        ({"positions": [5]}, "bytes, expected"),
        ({"positions": "ab"}, "states at positions"),
        ({"rows": [["<f4", 1 << 62], ["<f2", 2]]}, "of other sizes"),
        ({"rows": [["O", 3], ["<f2", 2]]}, "of other sizes"),
        ({"n_lost": 21}, "21 of 20 tokens lost"),
        ({"n_lost": -1}, "-1 of 20 tokens lost"),
        ({"n_lost": None}, "None of 20 tokens lost"),
        ({"ring_rows": [["<f4", 1]]}, "of other sizes"),
        ({"rows": 3}, "no session that vkrun saved"),
        ({"states": None}, "no session that vkrun saved"),
    ],
)
def test_hostile_headers_are_refused(path: Path, changes: dict, why: str) -> None:
    write(path)
    forged(path, **changes)
    with pytest.raises(SessionError, match=why):
        read(path)


@pytest.mark.parametrize(
    "text", [b"", b"GGUF", HEAD.pack(MAGIC, 2, 1 << 31), HEAD.pack(MAGIC, 2, 9) + b"[" * 9, HEAD.pack(b"x" * 14, 1, 2)]
)
def test_what_is_no_session_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(SessionError, match="no session that vkrun saved"):
        read(path)
    deep = b"[" * 100_000
    path.write_bytes(HEAD.pack(MAGIC, 2, len(deep)) + deep)
    with pytest.raises(SessionError, match="no session that vkrun saved"):
        read(path)


def test_of_rings_the_last_rows_come_back(path: Path) -> None:
    form, n = Form("cafe", 100, 5000, FORM.rows, [], RINGS), PIECE + 90
    save(path, form, 2, [i % 100 for i in range(n)], {}, Source(), n_lost=70)
    with Session.open(path, form) as session:
        assert [start for start, _ in session.pieces()] == [0, PIECE]
        made = [(start, rows[0]) for start, rows in session.ring_pieces()]
        session.finish()
    assert [start for start, _ in made] == [70, 70 + PIECE] and session.header.n_lost == 70
    assert np.array_equal(np.concatenate([rows for _, rows in made]), Source().take_rings(2, 70, n)[0])


def test_another_version_is_refused(path: Path) -> None:
    whole = write(path)
    path.write_bytes(HEAD.pack(MAGIC, 3, HEAD.unpack(whole[: HEAD.size])[2]) + whole[HEAD.size :])
    with pytest.raises(SessionError, match="version 3, expected 2"):
        read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(path: Path, bad: float) -> None:
    """They would count in other sequences, even where they are masked."""

    class Bad(Source):
        def take_state(self, state: int) -> Arrays:
            return [np.full(7, bad, np.float32)]

    save(path, FORM, 0, [1, 2], {2: 0}, Bad())
    with pytest.raises(SessionError, match="not finite"):
        read(path)


def test_no_file_and_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="cannot read"):
        read(tmp_path / "none")
    with pytest.raises(SessionError):
        read(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SessionError, match="no session that vkrun saved"):
        read(tmp_path / "fifo")
    with pytest.raises(SessionError, match="cannot save"):
        write(tmp_path / "none" / "a")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.session"
    whole = bytearray(write(path))
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[at] ^= data.draw(st.integers(1, 255))
    else:
        del whole[at:]
    path.write_bytes(whole)
    with pytest.raises(SessionError):
        read(path)


class Full:
    """A file on a disk that has no room left after some writes."""

    def __init__(self, file: object, n_left: int) -> None:
        self._file, self._n_left = file, n_left

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # type: ignore[attr-defined]

    def write(self, data: bytes) -> int:
        self._n_left -= 1
        if self._n_left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)  # type: ignore[attr-defined]


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert [p.name for p in tmp_path.iterdir()] == ["a.session"]


@pytest.mark.parametrize("n_writes", [0, 1, 3, 5])
@pytest.mark.usefixtures("no_leftovers")
def test_a_full_disk_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch, n_writes: int) -> None:
    before = write(path)
    monkeypatch.setattr(saved, "open", lambda fd, mode: Full(os.fdopen(fd, mode), n_writes), raising=False)
    with pytest.raises(SessionError, match=f"cannot save: {os.strerror(errno.ENOSPC)}; what was there stays"):
        write(path, 30, (30,))
    monkeypatch.undo()
    assert path.read_bytes() == before and read(path)[0] == list(range(20))


@pytest.mark.usefixtures("no_leftovers")
def test_a_device_that_fails_amid_a_save_leaves_what_was_there(path: Path) -> None:
    class Lost(Source):
        def take_state(self, state: int) -> Arrays:
            raise RuntimeError("device lost")

    before = write(path)
    with pytest.raises(RuntimeError, match="device lost"):
        save(path, FORM, 0, [1, 2], {2: 0}, Lost())
    assert path.read_bytes() == before
