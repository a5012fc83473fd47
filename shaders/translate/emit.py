"""A module as one C-like text, which a prelude's macros turn into a language: see shaders/preludes."""

from .bodies import Writer
from .module import Buffer, Constant, Module, Struct, Variable
from .subset import AWAIT, LANE_FUNCTIONS, c_name
from .tokens import Token, refuse

RESIDENT = "RESIDENT"  # a constant of a kernel: so many workgroups should fit into a processor's registers
SPECIAL = "VK_SPEC_"  # a specialisation constant's value, as a macro that the host defines


def text_of(module: Module) -> str:
    writer = Writer(module)
    kernel, entry = _kernel(module, writer), _entry(module, writer)
    return "\n".join((*_uses(module), *_workgroup(module, writer), *_fixed(module, writer), *kernel, *entry, ""))


def _uses(module: Module) -> list[str]:
    """What a prelude may want to know: whether invocations wait for each other, and what comes behind the workgroup's
    size where a compiler is told how many have to fit."""
    words = {t.text for f in module.functions for t in f.body}
    waits = "barrier" in words or words & LANE_FUNCTIONS
    constants = {c.variable.name.text for c in module.fixed if isinstance(c, Constant)}
    return [f"#define VK_WAITS {int(bool(waits))}", f"#define VK_RESIDENT{f' , {RESIDENT}' * (RESIDENT in constants)}"]


def _workgroup(module: Module, writer: Writer) -> list[str]:
    if isinstance(module.workgroup, int):
        return [*_default(module.workgroup, "1u"), f"VK_CONSTANT uint VK_WORKGROUP = {SPECIAL}{module.workgroup};"]
    return [f"VK_CONSTANT uint VK_WORKGROUP = uint({writer.expression(module.workgroup)});"]


def _default(number: int, value: str) -> list[str]:
    name = f"{SPECIAL}{number}"
    return [f"#ifndef {name}", f"#define {name} uint({value})", "#endif"]


def _fixed(module: Module, writer: Writer) -> list[str]:
    found: list[str] = []
    for item in module.fixed:
        found += [_struct(item, writer)] if isinstance(item, Struct) else _constant(item, writer)
    if module.arguments:
        members = " ".join(_plain(v, writer) for v in module.arguments)
        found.append(f"struct vk_Arguments {{ {members} }};")
    return found + [_shared(v, writer) for v in module.shared]


def _constant(constant: Constant, writer: Writer) -> list[str]:
    v = constant.variable
    if not v.value:
        raise refuse(v.name, f"constant {v.name.text} without a value")
    if v.sizes:
        return [_table(v, writer)]
    value = writer.expression(v.value)
    head = f"VK_CONSTANT {_type(v, writer)} {c_name(v.name.text)} = "
    if constant.number is None:
        return [head + value + ";"]
    if v.type != "uint":
        raise refuse(v.name, f"specialisation constant of type {v.type}")
    return [*_default(constant.number, value), f"{head}{SPECIAL}{constant.number};"]


def _table(v: Variable, writer: Writer) -> str:
    """`const type name[] = type[](a, b, ...)`."""
    head = [t.text for t in v.value[:4]]
    if v.sizes != ((),) or head != [v.type, "[", "]", "("] or v.value[-1].text != ")":
        raise refuse(v.name, f"constant {v.name.text}, an array of several axes or of another form")
    return f"VK_TABLE({_type(v, writer)}, {c_name(v.name.text)}) = {{{writer.expression(v.value[4:-1])}}};"


def _struct(struct: Struct, writer: Writer) -> str:
    """With constructors, which GLSL has by itself."""
    if array := next((v.name for v in struct.members if v.sizes), None):
        raise refuse(array, f"an array in struct {struct.name}")
    members = [(_type(v, writer), c_name(v.name.text)) for v in struct.members]
    takes = ", ".join(f"{kind} {name}_" for kind, name in members)
    gives = ", ".join(f"{name}({name}_)" for _, name in members)
    fields = " ".join(f"{kind} {name};" for kind, name in members)
    return (
        f"struct {struct.name} {{ {fields} VK_FN {struct.name}() {{}} VK_FN {struct.name}({takes}) : {gives} {{}} }};"
    )


def _shared(v: Variable, writer: Writer) -> str:
    if len(v.sizes) > 1 or v.value:
        raise refuse(v.name, f"shared {v.name.text} of several axes or with a value")
    return f"VK_SHARED({_sized(v, writer)})"


def _sized(v: Variable, writer: Writer) -> str:
    size = writer.expression(v.sizes[0]) if v.sizes else "1u"
    return f"{_type(v, writer)}, {c_name(v.name.text)}, {size}"


def _type(v: Variable, writer: Writer) -> str:
    if v.type not in writer.types:
        raise refuse(v.name, f"type {v.type}")
    return v.type


def _plain(v: Variable, writer: Writer) -> str:
    if v.sizes:
        raise refuse(v.name, f"array {v.name.text} among the arguments")
    return f"{_type(v, writer)} {c_name(v.name.text)};"


def _sizes(v: Variable, writer: Writer) -> str:
    return "".join(f"[{writer.expression(size)}]" for size in v.sizes)


def _kernel(module: Module, writer: Writer) -> list[str]:
    """A struct whose methods are the functions. Private arrays stand in the entry and are held by reference, since GPU
    compilers keep those of a struct in memory. Shared ones stand where the language wants them: outside, or in the
    entry with a member that points there."""
    arrays = [v for v in module.private if v.sizes]
    takes = ", ".join(f"VK_PRIVATE {_type(v, writer)} VK_REFERENCE({v.name.text}_){_sizes(v, writer)}" for v in arrays)
    gives = ", ".join(f"{c_name(v.name.text)}({v.name.text}_)" for v in arrays)
    lines = ["struct vk_Kernel {", "VK_BUILT_IN"]
    lines += [f"VK_PRIVATE {v.type} VK_REFERENCE({c_name(v.name.text)}){_sizes(v, writer)};" for v in arrays]
    lines += [f"VK_FN vk_Kernel({takes}){' : ' + gives if gives else ''} {{}}"]
    lines += [f"VK_BUFFER({_elements(b, writer)}, {c_name(b.elements.name.text)})" for b in module.buffers]
    lines += [f"VK_SHARED_MEMBER({_type(v, writer)}, {c_name(v.name.text)})" for v in module.shared]
    lines += _argument_members(module, writer)
    lines += [_private(v, writer) for v in module.private if not v.sizes]
    return [*lines, *(writer.function(f) for f in module.functions), "};"]


def _argument_members(module: Module, writer: Writer) -> list[str]:
    if module.arguments_name:
        return [f"vk_Arguments {c_name(module.arguments_name)};"]
    return [_plain(v, writer) for v in module.arguments]


def _private(v: Variable, writer: Writer) -> str:
    value = f" = {writer.expression(v.value)}" if v.value else ""
    return f"{_type(v, writer)} {c_name(v.name.text)}{value};"


def _elements(buffer: Buffer, writer: Writer) -> str:
    return f"{'const ' if buffer.readonly else ''}{_type(buffer.elements, writer)}"


def _entry(module: Module, writer: Writer) -> list[str]:
    """Takes a pointer a binding, then the arguments as a struct. Other views of a buffer come from its first."""
    buffers = sorted(module.buffers, key=lambda b: b.binding)
    firsts = {b.binding: b for b in reversed(buffers)}
    if sorted(firsts) != list(range(len(firsts))):
        raise refuse(_near(buffers), f"bindings {sorted(firsts)}")
    bound = [_bound(b, writer) for b in buffers if firsts[b.binding] is b]
    views = [
        f"{_bound(b, writer)}, {c_name(firsts[b.binding].elements.name.text)}"
        for b in buffers
        if firsts[b.binding] is not b
    ]
    arrays = [v for v in module.private if v.sizes]
    names = ", ".join(c_name(v.name.text) for v in arrays)
    return [
        *("VK_ENTRY_BEGIN", *(f"VK_ENTRY_BUFFER({b})" for b in bound)),
        *(f"VK_ENTRY_ARGUMENTS({len(bound)})" if module.arguments else "VK_ENTRY_NO_ARGUMENTS", _body(module)),
        *(f"{v.type} {c_name(v.name.text)}{_sizes(v, writer)};" for v in arrays),
        *(f"VK_SHARED_LOCAL({_sized(v, writer)})" for v in module.shared),
        f"vk_Kernel vk_kernel{'(' + names + ')' if names else ''};",
        *("VK_SET_BUILT_IN", *(f"VK_BIND({b})" for b in bound), *(f"VK_BIND_VIEW({b})" for b in views)),
        *(f"VK_SHARED_BIND({c_name(v.name.text)})" for v in module.shared),
        *(*_passed(module), "vk_kernel.main_();", "VK_ENTRY_END"),
    ]


def _body(module: Module) -> str:
    waits_late = any(token.text == AWAIT for f in module.functions for token in f.body)
    return "VK_ENTRY_BODY_LATE" if waits_late else "VK_ENTRY_BODY"


def _bound(buffer: Buffer, writer: Writer) -> str:
    return f"{buffer.binding}, {_elements(buffer, writer)}, {c_name(buffer.elements.name.text)}"


def _near(buffers: list[Buffer]) -> Token:
    return buffers[-1].elements.name


def _passed(module: Module) -> list[str]:
    """Member by member, since the struct may stand in an address space that has no copies of structs."""
    block = f"{c_name(module.arguments_name)}." if module.arguments_name else ""
    names = (c_name(v.name.text) for v in module.arguments)
    return [f"vk_kernel.{block}{name} = vk_arguments.{name};" for name in names]
