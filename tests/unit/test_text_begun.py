"""Chats whose last message is an answer that was begun, and is gone on with."""

import pytest
from vkrun.runtime.errors import TextError
from vkrun.runtime.text.chat import ChatTemplate
from vkrun.runtime.text.named import TURNS
from vkrun.runtime.text.template_process import TemplateProcess
from vkrun.tests.unit.test_text_chat import END, MESSAGES, TOKENIZER, process

__all__ = ["process"]

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{{ m.content.split('</think>')[-1] | trim }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
)


@pytest.mark.parametrize("source", [TURNS["chatml"].source(), THINKS])
def test_an_answer_goes_on_from_the_last_message(source: str, process: TemplateProcess) -> None:
    template = ChatTemplate(source, process=process)
    begun = "Sure: <|im_end|> {"
    made = template.prompt(TOKENIZER, [*MESSAGES, {"role": "assistant", "content": begun}], continue_final_message=True)
    assert made.text.endswith(begun) and made.text.count("<|im_start|>assistant") == 1
    assert made.ids.count(END) == 2 and TOKENIZER.decode(made.ids[-len(begun) :], special=True) == begun
    assert ("<think>" in made.text) == (source == THINKS)


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        ("{{ messages[0].content }}", "a", "it leaves out the last message"),
        ("{{ messages[-1].content }}", [{"type": "text", "text": "a"}], "list, expected a text"),
    ],
)
def test_what_cannot_be_gone_on_from(source: str, content: object, message: str, process: TemplateProcess) -> None:
    last = {"role": "assistant", "content": content}
    with pytest.raises(TextError, match=message):
        ChatTemplate(source, process=process).prompt(TOKENIZER, [*MESSAGES, last], continue_final_message=True)
