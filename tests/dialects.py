"""How the families of models write conversations: their special tokens, end tokens and chat templates.

A dialect becomes a tiny tokenizer: byte-level BPE on a few lines of text with the family's markers as added
tokens, which are special or not as in the family's own tokenizer (`skip_special_tokens` keeps Qwen's
`<think>` and drops Gemma's `<start_of_turn>`). The chat templates are those that TRL carries in its folder
`chat_templates`, read where it is installed.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SAID = """
hello please help me with my order refund invoice password account where is the sorry of course
You are a helpful assistant. thank you no go away now later yes we can check that for you at once today
{"name": "lookup", "arguments": {"id": "7", "qty": 2}} {"type": "function", "function": {"parameters": {}}}
system user assistant model tool developer functions description properties required string object
"""
MERGES = 160


@dataclass(frozen=True, slots=True)
class Dialect:
    """`eos` is the tokenizer's end token, `ends` are those of the generation settings beside it. `pad` and
    `bos` are None where the family's tokenizer has none. `template` is the name of a file of TRL, or text.
    """

    eos: str
    special: tuple[str, ...] = ()
    """Markers that are dropped with `skip_special_tokens`, beside eos, bos and pad."""
    plain: tuple[str, ...] = ()
    """Added tokens that are not special."""
    bos: str | None = None
    pad: str | None = None
    ends: tuple[str, ...] = ()
    opens: bool = False
    """The tokenizer itself puts bos before a text (a template that writes bos too makes two of it)."""
    template: str | None = None


MISTRAL = (
    "{{ bos_token }}"
    "{% set told = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% set turns = messages[1:] if told else messages %}"
    "{% set last = turns | selectattr('role', 'equalto', 'user') | list | last %}"
    "{% set beat = namespace(count=0) %}"
    "{% for message in turns %}"
    "{% if message['role'] == 'user' or (message['role'] == 'assistant' and not message.tool_calls) %}"
    "{% if (message['role'] == 'user') != (beat.count % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, conversation roles must alternate') }}"
    "{% endif %}{% set beat.count = beat.count + 1 %}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{% if tools and message == last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "[INST]{{ told + '\n\n' if told and loop.first else '' }}{{ message['content'] }}[/INST]"
    "{% elif message['role'] == 'assistant' and message.tool_calls %}"
    "{{ message['content'] }}[TOOL_CALLS][{% for call in message.tool_calls %}"
    "{% if call.id is not string or call.id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}, '
    '"id": "{{ call.id }}"}{{ ", " if not loop.last else "" }}{% endfor %}]{{ eos_token }}'
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}"
    "{% elif message['role'] == 'tool' %}"
    "{% if message.tool_call_id is not string or message.tool_call_id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
    '[TOOL_RESULTS]{"content": {{ message["content"] | tojson }}, '
    '"call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]'
    "{% else %}{{ raise_exception('Only user, assistant and tool roles are supported') }}{% endif %}"
    "{% endfor %}"
)
"""Minimal, after Mistral's documented format: ids of nine characters, the tools before the last question."""


def _deep(name: str) -> str:
    """A marker of DeepSeek's: its bars and blanks are none of ASCII's."""
    return "<\N{FULLWIDTH VERTICAL LINE}" + name.replace(" ", "\u2581") + "\N{FULLWIDTH VERTICAL LINE}>"


CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
QWEN_TOOLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
QWEN = (*QWEN_TOOLS, "<think>", "</think>")
LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|end_of_text|>", "<|python_tag|>")
GEMMA = ("<start_of_turn>", "<end_of_turn>", "<unk>")
DEEPSEEK = tuple(
    _deep(name)
    for name in (
        *("User", "Assistant", "tool sep", "tool calls begin", "tool calls end", "tool call begin"),
        *("tool call end", "tool outputs begin", "tool outputs end", "tool output begin", "tool output end"),
    )
)
GLM = (
    *QWEN_TOOLS, "<think>", "</think>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "/nothink",
)  # fmt: skip
GEMMA4 = (
    "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>",
    "<tool_response|>", "<|channel>", "<channel|>", "<|think|>", '<|"|>',
)  # fmt: skip
HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>")
COHERE = (
    "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>",
    "<|START_RESPONSE|>", "<|END_RESPONSE|>",
)  # fmt: skip
TEKKEN = (
    "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "<unk>",
)  # fmt: skip


def _qwen(template: str, plain: tuple[str, ...] = QWEN) -> Dialect:
    return Dialect(
        eos="<|im_end|>",
        pad="<|endoftext|>",
        special=CHATML,
        plain=plain,
        ends=("<|endoftext|>",),
        template=template,
    )


def _llama(template: str) -> Dialect:
    return Dialect(
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        special=LLAMA,
        ends=("<|end_of_text|>", "<|eom_id|>"),
        opens=True,
        template=template,
    )


def _gemma(template: str) -> Dialect:
    return Dialect(
        eos="<eos>",
        bos="<bos>",
        pad="<pad>",
        special=GEMMA,
        ends=("<end_of_turn>",),
        opens=True,
        template=template,
    )


def _deepseek(template: str) -> Dialect:
    return Dialect(
        eos=_deep("end of sentence"),
        bos=_deep("begin of sentence"),
        pad=_deep("end of sentence"),
        plain=(*DEEPSEEK, "<think>", "</think>"),
        opens=True,
        template=template,
    )


DIALECTS: dict[str, Dialect] = {
    "qwen2_5": _qwen("qwen2_5", QWEN_TOOLS),
    "qwen3": _qwen("qwen3"),
    "qwen3_instruct_2507": _qwen("qwen3_instruct_2507"),
    "qwen3_5_think": _qwen("qwen3_5_think"),
    "qwen3_5_nothink": _qwen("qwen3_5_nothink"),
    "llama3": _llama("llama3"),
    "llama3_1": _llama("llama3_1"),
    "llama3_2": _llama("llama3_2"),
    "gemma": _gemma("gemma"),
    "gemma3": _gemma("gemma3"),
    "gemma4": Dialect(
        eos="<eos>",
        bos="<bos>",
        pad="<pad>",
        special=GEMMA4,
        ends=("<turn|>", "<|tool_response>"),
        opens=True,
        template="gemma4_v5",
    ),
    "deepseekv3": _deepseek("deepseekv3"),
    "deepseek_r1_distill": _deepseek("deepseek_r1_distill"),
    "gptoss": Dialect(
        eos="<|return|>",
        bos="<|startoftext|>",
        pad="<|endoftext|>",
        special=HARMONY,
        ends=("<|call|>", "<|endoftext|>"),
        template="gptoss",
    ),
    "glm4moe": Dialect(
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        special=("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        plain=GLM,
        ends=("<|user|>", "<|observation|>"),
        template="glm4moe",
    ),
    "cohere2": Dialect(
        eos="<|END_OF_TURN_TOKEN|>",
        bos="<BOS_TOKEN>",
        pad="<PAD>",
        special=COHERE,
        opens=True,
        template="cohere2",
    ),
    "phi3": Dialect(
        eos="<|endoftext|>",
        bos="<s>",
        pad="<|endoftext|>",
        special=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ends=("<|end|>", "<|assistant|>"),
        template="phi3",
    ),
    "lfm2": Dialect(
        eos="<|im_end|>",
        bos="<|startoftext|>",
        pad="<|pad|>",
        special=("<|im_start|>", "<|tool_call_start|>", "<|tool_call_end|>"),
        plain=("<think>", "</think>"),
        opens=True,
        template="lfm2_2_5",
    ),
    "nemotron3": Dialect(
        eos="<|im_end|>",
        bos="<s>",
        pad="<|im_end|>",
        special=("<|im_start|>", "</s>", "<unk>"),
        plain=QWEN,
        ends=("</s>",),
        template="nemotron_3_nano",
    ),
    "mistral": Dialect(eos="</s>", bos="<s>", special=TEKKEN, opens=True, template=MISTRAL),
    "gpt2": Dialect(eos="<|endoftext|>", bos="<|endoftext|>"),
}


def template_of(dialect: Dialect) -> str | None:
    """The chat template's text. Raises OSError where TRL does not carry the file."""
    if dialect.template is None or "{" in dialect.template:
        return dialect.template
    found = find_spec("trl")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(next(iter(found.submodule_search_locations))) / "chat_templates"
    return (folder / f"{dialect.template}.jinja").read_text(encoding="utf-8")


def _pieces(said: str, merges: int) -> Any:
    """A byte-level BPE of the text, without markers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(said.splitlines(), trainer)
    return bpe


def tokenizer_of(dialect: Dialect, said: str = SAID, merges: int = MERGES) -> Any:
    """A tokenizer that speaks the dialect. `merges` are its tokens beyond the 256 bytes and the markers, from
    what is `said`.
    """
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    inner = _pieces(said, merges)
    named = [token for token in (dialect.bos, dialect.eos, dialect.pad) if token is not None]
    special = list(dict.fromkeys([*named, *dialect.special]))
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    inner.add_tokens([AddedToken(token, special=False, normalized=False) for token in dialect.plain])
    if dialect.opens and dialect.bos is not None:
        opening = (dialect.bos, inner.token_to_id(dialect.bos))
        inner.post_processor = processors.TemplateProcessing(
            single=f"{dialect.bos} $A", pair=f"{dialect.bos} $A $B", special_tokens=[opening]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=dialect.bos,
        eos_token=dialect.eos,
        pad_token=dialect.pad,
        chat_template=template_of(dialect),
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def ends_of(dialect: Dialect, tokenizer: Any) -> int | list[int]:
    """The end tokens as the family's generation settings have them: a number, or a list of several."""
    ends: list[int] = [tokenizer.convert_tokens_to_ids(token) for token in (dialect.eos, *dialect.ends)]
    return ends if len(ends) > 1 else ends[0]
