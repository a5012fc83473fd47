"""What Apple's documentation demands, by name, and what is raised where it is not met. Metal itself ends the process,
or goes on with whatever comes of it."""

RULES = {
    "pool": "what is handed out autoreleased is drained: command buffers and encoders are made inside a pool",
    "one encoder": "a command buffer has one encoder at a time, and is committed once the last one has ended",
    "ended": "nothing is encoded after endEncoding, which comes once and before the encoder goes",
    "commit": "a command buffer is committed once, and nothing is encoded after it",
    "released": "resources live until the work that uses them has ended, which does not retain them",
    "completion": "the host touches no memory of which work under way makes use",
    "pipeline": "a pipeline is set before a dispatch",
    "bound": "every buffer of a kernel, and its arguments, is bound before a dispatch",
    "table": "31 buffers at most, at indices from 0 to 30",
    "alignment": "an offset lies inside its buffer, at 16 bytes or the constant address space's 32; of grids at 4",
    "bytes": "setBytes takes 1 to 4096 bytes",
    "threads": "1 to 1024 threads in a threadgroup, no more than its pipeline says, as many as its kernel declares",
    "simdgroups": "a threadgroup of whole simdgroups where its pipeline was promised some",
    "threadgroup memory": "32 KB at most",
    "barrier": "a memory barrier orders buffers, inside an encoder, between dispatches",
    "resources": "an encoder declares each buffer that commands of an indirect command buffer use",
    "indirect": "commands are encoded once, whole, in reach of their buffer, with pipelines that were made for it",
    "bounds": "a kernel stays inside of what is bound",
    "length": "a buffer has 1 byte at least, and at most maxBufferLength",
    "errors": "an error by reference is asked for, and what failed is not used",
}


class MisuseError(AssertionError):
    """`rule` is one of RULES."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text} ({RULES[rule]})")
        self.rule = rule


def demand(is_met: bool, rule: str, text: str) -> None:
    if not is_met:
        raise MisuseError(rule, text)
