"""The words of GLSL that our shaders use, and what becomes of those that change."""

SCALARS = frozenset({"float", "uint", "int", "bool"})
VECTORS = frozenset(prefix + f"vec{n}" for prefix in ("", "i", "u", "b") for n in (2, 3, 4))
HALVES = frozenset({"float16_t", "f16vec2"})  # in registers alone
TYPES = SCALARS | VECTORS | HALVES
MATRIX = "coopmat"  # coopmat<element, gl_ScopeSubgroup, rows, columns, use> is one word, a type
MATRIX_ELEMENTS = frozenset({"float", "float16_t"})
MATRIX_USES = frozenset({"gl_MatrixUseA", "gl_MatrixUseB", "gl_MatrixUseAccumulator"})

STATEMENTS = frozenset({"if", "else", "for", "while", "do", "return", "break", "continue"})
BEFORE_TYPES = frozenset({"const", "precise"})
LITERALS = frozenset({"true", "false"})

# functions of the language that the preludes have
PLAIN_FUNCTIONS = frozenset(
    {
        *("abs", "min", "max", "clamp", "exp", "log", "sqrt", "floor", "fma", "dot", "all", "lessThan", "findLSB"),
        *("mix", "sign", "equal", "roundEven"),
        *("floatBitsToUint", "floatBitsToInt", "uintBitsToFloat", "intBitsToFloat", "umulExtended"),
        "add_dot",  # of four signed bytes each onto a sum; Vulkan's by an instruction of SPIR-V
        *("packHalf2x16", "unpackHalf2x16", "packFloat2x16", "unpackFloat2x16"),
    }
)
ATOMICS = frozenset({"atomicAdd", "atomicAnd", "atomicMax", "atomicOr"})
LANE_FUNCTIONS = frozenset(
    {
        "subgroupBarrier",
        *("subgroupAdd", "subgroupMax", "subgroupMin", "subgroupShuffle", "subgroupShuffleXor"),
        *("subgroupBallot", "subgroupElect", "coopMatMulAdd"),
    }
)
LENGTH = "length"  # of a cooperative matrix: elements that an invocation holds
MATRIX_ACCESS = {"coopMatLoad": "VK_MATRIX_LOAD", "coopMatStore": "VK_MATRIX_STORE"}
# In texts alone: products of four subgroups with operands in shared memory, and copies from buffers to there. What they
# become, and of how many arguments which ones are arrays.
ARRAYS_GIVEN = {"warpgroupMulAdd": ("VK_WARPGROUP_MUL_ADD", 7, (3,)), "copyAsync": ("VK_COPY_ASYNC", 4, (0, 2))}
ASYNC_FUNCTIONS = frozenset(
    {
        *("warpgroupPublish", "warpgroupFence", "warpgroupCommit", "warpgroupAwait"),
        *("copiesCommit", "copiesAwait"),
    }
)
AWAIT = "await_inputs"  # what other kernels write is not read before it, see common.glsl
FUNCTIONS = PLAIN_FUNCTIONS | ATOMICS | LANE_FUNCTIONS | ASYNC_FUNCTIONS | {"barrier", AWAIT}

BUILT_IN = frozenset(
    {
        *("gl_WorkGroupID", "gl_NumWorkGroups", "gl_LocalInvocationID", "gl_LocalInvocationIndex"),
        *("gl_SubgroupInvocationID", "gl_SubgroupID", "gl_NumSubgroups", "gl_SubgroupSize"),
        *("gl_CooperativeMatrixLayoutRowMajor", "gl_CooperativeMatrixLayoutColumnMajor"),
    }
)

COMPONENTS = "xyzw"
SWIZZLES = frozenset({"xy", "yz", "zw", "xyz", "yzw", "xzyw"})  # which the preludes have, to be read
ATTRIBUTES = {"unroll": "VK_UNROLL", "dont_unroll": "VK_DONT_UNROLL"}
ASSIGNING = frozenset({"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", "++", "--"})

# names that are a C language's own; a shader's gets an underscore
_TAKEN = """
half device thread threadgroup kernel vertex fragment constant sampler texture array vec auto register this new
delete class template typename operator private public protected namespace union enum short long char signed
unsigned double static extern inline virtual friend using try catch throw and or not xor final metal simd main asm
goto typedef sizeof mutable explicit export volatile nullptr switch case default
"""
_RESERVED = frozenset(_TAKEN.split())


def c_name(name: str) -> str:
    return name + "_" if name in _RESERVED else name


def glsl_name(name: str) -> str:
    """What c_name was given."""
    return name[:-1] if name.endswith("_") and name[:-1] in _RESERVED else name
