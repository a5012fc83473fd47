"""How lean Qwen3-Next is at its real shape, planned from a header without weights; and what a node is counted for."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gguf
import pytest
import vkrun
from vkrun.backends.vulkan.dispatches import Dispatch, dispatches_of
from vkrun.backends.vulkan.physical import Limits
from vkrun.backends.work import BUDGETS, operations, pieces
from vkrun.runtime.counts import USUAL_GPU, plan_step
from vkrun.runtime.errors import UsageError
from vkrun.runtime.ir.counts import counts_of, is_copy
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.layout import Layout
from vkrun.runtime.ir.plan import Plan, make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.runtime.ir.traffic import Traffic, n_distinct, traffic
from vkrun.shaders.attention.attention_decode_matrix import FEWEST_KEYS
from vkrun.shaders.kernel import Features
from vkrun.tests.model_files import QWEN3_NEXT_80B, write_header

LEVELS = range(4)
N_COPIES_UNELIDED = 480  # of a decode token at level 0
A_CPU = Features(subgroup_size=8, software=True, shared_nbytes=32768, max_workgroup=1024)
DELTA_NET, ATTENTION, TOKEN = 6, 8, 318  # most dispatches at level 3


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counts") / "80b.gguf"
    return write_header(path, quant=gguf.GGMLQuantizationType.Q4_0)


@pytest.fixture(scope="module")
def plans(header: Path) -> list[Plan]:
    """A decode token at each level."""
    return [plan_step(header, opt) for opt in LEVELS]


def per_layer(plan: Plan) -> Counter[int]:
    return Counter(int(n.name.split(".")[1]) for n in plan.nodes if n.name.startswith("blk."))


def test_dispatches_of_each_layer_and_of_a_token(plans):
    found, recurrent = per_layer(plans[3]), [(i + 1) % QWEN3_NEXT_80B.interval != 0 for i in range(48)]
    assert max(found[i] for i in range(48) if recurrent[i]) <= DELTA_NET
    assert max(found[i] for i in range(48) if not recurrent[i]) <= ATTENTION
    assert len(found) == 48 and counts_of(plans[3])["dispatches"] <= TOKEN


def test_the_likeliest_token_is_found_in_two_steps(header, plans):
    """On a GPU; a CPU takes the row whole."""
    of_a_cpu = plan_step(header, features=A_CPU)
    found = [[n.op for n in plan.nodes if n.op.startswith("top_k")] for plan in (plans[1], plans[3], of_a_cpu)]
    assert [ops[-1:] for ops in found[::2]] == [["top_k"]] * 2
    assert found[1] == ["top_k_parts", "top_k_among"]


@pytest.mark.parametrize(("n_kv", "shared_nbytes", "n"), [(256, 32768, 294), (1024, 49152, 306), (1024, 32768, TOKEN)])
def test_over_few_keys_attention_makes_its_inputs_itself(header, n_kv, shared_nbytes, n):
    """In parts where a workgroup has room for them, over few keys without parts."""
    plan = plan_step(header, n_kv=n_kv, features=replace(USUAL_GPU, shared_nbytes=shared_nbytes))
    assert counts_of(plan)["dispatches"] == n


@pytest.mark.parametrize(("n_kv", "n_seqs", "n"), [(4096, 1, 306), (FEWEST_KEYS, 4, 354), (FEWEST_KEYS - 1, 1, TOKEN)])
def test_over_many_keys_too_where_matrices_take_them(header, n_kv, n_seqs, n):
    features = replace(USUAL_GPU, shared_nbytes=49152, cooperative_matrix=((16, 16, 16),))
    plan = plan_step(header, n_kv=n_kv, n_seqs=n_seqs, features=features)
    assert counts_of(plan)["dispatches"] == n


def test_no_copy_is_left_and_how_many_there_were(plans):
    n_copies = [counts_of(p)["copies"] for p in plans]
    assert n_copies[0] == N_COPIES_UNELIDED  # what the others are held against; the model is written with its copies
    assert n_copies[1] < n_copies[0] / 2
    assert [n.name for n in plans[3].nodes if is_copy(n)] == [] and counts_of(plans[3])["copy_bytes"] == 0


def test_fewer_barriers_than_dispatches(plans):
    made = counts_of(plans[3])
    assert made["barriers"] < made["dispatches"]


@pytest.mark.parametrize("n_tokens", [1, 8, 512])
def test_arena_near_the_peak_of_live_bytes(header, n_tokens):
    arena = plan_step(header, 3, n_tokens).arena
    assert arena.peak_live <= arena.nbytes <= 1.1 * arena.peak_live


def test_no_level_does_more_than_the_one_before(plans):
    made = [counts_of(p) for p in plans]
    for before, after in pairwise(made):
        assert {key: n for key, n in after.items() if n > before[key]} == {}


def test_a_token_reads_little_more_than_the_weights_it_needs(plans):
    """10 of 512 experts: the weights, states and caches needed, by their shapes, are nearly all that is read."""
    s = QWEN3_NEXT_80B
    experts = 3 * (s.n_experts_used * s.expert_width + s.shared_width) * s.width
    n_z, n_q = s.n_delta_values * s.delta_dim, s.n_heads * s.head_dim
    delta = (s.n_channels + 2 * n_z + 2 * s.n_delta_values) * s.width
    attention = (3 * n_q + 2 * s.n_heads_kv * s.head_dim) * s.width
    blocks = 48 * experts + 36 * delta + 12 * attention + s.n_vocab * s.width
    routers, states = 48 * (s.n_experts + 1) * s.width, 36 * n_z * s.delta_dim
    caches = 12 * 2 * 4096 * s.n_heads_kv * s.head_dim
    needed = DType.Q4_0.nbytes(blocks) + 4 * (routers + states) + 2 * caches
    read = counts_of(plans[3])["bytes_read"]
    assert needed <= read <= 1.03 * needed


def test_caches_of_f16_halve_what_attention_reads_and_cost_no_dispatch(header):
    f32, f16 = (plan_step(header, n_kv=16384, cache_type=t) for t in ("f32", "f16"))
    assert [n.op for n in f16.nodes] == [n.op for n in f32.nodes] and f16.n_barriers == f32.n_barriers
    read = [sum(traffic(n).read for n in plan.nodes if n.op == "attention_split") for plan in (f32, f16)]
    keys = 12 * 2 * 16384 * QWEN3_NEXT_80B.n_heads_kv * QWEN3_NEXT_80B.head_dim
    assert read[0] - read[1] == 2 * keys and read[1] < 0.51 * read[0]


def submissions(kind: str, plan: Plan) -> list[list[Dispatch]]:
    """What a device of a kind is given at once; no device is needed to say so."""
    gib = 1 << 30
    dispatches = dispatches_of(plan, USUAL_GPU, Limits(4 * gib, gib, 4 * gib, 128, 64, 1.0, 64))
    return pieces(dispatches, lambda dispatch: dispatch.part, BUDGETS[kind])


@pytest.mark.parametrize(("kind", "level"), [*((k, 3) for k in BUDGETS), *(("discrete gpu", n) for n in LEVELS[:3])])
def test_a_token_is_one_submission(plans, kind, level):
    assert len(submissions(kind, plans[level])) == 1


def test_a_prompt_chunk_is_cut_into_submissions_within_the_budget(header):
    plan = plan_step(header, 3, 512)
    made = submissions("discrete gpu", plan)
    loads = [sum(operations(s.part) for s in piece) for piece in made]
    assert 10 < len(made) < 100 and max(loads) <= BUDGETS["discrete gpu"]
    assert [s.node for piece in made for s in piece] == sorted(s.node for piece in made for s in piece)


def test_work_of_the_picked_experts_alone(plans):
    """10 of 512 experts and the shared one."""
    s = QWEN3_NEXT_80B
    node = next(n for n in plans[3].nodes if n.op == "route_gate_up")
    flops = 2 * 2 * s.width * (s.n_experts_used * s.expert_width + s.shared_width)
    assert traffic(node).flops == flops == 46137344
    assert flops < operations(node) < 3 * flops


def test_the_library_gives_the_same_counts(header, plans):
    made = vkrun.counts(header, opt=1)
    assert made == counts_of(plans[1])
    assert list(made) == [
        *("nodes", "dispatches", "copies", "copy_bytes", "barriers", "arena_bytes", "bytes_read", "bytes_written")
    ]


MATRICES = replace(USUAL_GPU, cooperative_matrix=((16, 8, 16), (16, 16, 16)), shared_nbytes=49152, nvrtc=True)


@pytest.mark.parametrize(
    ("n_seqs", "n_tokens", "op"),
    [
        (4, 1, "norm_mul_mats_conv"),
        *((n, 1, "mul_mat_conv") for n in (5, 8, 16, 32)),
        (33, 1, "causal_conv"),
        (8, 2, "causal_conv"),
    ],
)
def test_a_token_of_each_sequence_is_convolved_where_it_is_projected(header, n_seqs, n_tokens, op):
    found = Counter(n.op for n in plan_step(header, n_seqs=n_seqs, n_tokens=n_tokens, features=MATRICES).nodes)
    assert {name: n for name, n in found.items() if "conv" in name} == {op: 36}


def test_projections_beside_a_convolved_one_stay_there(header):
    """Rows of the weights of a layer's first products, which follow each other without a barrier."""
    nodes = [n for n in plan_step(header, n_seqs=8, features=MATRICES).nodes if n.name.startswith("blk.1.")]
    assert [n.op for n in nodes[1:4]] == ["mul_mat_conv", "mul_mat", "mul_mat"]
    assert [n.inputs[0].shape[0] for n in nodes[1:4]] == [8192, 4096, 64]
    assert all(a is b for n in nodes[2:4] for a, b in zip(n.inputs[1:], nodes[1].inputs[1:2], strict=True))


def test_a_header_without_its_data_is_enough(header, tmp_path):
    cut = tmp_path / "cut.gguf"
    with header.open("rb") as f:
        cut.write_bytes(f.read(1 << 20))  # of 45 GB
    assert vkrun.counts(cut) == vkrun.counts(header)


@pytest.mark.parametrize("wrong", [{"opt": 4}, {"n_tokens": 0}, {"n_seqs": 257}, {"n_kv": 7, "n_tokens": 8}])
def test_sizes_out_of_range(header, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        vkrun.counts(header, **wrong)


def tensor(kind: Kind, *shape: int, dtype: DType = DType.F32) -> Tensor:
    return Storage("t", kind, dtype, shape).tensor()


def of_last(g: Graph) -> Traffic:
    return traffic(g.nodes[-1])


def test_repeated_elements_count_once():
    assert n_distinct(Layout((4, 3, 5), (0, 5, 1))) == 15
    assert n_distinct(Layout((4, 6), (1, 1))) == 9  # windows over 9 elements
    assert n_distinct(Layout((0, 3), (0, 1))) == 0


def test_traffic_of_products():
    g, w = Graph(), tensor(Kind.WEIGHT, 64, 32, dtype=DType.Q8_0)
    x = g.mul_mat(w, tensor(Kind.STATE, 3, 32))
    assert of_last(g) == Traffic(64 * 34 + 3 * 32 * 4, 3 * 64 * 4, 2 * 3 * 64 * 32)
    g.mul(x, x)
    assert of_last(g) == Traffic(3 * 64 * 4, 3 * 64 * 4)


@pytest.mark.parametrize(("n_rows", "n_experts_read"), [(1, 2), (9, 8)])
def test_traffic_of_picked_experts(n_rows, n_experts_read):
    g, w, ids = Graph(), tensor(Kind.WEIGHT, 8, 16, 32), tensor(Kind.STATE, n_rows, 2, dtype=DType.I32)
    g.mul_mat_id(w, tensor(Kind.STATE, n_rows, 1, 32), ids)
    read = 4 * (n_experts_read * 16 * 32 + n_rows * 32 + n_rows * 2)
    assert of_last(g) == Traffic(read, 4 * n_rows * 2 * 16, 2 * n_rows * 2 * 16 * 32)


def test_traffic_of_rows_and_places():
    g, cache, ids = Graph(), tensor(Kind.STATE, 100, 8), tensor(Kind.INPUT, 3, dtype=DType.I32)
    rows = g.get_rows(cache, ids)
    assert of_last(g) == Traffic(12 + 96, 96)
    g.set_rows(cache, ids, rows)
    assert of_last(g) == Traffic(96 + 12, 96)
    g.cpy(rows, cache.slice(0, 5, 8))
    assert of_last(g) == Traffic(96, 96)


def test_traffic_of_states_and_caches():
    """2 of 5 slots, 10 of 64 keys."""
    g, slots = Graph(), tensor(Kind.INPUT, 2, dtype=DType.I32)
    q, pos = tensor(Kind.STATE, 2, 1, 4, 8), tensor(Kind.INPUT, 2, 1, dtype=DType.I32)
    cache = [tensor(Kind.STATE, 5, 64, 16) for _ in "kv"]
    g.one("attention", q, *cache, slots, pos, q, scale=1.0, n_kv=10, extra=("gate",))
    assert of_last(g) == Traffic(4 * (64 + 2 * 2 * 10 * 16 + 2 + 2), 4 * 64, 4 * 64 * 10)
    x, w, state = tensor(Kind.STATE, 2, 3, 6), tensor(Kind.WEIGHT, 6, 4), tensor(Kind.STATE, 5, 18)
    tails = tensor(Kind.INPUT, 2, 3, dtype=DType.I32)
    g.emit("causal_conv", x, w, state, slots, tails)
    assert of_last(g) == Traffic(4 * (36 + 24 + 2 * 18 + 2 + 6), 4 * (36 + 2 * 18), 2 * 36 * 4)
    slots, tails = (tensor(Kind.INPUT, 2, 2, *rest, dtype=DType.I32) for rest in ((), (3,)))
    g.emit("causal_conv", x, w, state, slots, tails)  # each with a snapshot, which is only written
    assert of_last(g) == Traffic(4 * (36 + 24 + 2 * 18 + 4 + 12), 4 * (36 + 4 * 18), 2 * 36 * 4)


def test_an_embedding_lookup_is_no_copy():
    g, ids = Graph(), tensor(Kind.INPUT, 3, dtype=DType.I32)
    x = g.get_rows(tensor(Kind.WEIGHT, 10, 4), ids)
    g.output("x", g.contiguous(g.get_rows(x, ids).permute(1, 0)))
    made = counts_of(make_plan(g))
    assert (made["nodes"], made["copies"], made["barriers"]) == (3, 2, 2)
    assert made["copy_bytes"] == (48 + 12 + 48) + (48 + 48)


@pytest.mark.parametrize(
    ("features", "n_kv", "n_seqs", "n_parts"),
    [
        (USUAL_GPU, 256, 1, 0),  # too few to be worth a second dispatch
        (USUAL_GPU, 512, 1, 16),
        (USUAL_GPU, 4096, 1, 128),
        (USUAL_GPU, 4096, 32, 4),
        (A_CPU, 4096, 1, 16),
    ],
)
def test_attention_of_one_token_has_parts_that_keep_the_device_busy(
    features: Features, n_kv: int, n_seqs: int, n_parts: int
) -> None:
    plan = plan_step(vkrun.BUNDLED, n_kv=n_kv, n_seqs=n_seqs, features=features)
    assert {n.attrs["n_split"] for n in plan.nodes if n.op == "attention_split"} == ({n_parts} if n_parts else set())
