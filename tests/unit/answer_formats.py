"""What of each format's template tells it."""

from vkrun.runtime.text.answers.section_calls import DeepSeekParser as Deep
from vkrun.runtime.text.answers.section_calls import KimiParser as Kimi


def dsml(text: str) -> str:
    """@@ as DeepSeek's mark."""
    return text.replace("@@", "\uff5cDSML\uff5c")


TEMPLATES = {
    "hermes": "<tool_call>",
    "qwen3-coder": "<tool_call><function=<parameter=",
    "glm": "<tool_call><arg_key>",
    "deepseek": f"{Deep.section}{Deep.call}```json",
    "deepseek-v3.1": f"{Deep.section}{Deep.call}",
    "deepseek-v3.2": "<\uff5cDSML\uff5cfunction_calls>",
    "lfm2": "<|tool_list_start|>",
    "kimi-k2": Kimi.section,
    "mistral": "[TOOL_CALLS]",
    "mistral-args": "[TOOL_CALLS][ARGS]",
    "llama3": "<|start_header_id|>{{ tools }}",
    "harmony": "<|start|><|channel|>analysis<|message|>",
    "nemotron": "<TOOLCALL>",
    "granite": "<|tool_call|>",
    "gemma4": "<|tool_call>call:<tool_call|>",
    "plain": "{{ messages }}",
}
