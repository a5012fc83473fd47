"""Mutants that are no mutants: what is wrong with them is right by mathematics, and why."""

EQUIVALENTS: dict[str, dict[str, str]] = {
    "cpy": {"input 1 *": "the whole of what is written over is lost"},
    "abs": {"input 0 negated": "|-x| = |x|"},
    "sqr": {"input 0 negated": "(-x)^2 = x^2"},
    "add": {"inputs 0 and 1 swapped": "a + b = b + a"},
    "mul": {"inputs 0 and 1 swapped": "a b = b a"},
    "add_rms_norm": {"inputs 0 and 1 swapped": "x + y = y + x"},
    "layer_norm": {"input 0 * one": "layer_norm(x + c) = layer_norm(x)"},
    "sum_rows": {
        "input 0 rolled along axis -1": "a sum in any order",
        "input 0 reversed along axis -1": "a sum in any order",
    },
    "softmax": {"input ? * one": "softmax(z + c) = softmax(z)"},
    "draw": {"input 0 * one": "softmax(z + c) = softmax(z)"},
    "top_k_among": {
        "input 1 rolled along axis -1": "in whatever order columns are named",
        "input 1 reversed along axis -1": "in whatever order columns are named",
    },
    "advance": {
        "input 0 negated": "only whether a logit is finite counts",
        "input 0 * one": "only whether a logit is finite counts",
        "input 0 left out": "only whether a logit is finite counts, and 0 x of what is not is NaN",
    },
    "solve_tri": {"input 0 where inf and NaN are numbers": "they stand above the diagonal, which is not read"},
    "attention": {"n_kv plus one": "every position is below n_kv, so no query sees the key more"},
    "attention_split": {
        "n_kv plus one": "every position is below n_kv, so no query sees the key more",
        "grouped *": "how a kernel goes about it, not what comes out",
        "by_matrices *": "how a kernel goes about it, not what comes out",
        "at_once *": "how a kernel goes about it, not what comes out",
        "input [12] where inf and NaN are numbers": "they stand in rows beyond the positions, which are not read",
    },
    "rope_attention_split": {"n_kv plus one": "no token sees the key more"},
    "mul_mat_id": {"input 3 *": "the lists say once more what ids say"},
    "mul_mat_id_swiglu": {"input 4 *": "the lists say once more what ids say"},
    "attention_combine": {
        "input 0 rolled along axis -2": "a sum over the parts in any order",
        "input 0 reversed along axis -2": "a sum over the parts in any order",
        "input 0 where inf and NaN are numbers": "the sums of a part without keys are 0, whatever its top",
    },
    "route": {"input 1 * one": "the bias of choice: the same added to every score changes no choice"},
    "route_gate_up": {"input 0 * one": "softmax(z + c) = softmax(z)"},
    "experts_down": {"inputs 4 and 5 swapped": "alike in shape only where one row meets one row, and a b = b a"},
    "glu_mul_mat": {"inputs 0 and 2 swapped": "alike in shape only where one number meets one, and a b = b a"},
    "delta_scan": {"input 5 without the last of axis -1": "the largest numbers are for kernels, which scale by them"},
    "gated_delta_net": {"input 5 where inf and NaN are numbers": "exp(-3e38 softplus) is 0, as exp(-inf) is"},
}
