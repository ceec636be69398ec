"""Chat templates, against transformers."""

import json

import pytest

from finetune.tasks.tokens.chat import Chat
from finetune.tasks.tokens.tokenizer import load_tokenizer
from tests.finetune.tasks import vocabularies

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Blocks on lines of their own, special tokens, a refusal, JSON, loop controls and `generation`.
BLOCKS = """{{ bos_token }}
{%- for message in messages %}
    {% if message.role not in ("user", "assistant", "system") %}
        {{ raise_exception("no role " ~ message.role) }}
    {% endif %}
    {%- if message.role == "system" %}{% continue %}{% endif %}
[{{ message.role }}] {{ message | tojson }} {{ [1, "<é>"] | tojson(indent=1) }}
    {% if message.role == "assistant" %}
{% generation %}{{ message.content | trim }}{{ eos_token }}{% endgeneration %}

    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
[assistant]{% endif %}
{{ strftime_now("%Y") }}{% if tools is not none %}tools{% endif %}
"""
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Say <b>'é'</b> & \"go\".\n"},
    {"role": "assistant", "content": "  é  "},
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("answering", [False, True])
@pytest.mark.parametrize("template", [CHATML, BLOCKS])
def test_texts_are_those_of_transformers(template, answering):
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    for messages in (MESSAGES, MESSAGES[1:], MESSAGES[1:2]):
        given = {"chat_template": template, "add_generation_prompt": answering, **TOKENS}
        expected, _ = utils.render_jinja_template([messages], **given)
        assert Chat(template, TOKENS).text(messages, answering) == expected[0]


def test_a_turn_is_what_the_answer_adds():
    before, answer = Chat(CHATML).turn(MESSAGES)
    assert before.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert answer == "  é  <|im_end|>\n"


def test_refusals_are_one_line():
    with pytest.raises(ValueError, match="refuses these messages: no role cat"):
        Chat(BLOCKS).text([{"role": "cat", "content": "x"}])
    with pytest.raises(ValueError, match="is no template of jinja2: "):
        Chat("{% for %}")
    with pytest.raises(ValueError, match="refuses these messages: "):
        Chat("{{ ().__class__.__bases__ }}").text([])
    with pytest.raises(ValueError, match="does not begin an answer as it writes one"):
        Chat("{{ messages | length }}{{ '?' if add_generation_prompt }}").turn(MESSAGES)


def test_a_folder_s_template(tmp_path):
    assert vocabularies.llama(tmp_path).chat_template is None
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "chat_template": [{"name": "default", "template": "a"}],
                "eos_token": {"content": "</s>"},
            }
        )
    )
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.chat_template == "a" and tokenizer.special_tokens == {"eos_token": "</s>"}
    (tmp_path / "chat_template.jinja").write_text("b")
    assert load_tokenizer(tmp_path).chat_template == "b"


def test_a_tokenizer_of_transformers_brings_its_own(tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabularies.byte_level(tmp_path)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"),
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
    )
    fast.chat_template = CHATML
    tokenizer = load_tokenizer(fast)
    assert tokenizer.chat_template == CHATML
    assert tokenizer.special_tokens["eos_token"] == "<|end_of_text|>"
    fast.save_pretrained(tmp_path / "saved")
    saved = load_tokenizer(tmp_path / "saved")
    assert saved.chat_template == CHATML
    expected = fast.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert Chat(saved.chat_template, saved.special_tokens).text(MESSAGES, True) == expected
