"""Models of a hub: which file a name means, what is fetched and kept, and what is said where that cannot be."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub as hf
import pytest
from vkrun.runtime.errors import HubError, UsageError
from vkrun.runtime.hub.names import PREFERRED, Wanted, choose, models_in, parse, quant_of
from vkrun.runtime.hub.store import Store, _bar
from vkrun.tests.hub_server import COMMIT, Hub

REPO = "some/Model-GGUF"
FILES = {
    "README.md": b"text",
    "Model-Q8_0.gguf": b"8" * 5000,
    "Model-Q4_K_M.gguf": b"4" * 3000,
    "mmproj-Model-F16.gguf": b"eyes",
    "BF16/Model-BF16-00001-of-00002.gguf": b"b" * 400,
    "BF16/Model-BF16-00002-of-00002.gguf": b"c" * 300,
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({REPO: dict(FILES)}) as made:
        yield made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "outer" / "cache"


def chosen(files: list[str], quant: str = "", file: str = "") -> tuple[str, ...]:
    return choose(Wanted(REPO, quant, file), models_in(REPO, dict.fromkeys(files, 7))).paths


def said(store: Store, text: str = REPO, file: str = "") -> str:
    with pytest.raises(HubError) as caught:
        store.fetch(parse(text, file))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("llama.q4_0.gguf", "Q4_0"),
        ("Qwen3-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("a-IQ2_XXS.gguf", "IQ2_XXS"),
        ("a-fp16.gguf", "F16"),
        ("a-F32.gguf", "F32"),
        ("TQ1_0/part.gguf", "TQ1_0"),
        ("Q8_0/model-Q6_K.gguf", "Q6_K"),
        ("model.gguf", ""),
        ("Q4-model.gguf", ""),
    ],
)
def test_a_type_is_read_from_names(path: str, quant: str) -> None:
    assert quant_of(path) == quant


def test_without_a_wish_the_nearest_is_taken() -> None:
    files = [f"m-{quant}.gguf" for quant in PREFERRED]
    for i, name in enumerate(files):
        assert chosen(sorted(files[i:])) == (name,)
    assert chosen(["m-Q8_0.gguf", "only.gguf"]) == ("m-Q8_0.gguf",)
    assert chosen(["m-UD-Q4_K_XL.gguf", "m-Q4_0.gguf"]) == ("m-UD-Q4_K_XL.gguf",)
    assert chosen(["only.gguf", "mmproj-F16.gguf", "m-imatrix.gguf"]) == ("only.gguf",)


def test_a_wish_is_kept_or_answered_with_what_there_is() -> None:
    files = ["m-Q8_0.gguf", "m-UD-Q2_K_XL.gguf", "x/m-Q4_0.gguf"]
    assert chosen(files, "q8_0") == ("m-Q8_0.gguf",)
    assert chosen(files, "Q2_K_XL") == ("m-UD-Q2_K_XL.gguf",)
    assert chosen(files, file="m-Q4_0.gguf") == ("x/m-Q4_0.gguf",)
    with pytest.raises(HubError, match=r"no Q5_K_M there; there is Q4_0 \(7 B\), Q8_0 \(7 B\), UD-Q2_K_XL \(7 B\)"):
        chosen(files, "Q5_K_M")
    with pytest.raises(HubError, match=r"no model 'other.gguf' there; there is x/m-Q4_0.gguf"):
        chosen(files, file="other.gguf")
    with pytest.raises(HubError, match="no GGUF file of a model there"):
        chosen(["README.md", "mmproj.gguf"])


def test_parts_are_one_model() -> None:
    parts = [f"Q4_0/m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert chosen(parts[::-1]) == tuple(parts)
    assert chosen(parts, file=parts[1]) == tuple(parts)
    with pytest.raises(HubError, match="1 of 3 parts are missing there"):
        chosen([parts[0], parts[2]])
    assert chosen([parts[0], "m-Q8_0.gguf"]) == ("m-Q8_0.gguf",)


def test_a_name_that_does_not_decide_gives_a_catalogue() -> None:
    with pytest.raises(HubError, match="2 models fit") as caught:
        chosen(["small-Q4_0.gguf", "large-Q4_0.gguf", "small-Q8_0.gguf"])
    assert caught.value.catalogue == (("Q4_0", "7 B", "1", "large-Q4_0.gguf"), ("Q4_0", "7 B", "1", "small-Q4_0.gguf"))


@pytest.mark.parametrize(
    "text", ["model", "a/b/c", "../b", "a/..", "a/b:", "a/b:c d", "a/b:../x", "/etc/passwd", "a/b\n"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="expected user/repo"):
        parse(text)


def test_names_are_read() -> None:
    assert parse("a/b:Q4_0") == Wanted("a/b", "Q4_0")
    assert parse("a/b:latest", "f.gguf") == Wanted("a/b", "", "f.gguf")


def test_a_model_is_fetched_once_and_runs_offline(hub: Hub, cache: Path) -> None:
    notes, seen = list[str](), list[tuple[str, int, int]]()
    store = Store(endpoint=hub.url, cache=cache, note=notes.append, progress=lambda *told: seen.append(told))
    path = store.fetch(parse(REPO))
    assert Path(path).read_bytes() == FILES["Model-Q4_K_M.gguf"] and COMMIT in path
    assert notes == [f"{REPO}: fetching Model-Q4_K_M.gguf, 2.9 KiB"]
    assert seen[-1] == ("fetching", 3000, 3000)
    hub.asked.clear()
    assert store.fetch(parse(REPO)) == path and len(notes) == 1
    assert not any(at.startswith("/blobs") for _, at, _ in hub.asked)
    hub.asked.clear()
    assert Store(offline=True, endpoint=hub.url, cache=cache).fetch(parse(f"{REPO}:Q4_K_M")) == path
    assert hub.asked == []
    assert "no Q8_0 there; there is Q4_K_M" in said(Store(offline=True, endpoint=hub.url, cache=cache), f"{REPO}:Q8_0")


def test_all_parts_are_fetched(hub: Hub, cache: Path) -> None:
    path = Path(Store(endpoint=hub.url, cache=cache).fetch(parse(f"{REPO}:bf16")))
    assert path.name == "Model-BF16-00001-of-00002.gguf"
    assert [p.read_bytes() for p in sorted(path.parent.iterdir())] == [b"b" * 400, b"c" * 300]


def test_progress_is_of_all_parts(hub: Hub, cache: Path) -> None:
    seen = list[tuple[str, int, int]]()
    store = Store(endpoint=hub.url, cache=cache, progress=lambda *told: seen.append(told))
    store.fetch(parse(f"{REPO}:BF16"))
    assert seen == [("fetching", 400, 700), ("fetching", 700, 700)]
    bar = _bar(lambda *told: seen.append(told), 100, 700)
    first, second = bar(total=600), bar(total=600)  # as for files that come in pieces
    first.update(250)
    second.update(100)
    second.update(300)
    assert [done for _, done, _ in seen[2:]] == [350, 350, 500]


def test_without_a_net_what_is_there_is_used(hub: Hub, cache: Path) -> None:
    path = Store(endpoint=hub.url, cache=cache).fetch(parse(REPO))
    notes = list[str]()
    gone = Store(endpoint="http://127.0.0.1:9", cache=cache, note=notes.append)
    assert gone.fetch(parse(REPO)) == path
    assert (
        "127.0.0.1:9 cannot be reached" in notes[0]
        and "[Errno" not in notes[0]
        and notes[0].endswith("; what is there is used")
    )
    assert "cannot be reached" in said(gone, "other/repo")
    assert "no model of it in" in said(Store(offline=True, cache=cache), "other/repo")
    hub.status[REPO] = 503
    assert Store(endpoint=hub.url, cache=cache).fetch(parse(REPO)) == path


def test_a_download_goes_on_where_it_broke(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf.constants, "DOWNLOAD_CHUNK_SIZE", 400)
    hub.breaks_after = 1234
    path = Store(endpoint=hub.url, cache=cache).fetch(parse(REPO))
    assert Path(path).read_bytes() == FILES["Model-Q4_K_M.gguf"]
    ranges = [r for method, at, r in hub.asked if method == "GET" and at.startswith("/blobs")]
    assert ranges == [None, "bytes=1200-"]


def test_refusals_say_what_helps(hub: Hub, cache: Path) -> None:
    store = Store(endpoint=hub.url, cache=cache)
    assert "no such repository (404)" in said(store, "some/other")
    hub.tokens[REPO] = "secret"
    assert "only a token opens: HF_TOKEN, --hf-token" in said(store)
    assert Store(token="secret", endpoint=hub.url, cache=cache).fetch(parse(REPO))
    hub.tokens.clear()
    hub.gated.add(REPO)
    assert "gated (403): its page says who may have it" in said(store)
    hub.gated.clear()
    for status, words in {403: "not allowed (403)", 429: "refused (429)"}.items():
        hub.status[REPO] = status
        assert words in said(store)


@pytest.mark.parametrize(
    "name", ["../../out-Q4_0.gguf", "/tmp/out.gguf", "a/../../out.gguf", "a\\..\\out.gguf", "C:/out.gguf", "a//b.gguf"]
)
def test_file_names_stay_in_the_cache(name: str, hub: Hub, cache: Path) -> None:
    hub.repos[REPO] = {name: b"x"}
    assert "leads out of its folder" in said(Store(endpoint=hub.url, cache=cache))
    assert not cache.exists()


@pytest.mark.parametrize("header", ["X-Linked-Etag", "X-Repo-Commit"])
def test_hashes_stay_in_the_cache(header: str, hub: Hub, cache: Path) -> None:
    hub.headers[header] = '"../../../../out"'
    assert "which is no hash; nothing is kept" in said(Store(endpoint=hub.url, cache=cache))
    assert list(cache.parent.glob("**/*out*")) == []


@pytest.mark.parametrize(
    "info",
    [b"no json", b"[]", b"{}", b'{"id": "a", "siblings": [{"rfilename": 5}]}', b'{"id": "a", "siblings": [{}]}',
     b'{"id": "a", "siblings": 7}'],
)  # fmt: skip
def test_answers_that_no_hub_gives(info: bytes, hub: Hub, cache: Path) -> None:
    hub.info = info
    assert said(Store(endpoint=hub.url, cache=cache)).startswith(f"{REPO}: ")


def test_sizes_that_are_none_are_unknown(hub: Hub, cache: Path) -> None:
    files = [{"rfilename": "a-Q4_0.gguf", "size": "many"}, {"rfilename": "b-Q8_0.gguf", "size": -4}]
    hub.info = json.dumps({"id": REPO, "siblings": files}).encode()
    assert [m.nbytes for m in Store(endpoint=hub.url, cache=cache).models(REPO)] == [None, None]


def test_a_disk_that_is_full(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 100))
    assert f"2.9 KiB to fetch, 100 B free in {cache}" in said(Store(endpoint=hub.url, cache=cache))


def test_a_cache_that_cannot_be_written(hub: Hub, cache: Path) -> None:
    cache.parent.mkdir()
    (cache.parent / "file").write_text("")
    assert "Not a directory" in said(Store(endpoint=hub.url, cache=cache.parent / "file" / "cache"))


def test_models_are_listed_and_removed(hub: Hub, cache: Path) -> None:
    store = Store(endpoint=hub.url, cache=cache)
    assert store.stored() == []
    for quant in ("Q8_0", "BF16", "Q4_K_M"):
        store.fetch(parse(f"{REPO}:{quant}"))
    assert [(s.model.quant, s.model.nbytes) for s in store.stored()] == [
        ("BF16", 700),
        ("Q4_K_M", 3000),
        ("Q8_0", 5000),
    ]
    assert store.remove(parse(f"{REPO}:BF16")) == (["BF16/Model-BF16-00001-of-00002.gguf",
                                                    "BF16/Model-BF16-00002-of-00002.gguf"], 700)  # fmt: skip
    assert [s.model.quant for s in store.stored()] == ["Q4_K_M", "Q8_0"]
    assert store.remove(parse(REPO)) == (["Model-Q4_K_M.gguf", "Model-Q8_0.gguf"], 8000)
    assert store.stored() == [] and list(cache.glob("models--*/blobs/*")) == []
    with pytest.raises(HubError, match=r"no model of it in [^(]*\Z"):
        store.remove(parse(REPO))
