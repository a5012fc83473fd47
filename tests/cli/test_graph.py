"""`vkrun graph`: pictures and counts from a header whose data section is a hole."""

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import gguf
import pytest
import vkrun
from vkrun.runtime.cli.main import main
from vkrun.runtime.counts import plan_step
from vkrun.runtime.ir.ops import OpKind
from vkrun.runtime.picture.boxes import Picture, side
from vkrun.runtime.picture.ranks import BOX_WIDTH, GAP, place
from vkrun.runtime.picture.svg import FILLS, svg
from vkrun.runtime.picture.texts import as_dot
from vkrun.tests.model_files import QWEN3_NEXT_80B, write_header

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "two kinds of layers.gguf"
    return write_header(path, replace(QWEN3_NEXT_80B, n_layers=4), gguf.GGMLQuantizationType.Q4_0)


@pytest.fixture(scope="module")
def picture(header: Path) -> Picture:
    return Picture("model", 1, 1, 4096, *(side(plan_step(header, opt), opt) for opt in (0, 3)))


def shown(picture: Picture) -> list:
    return [made.layer(number) for number, _ in picture.shown for made in (picture.before, picture.after)]


def test_a_layer_of_each_sort_is_shown(picture):
    assert picture.shown == [(0, "delta net"), (3, "attention")]


def test_copies_fused_groups_and_products_are_told_apart(picture):
    before, after = ({b.name: b for b in made.layer(0)} for made in (picture.before, picture.after))
    assert before["blk.0.causal_conv.concat"].kind == OpKind.COPY
    assert not any(b.kind == OpKind.COPY for b in after.values())
    net = after["blk.0.gated_delta_norm"]
    assert net.kind == OpKind.FUSED and net.n_parts > 20
    assert {b.kind for b in before.values() if b.op == "mul_mat"} == {OpKind.PRODUCT}
    assert sum(b.kind == OpKind.COPY for b in picture.before.boxes) == picture.before.counts["copies"]


def test_who_feeds_whom(picture):
    boxes = {b.index: b for b in picture.after.layer(0)}
    (last,) = (b for b in boxes.values() if b.op == "experts_down")
    assert {boxes[j].op for j in last.feeds_on} == {"route_gate_up", "mul_mat_add", "norm_mul_mats"}
    assert all(j < b.index for b in picture.before.boxes for j in b.feeds_on)


def test_boxes_stand_below_what_feeds_them_and_apart(picture):
    for boxes in shown(picture):
        centres = place(boxes).centres
        for b in boxes:
            assert all(centres[j][1] < centres[b.index][1] for j in b.feeds_on if j in centres)
        for (x, rank), (x2, rank2) in combinations(centres.values(), 2):
            assert rank != rank2 or abs(x - x2) >= BOX_WIDTH + GAP - 1e-6


def test_svg_holds_every_box_in_its_colour_within_its_bounds(picture):
    root = ElementTree.fromstring(svg(picture))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    rects = [r.attrib for r in root.iter(f"{SVG}rect") if r.get("rx")]
    boxes = [b for side in shown(picture) for b in side]
    assert len(rects) == len(boxes) + len(FILLS)  # and the legend
    n_copies = sum(b.kind == OpKind.COPY for b in boxes)
    assert sum(r["fill"] == FILLS[OpKind.COPY] for r in rects) == n_copies + 1 and n_copies > 0
    assert all(float(r["x"]) >= 0 and float(r["x"]) + float(r["width"]) <= width for r in rects)
    assert all(float(r["y"]) >= 0 and float(r["y"]) + float(r["height"]) <= height for r in rects)
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert f"{picture.before.counts['copies']}" in texts and "gated_delta_norm" in texts


def test_names_that_would_be_markup(picture):
    name = '</text><script>&"\x1b]0;'
    root = ElementTree.fromstring(svg(replace(picture, model=name)))
    assert next(root.iter(f"{SVG}text")).text == name.replace("\x1b", "?")
    assert '\\"' in as_dot(replace(picture, model=name)).splitlines()[1]


def test_dot_has_every_box_and_line(picture):
    text = as_dot(picture)
    assert text.count("{") == text.count("}") == 1 + 4
    sides = shown(picture)
    assert len(re.findall(r"\[label=", text)) == sum(map(len, sides))
    n_lines = sum(j in {b.index for b in side} for side in sides for b in side for j in b.feeds_on)
    assert text.count(" -> ") == n_lines


def test_json_holds_the_counts_of_the_library(header, capsys):
    assert main(["graph", str(header), "--tokens", "8", "--opt", "1", "-o", "-"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["counts"] == made["after"]["counts"] == vkrun.counts(header, opt=1, n_tokens=8)
    assert made["before"]["counts"] == vkrun.counts(header, opt=0, n_tokens=8)
    for half in (made["before"], made["after"]):
        assert len(half["nodes"]) == half["counts"]["nodes"]
        assert sum(n["bytes_read"] for n in half["nodes"]) == half["counts"]["bytes_read"]
        assert sum(n["kind"] == OpKind.COPY for n in half["nodes"]) == half["counts"]["copies"]


@pytest.mark.parametrize(("name", "begins"), [("a.svg", "<svg "), ("a.dot", "digraph {"), ("a.JSON", '{"model"')])
def test_files_by_their_names(header, tmp_path, capsys, name, begins):
    assert main(["graph", str(header), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_text().startswith(begins) and not capsys.readouterr().out


def test_another_format_on_stdout(header, capsys):
    assert main(["graph", str(header), "-o", "-", "--format", "svg"]) == 0
    assert capsys.readouterr().out.startswith("<svg ")


def test_counts_alone(header, capsys):
    assert main(["graph", str(header), "--opt", "2"]) == 0
    head, before, after = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["nodes", "dispatches", "copies"]
    assert before.split()[:4:3] == ["opt", f"{vkrun.counts(header, opt=0)['dispatches']:,}"]
    assert after.split()[:2] == ["opt", "2"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["-o", "a.png"], 2, "ends in none of"),
        (["--opt", "4"], 2, "--opt"),
        (["-o", "/nowhere/at/all.svg"], 1, "cannot write"),
    ],
)
def test_what_cannot_be_done(header, capsys, words, code, text):
    assert main(["graph", str(header), *words]) == code
    out, err = capsys.readouterr()
    assert not out and text in err and err.count("\n") == 1


def test_a_missing_file(capsys):
    assert main(["graph", "missing.gguf"]) == 1
    assert "missing.gguf: cannot open" in capsys.readouterr().err
