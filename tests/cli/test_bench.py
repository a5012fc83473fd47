"""`vkrun bench`: llama-bench's rows and tables, the ladder, replay, profiles."""

import csv
import json
import re
from itertools import pairwise
from types import SimpleNamespace

import pytest
from vkrun.runtime.bench import session
from vkrun.runtime.bench.ceilings import Ceilings, measure_ceilings
from vkrun.runtime.bench.measure import Measured, Test
from vkrun.runtime.bench.profile import profile
from vkrun.runtime.bench.ranges import numbers, pairs
from vkrun.runtime.bench.report import ladder, params_text, replay_table, size_text
from vkrun.runtime.bench.settings import Setting, Wanted
from vkrun.runtime.cli.main import main
from vkrun.runtime.errors import UsageError
from vkrun.runtime.model import load
from vkrun.tests.cli.running import MODEL

Test.__test__ = False  # a benchmark's, not pytest's
QUICK = ("-m", MODEL, "--backend", "cpu", "-r", "2", "--no-warmup")


def bench(capsys, *words: str) -> str:
    assert main(["bench", *QUICK, *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["512"], [512]),
        (["1,2,4", "8"], [1, 2, 4, 8]),
        (["1-4"], [1, 2, 3, 4]),
        (["128-512+128"], [128, 256, 384, 512]),
        (["1-9*2,7"], [1, 2, 4, 8, 7]),
        (["5-5"], [5]),
    ],
)
def test_lists_and_ranges(texts, wanted):
    assert numbers("-p", texts, 0, 4096) == wanted


@pytest.mark.parametrize("text", ["", "x", "1,", "4-1", "1-8*1", "0-8*2", "1-8+0", "-1", "9999", "1-8-2", "1.5", "٣"])
def test_lists_that_are_none(text):
    with pytest.raises(UsageError, match=r"^-p: "):
        numbers("-p", [text], 0, 4096)


@pytest.mark.parametrize(("is_software", "n_warm"), [(True, 1), (False, 4)])
def test_a_gpu_is_warmed_up_for_a_while(is_software, n_warm, monkeypatch):
    ran = []
    model = SimpleNamespace(info=SimpleNamespace(is_software=is_software))
    monkeypatch.setattr(session, "_run", lambda *_: ran.append(0) or 1)
    monkeypatch.setattr(session, "warm_up", lambda run: [run() for _ in range(3)])
    wanted = Wanted(n_gen=[4], n_runs=2)
    done = session.Session(wanted, print, print)._test(model, next(iter(wanted.tests())), "")
    assert len(ran) == n_warm + 2 and len(done[0][2].samples_ns) == 2


def test_pairs():
    assert pairs("-pg", ["512,128", "1,2"], 4096) == [(512, 128), (1, 2)]
    with pytest.raises(UsageError, match="two numbers"):
        pairs("-pg", ["512"], 4096)


def test_tests_and_settings_in_order():
    wanted = Wanted(
        n_prompt=[0, 8], n_gen=[4], n_pg=[(8, 2)], n_depth=[0, 16], n_seqs=[1, 2], opts=[0, 3], no_replay=True
    )
    names = ["pp8", "tg4", "tg4 x2", "pp8+tg2"]
    assert [t.name for t in wanted.tests()] == [
        *names,
        *("pp8 @ d16", "tg4 @ d16", "tg4 @ d16 x2", "pp8+tg2 @ d16"),
    ]
    assert [(s.opt, s.replay) for s in wanted.settings()] == [(0, False), (3, False), (0, True), (3, True)]
    assert wanted.n_ctx == 256 and wanted.varied() == ["opt", "replay"]


@pytest.mark.parametrize(
    ("n_batch", "n_ubatch", "software", "gpu"),
    [(2048, 0, 512, 2048), (128, 0, 128, 128), (64, 4096, 64, 64), (4, 2, 2, 2)],
)
def test_batches_bound_the_planned_sizes(n_batch, n_ubatch, software, gpu):
    setting = Setting(n_batch=n_batch, n_ubatch=n_ubatch)
    assert (setting.n_planned(True), setting.n_planned(False)) == (software, gpu)


def test_the_table_is_llama_benchs(capsys):
    head, marks, *rows = bench(capsys, "-p", "4", "-n", "2").splitlines()
    assert head == (
        "| model                          |       size |     params | backend    | ngl |"
        "            test |                  t/s |"
    )
    assert marks == (
        "| ------------------------------ | ---------: | ---------: | ---------- | --: |"
        " --------------: | -------------------: |"
    )
    assert [row.split("|")[-3].strip() for row in rows] == ["pp4", "tg2"]
    assert {len(row) for row in (head, marks, *rows)} == {len(head)}
    assert all(re.search(r"\| +\d+\.\d\d ± \d+\.\d\d \|$", row) for row in rows)


def test_columns_for_what_varies_and_the_ladder(capsys):
    out = bench(capsys, "-p", "4", "-n", "2", "-ub", "2", "--opt", "0,3", "--no-replay")
    rows, levels, replays = (part.splitlines() for part in out.split("\n\n"))
    assert re.sub(" +", " ", rows[0]).endswith("| ngl | n_ubatch | opt | replay | test | t/s |")
    assert len(rows) == 2 + 2 * 2 * 2
    assert [row.split("|")[1].strip() for row in levels[2:]] == ["pp4, b2048 ub2", "tg2, b2048 ub2"]
    assert re.sub(" +", " ", levels[0]) == "| test | opt 0, t/s | opt 3, t/s | 3 / 0 |"
    assert len(replays) == 2 + 4


def measured(test: Test, ms: float) -> Measured:
    return Measured(test, [int(ms * 1e6)] * 2)


def test_speed_ups():
    test = Test(0, 10)
    done = [(test, Setting(opt), measured(test, ms)) for opt, ms in ((0, 40), (1, 20), (3, 10))]
    assert [cell.strip() for cell in ladder(done)[2].split("|")[1:-1]] == [
        "tg10",
        "250.00",
        "500.00",
        "1000.00",
        "4.00",
    ]
    both = [(test, Setting(3, replay), measured(test, ms)) for replay, ms in ((False, 30), (True, 10))]
    assert [cell.strip() for cell in replay_table(both)[2].split("|")[1:-1]] == [
        "tg10, opt 3",
        "333.33",
        "1000.00",
        "3.00",
    ]


@pytest.mark.parametrize("name", ["json", "jsonl", "csv"])
def test_rows_for_programs(capsys, name):
    out = bench(capsys, "-p", "4", "-n", "0", "-pg", "4,2", "-o", name)
    if name == "csv":
        rows = list(csv.DictReader(out.splitlines()))
        assert [row["n_gen"] for row in rows] == ["0", "2"] and "samples_ns" not in rows[0]
        return
    rows = json.loads(out) if name == "json" else [json.loads(text) for text in out.splitlines()]
    assert [(r["n_prompt"], r["n_gen"], r["n_depth"], r["opt"]) for r in rows] == [(4, 0, 0, 3), (4, 2, 0, 3)]
    for row in rows:
        assert (
            row["backends"] == "CPU" and row["model_type"].startswith("qwen3next ") and row["model_filename"] == MODEL
        )
        assert len(row["samples_ns"]) == len(row["samples_ts"]) == 2
        n_tokens = row["n_prompt"] + row["n_gen"]
        assert row["samples_ts"] == pytest.approx([n_tokens * 1e9 / ns for ns in row["samples_ns"]])
        assert row["avg_ts"] == pytest.approx(sum(row["samples_ts"]) / 2) and row["stddev_ts"] >= 0


def test_two_outputs(capsys):
    assert main(["bench", *QUICK, "-p", "2", "-n", "0", "-o", "jsonl", "-oe", "md"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n_prompt"] == 2 and err.splitlines()[2].split("|")[-3].strip() == "pp2"


def test_sequences_side_by_side(capsys):
    rows = [
        json.loads(text)
        for text in bench(capsys, "-p", "0", "-n", "2", "--parallel", "1-3", "-o", "jsonl").splitlines()
    ]
    assert [r["n_seqs"] for r in rows] == [1, 2, 3]
    assert [round(r["samples_ts"][0] * r["samples_ns"][0] / 1e9) for r in rows] == [2, 4, 6]  # tokens of all


def test_progress_is_on_stderr(capsys):
    assert main(["bench", *QUICK, "-p", "2", "-n", "0", "--progress", "-o", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) and [text.split(", ")[-1] for text in err.splitlines()[1:]] == ["run 1/2", "run 2/2"]


@pytest.mark.parametrize("option", ["-embd", "-hfv", "-nopo", "--delay"])
def test_options_of_llama_bench_that_vkrun_has_no_use_for(capsys, option):
    assert main(["bench", option, "1"]) == 2
    out, err = capsys.readouterr()
    assert not out and re.match(rf"vkrun: {option}( 1)?: not supported by vkrun \(", err) and err.count("\n") == 1


@pytest.mark.parametrize("words", [("--opt", "4"), ("-r", "0"), ("-p", "x"), ("-o", "sql"), ("--parallel", "0")])
def test_words_that_make_no_sense(capsys, words):
    assert main(["bench", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_profile_of_a_step(capsys):
    out = bench(capsys, "-p", "0", "-n", "2", "--profile", "-o", "jsonl")
    made = json.loads(out)["profile"]
    *kinds, whole = made["kernels"]
    assert whole["kernel"] == "all" and whole["n"] == sum(k["n"] for k in kinds)
    assert whole["bytes_read"] == sum(k["bytes_read"] for k in kinds)
    assert all(a["seconds"] >= b["seconds"] for a, b in pairwise(kinds))
    assert (made["n_tokens"], made["n_seqs"]) == (1, 1) and min(made["ceilings"].values()) > 0


def test_profile_as_a_table(capsys):
    _, head, text = bench(capsys, "-p", "4", "-n", "0", "--profile").split("\n\n")
    assert head.startswith("pp4, opt 3: one step of 8 x 1 tokens over 256 keys; this device copies ")
    assert text.splitlines()[0].startswith("| kernel") and text.splitlines()[-1].startswith("| all ")


@pytest.mark.full("kompute", "vulkan")
def test_time_and_traffic_on_each_backend(backend):
    with load(MODEL, backend, n_ctx=256) as model:
        model.engine.prompt(0, 0, [1, 2, 3])
        ceilings = measure_ceilings(model.engine.device)
        assert min(ceilings.bytes_per_s, ceilings.flops_per_s) > 1e6
        ready = model.engine.last
        assert ready is not None
        made = profile(ready, Ceilings(1e9, 1e9))
        assert made.total.n == len(ready.plan.nodes)
    assert made.total.seconds > 0 and made.total.moved.flops > 0


def test_an_engine_without_replay_gives_the_same():
    with load(MODEL, "cpu", n_ctx=64) as model:
        ids = list(range(10))
        wanted = model.logits(ids)
        for level, n_ubatch, replay in ((3, 512, False), (0, 4, True), (1, 512, True)):
            model.engine.configure(level, n_ubatch, replay)
            assert abs(model.logits(ids) - wanted).max() < 1e-3


def test_sizes_as_llama_bench_writes_them():
    assert (size_text(10510784), size_text(3 << 30)) == ("10.02 MiB", "3.00 GiB")
    assert (params_text(14212016), params_text(79674391296)) == ("14.21 M", "79.67 B")


def test_a_file_that_is_no_model_is_told_of_before_anything_is_printed(capsys):
    for names in ("gone.gguf", f"{MODEL},gone.gguf"):
        for form in ("md", "json", "csv"):
            assert main(["bench", "-m", names, "--backend", "cpu", "-o", form, "-p", "8", "-n", "0"]) == 1
            assert capsys.readouterr() == ("", "vkrun: gone.gguf: cannot open: No such file or directory\n")
    assert main(["bench", "-m", MODEL, "--backend", "cpu", "--device", "7"]) == 1
    out, err = capsys.readouterr()
    assert not out and "no device 7" in err


def test_llama_benchs_options_that_change_nothing(capsys):
    words = ("-p", "0", "-n", "2", "-ngl", "99", "-fa", "1", "-t", "8", "-mmp", "0", "-nkvo", "0")
    assert main(["bench", *QUICK, *words, "-v"]) == 0
    out, err = capsys.readouterr()
    assert "tg2" in out and err.count("changes nothing: ") == 5
