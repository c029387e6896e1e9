"""Which base models can be trained at all, told from `config.json` before anything is loaded or paid for.

A base model is loaded by transformers' `AutoModelForCausalLM`, without code of its own. What that loads is a
list of model types; it is written down here because the daemon imports no transformers, and a test holds it
against the installed release.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

RELEASE = "5.23"
"""The release of transformers that the list is of."""
_TYPES = """
afmoe apertus arcee aria_text axk1 axk2 bailing_hybrid bamba bart beam bert bert-generation big_bird
bigbird_pegasus biogpt bitnet blenderbot blenderbot-small bloom blt camembert codegen cohere cohere2
cohere2_moe cohere_compass_text cpmant ctrl cwm data2vec-text dbrx deepseek_v2 deepseek_v3 deepseek_v32
deepseek_v4 diffllama doge dots1 dots3_note dots3_note_text electra emu3 ernie ernie4_5 ernie4_5_moe
exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text
gemma3n gemma3n_text gemma4 gemma4_assistant gemma4_text gemma4_unified gemma4_unified_assistant
gemma4_unified_text git glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa got_ocr2 gpt-sw3 gpt2 gpt_bigcode
gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
granitemoehybrid granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4 hyperclovax
inkling2_text inkling_text internlm3 iquestcoder jais2 jamba jetmoe kimi_linear kolibri1 laguna lfm2
lfm2_moe lfm3 llama llama4 llama4_text longcat_flash mamba mamba2 marian mbart megatron-bert mellum
mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral mllama
modernbert-decoder moshi moss_transcribe_diarize mpt musicgen musicgen_melody mvp nanochat nemotron
nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt opt pegasus persimmon phi phi3 phi4_multimodal
phimoe plbart prophetnet qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text
qwen3_moe qwen3_next qwen4_exp qwen4_exp_text recurrent_gemma reformer rembert roberta
roberta-prelayernorm roc_bert roformer rwkv seed_oss smollm3 solar_open stablelm starcoder2 trocr
vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod youtu zamba zamba2 zaya
"""
TRAINABLE = frozenset(_TYPES.split())
"""The model types that `AutoModelForCausalLM` has a class for."""
NO_ANSWERS = (
    "ForMaskedLM",
    "ForMultipleChoice",
    "ForPreTraining",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "ForRewardModel",
    "ForTokenClassification",
)
"""How the classes end that have another head than one that answers. Those that end with `Model` have none."""
LIBRARIES = {
    "aqlm": "aqlm",
    "auto-round": "auto_round",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "compressed-tensors": "compressed_tensors",
    "eetq": "kernels",
    "fp_quant": "fp_quant",
    "gptq": "gptqmodel",
    "higgs": "flute",
    "hqq": "hqq",
    "quanto": "optimum",
    "quark": "quark",
    "spqr": "spqr_quant",
    "torchao": "torchao",
    "vptq": "vptq",
}
"""What a way to quantise needs beside transformers: the module to import."""
SENSES = ("vision_config", "audio_config", "vision_tower", "visual")


def problem(config: Mapping[str, Any]) -> str | None:
    """Why a model of this configuration cannot be trained here, one line; None: nothing speaks against it."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        return "it has no model_type: it is not the configuration of a model that transformers can load"
    if kind not in TRAINABLE:
        return f"model_type {kind} {_unknown(config)}"
    own = architecture(config)
    if own is not None and _answers_nothing(own):
        return f"its class {own} has no head to answer with: take a checkpoint of a causal language model"
    library = _library(config)
    if library is not None and find_spec(library) is None:
        method = config["quantization_config"]["quant_method"]
        return (
            f"its weights are quantised by {method} and the package {library} is missing: install it, or "
            "take the checkpoint that is not quantised"
        )
    return None


def architecture(config: Mapping[str, Any]) -> str | None:
    """The class that the checkpoint was saved from; None where it does not say."""
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list | tuple) and named else None


def _answers_nothing(own: str) -> bool:
    return own.endswith(NO_ANSWERS) or (own.endswith("Model") and not own.endswith("LMHeadModel"))


def _unknown(config: Mapping[str, Any]) -> str:
    if config.get("auto_map"):
        return "needs code from its own directory, and such code is never run: take a model of transformers"
    if any(config.get(sense) for sense in SENSES):
        return (
            f"is multimodal, and transformers {RELEASE} has no text class for it (AutoModelForCausalLM): "
            "take a text model"
        )
    return f"is none that AutoModelForCausalLM of transformers {RELEASE} loads: take a causal language model"


def _library(config: Mapping[str, Any]) -> str | None:
    quantised = config.get("quantization_config")
    return LIBRARIES.get(str(quantised.get("quant_method"))) if isinstance(quantised, Mapping) else None
