"""Chat templates by the names that llama.cpp's --chat-template takes, for files that have none or a wrong one.

Most formats put every message between two marks that depend on its role, and only those are written down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ..errors import UsageError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turns:
    """A format of turns: role -> what stands before and behind a message; `prompt` begins the answer.

    trims: messages lose the white space about them. merges: what the system says stands between these two, before the
    first user's words and inside of that turn. stops: texts that end an answer, for vocabularies without such tokens.
    """

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    prompt: str
    begin: str = ""
    trims: bool = False
    merges: tuple[str, str] | None = None
    stops: tuple[str, ...] = ()

    def source(self) -> str:
        """The format in Jinja. A role beside the three is treated as the user's."""
        trim = " | trim" if self.trims else ""
        marks = {"system": self.system, "assistant": self.assistant}
        chosen = ", ".join(f"{_quoted(role)}: ({_quoted(a)}, {_quoted(b)})" for role, (a, b) in marks.items())
        user = f"({_quoted(self.user[0])}, {_quoted(self.user[1])})"
        lines = [
            f"{{%- set marks = {{{chosen}}} %}}",
            "{%- set ns = namespace(before='') %}",
            f"{{{{- {_quoted(self.begin)} }}}}" if self.begin else "",
            "{%- for message in messages %}",
            f"{{%- set text = (message.content or ''){trim} %}}",
            self._merging(),
            f"{{%- set mark = marks.get(message.role, {user}) %}}",
            "{{- mark[0] + ns.before + text + mark[1] }}{%- set ns.before = '' %}",
            "{%- endif %}" if self.merges is not None else "",
            "{%- endfor %}",
            f"{{%- if add_generation_prompt %}}{{{{- {_quoted(self.prompt)} }}}}{{%- endif %}}",
        ]
        return "\n".join(line for line in lines if line)

    def _merging(self) -> str:
        if self.merges is None:
            return ""
        head, tail = map(_quoted, self.merges)
        return (
            "{%- if message.role == 'system' %}"
            f"{{%- set ns.before = ns.before + {head} + text + {tail} %}}{{%- else %}}"
        )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _roles(before: str, behind: str, prompt: str | None = None, stop: str | None = None, **more: Any) -> Turns:
    """All three roles alike, their name in the place of ROLE; the answer begins, and stops, as they do."""
    system, user, assistant = ((before.replace("ROLE", role), behind) for role in ROLES)
    begun = (prompt or before).replace("ROLE", "assistant")
    return Turns(system, user, assistant, begun, stops=(stop or behind.strip(),), **more)


def _mistral(space: str, before: str = "", system: bool = False) -> Turns:
    """Mistral's versions differ in the blanks about their marks, and in what they do with the system's words."""
    marks = (f"[SYSTEM_PROMPT]{space}", "[/SYSTEM_PROMPT]") if system else ("", "")
    user, assistant = (f"{before}[INST]{space}", f"{before}[/INST]"), (space, "</s>")
    return Turns(marks, user, assistant, "", merges=None if system else ("", "\n\n"), stops=("</s>",))


def _llama2(*merges: str) -> Turns:
    return Turns(("", ""), ("[INST] ", " [/INST]"), ("", "</s>"), "", merges=(merges[0], merges[1]), stops=("</s>",))


_DEEPSEEK_END = "<\uff5cend\u2581of\u2581sentence\uff5c>"
_VICUNA = (("USER: ", "\n"), ("ASSISTANT: ", "</s>\n"), "ASSISTANT:")
_COHERE_END = "<|END_OF_TURN_TOKEN|>"
_COHERE = "<|START_OF_TURN_TOKEN|><|{}_TOKEN|>"

TURNS: Mapping[str, Turns] = {
    "chatml": _roles("<|im_start|>ROLE\n", "<|im_end|>\n"),
    "command-r": Turns(
        (_COHERE.format("SYSTEM"), _COHERE_END),
        (_COHERE.format("USER"), _COHERE_END),
        (_COHERE.format("CHATBOT"), _COHERE_END),
        _COHERE.format("CHATBOT"),
        trims=True,
        stops=(_COHERE_END,),
    ),
    "chatglm4": _roles("<|ROLE|>\n", "", begin="[gMASK]<sop>", stop="<|user|>"),
    "deepseek": Turns(
        ("", ""),
        ("### Instruction:\n", "\n"),
        ("### Response:\n", "\n<|EOT|>\n"),
        "### Response:\n",
        stops=("<|EOT|>",),
    ),
    "deepseek2": Turns(
        ("", "\n\n"), ("User: ", "\n\n"), ("Assistant: ", _DEEPSEEK_END), "Assistant:", stops=(_DEEPSEEK_END,)
    ),
    "deepseek3": Turns(
        ("", "\n\n"),
        ("<\uff5cUser\uff5c>", ""),
        ("<\uff5cAssistant\uff5c>", _DEEPSEEK_END),
        "<\uff5cAssistant\uff5c>",
        stops=(_DEEPSEEK_END,),
    ),
    "exaone3": Turns(
        ("[|system|]", "[|endofturn|]\n"),
        ("[|user|]", "\n"),
        ("[|assistant|]", "[|endofturn|]\n"),
        "[|assistant|]",
        trims=True,
        stops=("[|endofturn|]",),
    ),
    "falcon3": _roles("<|ROLE|>\n", "\n", stop="<|user|>"),
    "gemma": Turns(
        ("", ""),
        ("<start_of_turn>user\n", "<end_of_turn>\n"),
        ("<start_of_turn>model\n", "<end_of_turn>\n"),
        "<start_of_turn>model\n",
        trims=True,
        merges=("", "\n\n"),
        stops=("<end_of_turn>",),
    ),
    "glmedge": _roles("<|ROLE|>\n", "", "<|ROLE|>", stop="<|user|>"),
    "gpt-oss": _roles("<|start|>ROLE<|message|>", "<|end|>", "<|start|>ROLE", "<|return|>"),
    "granite": _roles("<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n"),
    "kimi-k2": Turns(
        ("<|im_system|>system<|im_middle|>", "<|im_end|>"),
        ("<|im_user|>user<|im_middle|>", "<|im_end|>"),
        ("<|im_assistant|>assistant<|im_middle|>", "<|im_end|>"),
        "<|im_assistant|>assistant<|im_middle|>",
        stops=("<|im_end|>",),
    ),
    "llama2": _llama2("", "\n"),
    "llama2-sys": _llama2("<<SYS>>\n", "\n<</SYS>>\n\n"),
    "llama3": _roles("<|start_header_id|>ROLE<|end_header_id|>\n\n", "<|eot_id|>", trims=True),
    "llama4": _roles("<|header_start|>ROLE<|header_end|>\n\n", "<|eot|>", trims=True),
    "mistral-v1": _mistral(" ", before=" "),
    "mistral-v3": _mistral(" "),
    "mistral-v3-tekken": _mistral(""),
    "mistral-v7": _mistral(" ", system=True),
    "mistral-v7-tekken": _mistral("", system=True),
    "openchat": Turns(
        ("", "<|end_of_turn|>"),
        ("GPT4 Correct User: ", "<|end_of_turn|>"),
        ("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
        "GPT4 Correct Assistant:",
        stops=("<|end_of_turn|>",),
    ),
    "phi3": _roles("<|ROLE|>\n", "<|end|>\n"),
    "phi4": _roles("<|im_start|>ROLE<|im_sep|>", "<|im_end|>"),
    "vicuna": Turns(("", "\n\n"), *_VICUNA, stops=("</s>", "USER:")),
    "vicuna-orca": Turns(("SYSTEM: ", "\n"), *_VICUNA, stops=("</s>", "USER:")),
    "zephyr": _roles("<|ROLE|>\n", "<|endoftext|>\n"),
}


def template_text(given: str) -> tuple[str, tuple[str, ...]]:
    """The source of a template that is given by name or as its own text, and what ends its answers beside the
    vocabulary's end tokens. UsageError for a name that is none."""
    if found := TURNS.get(given):
        return found.source(), found.stops
    if "{" in given or "\n" in given:
        return given, ()
    close = get_close_matches(given, TURNS, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"chat template: no template is called {given!r:.60}{hint} There are {', '.join(TURNS)}")
