"""Tiny models of the kinds of architecture that people fine-tune: random weights, two layers, no download.

Each is an ordinary model directory (configuration, safetensors, tokenizer, chat template, generation
settings) of some ten thousand float32 parameters, with what its family is known for: heads shared between
queries, absolute positions, capped logits, experts, linear attention, a vision tower beside the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.dialects import DIALECTS, Dialect, ends_of, tokenizer_of

POSITIONS = 2048
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.1,
}
"""What the configurations of all families call alike."""


@dataclass(frozen=True, slots=True)
class Family:
    """A model's classes in transformers and what its configuration holds beside SHAPE.

    `towers` makes it a multimodal checkpoint: `fields` is then its text configuration's and `towers` the
    outer one's.
    """

    dialect: str
    config: str
    model: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    towers: Mapping[str, Any] | None = None


EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 8,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
ROUTED: dict[str, Any] = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_mtp_layers": 0,
}
LOCAL: dict[str, Any] = {
    "head_dim": 8,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "full_attention"],
}
LAYERED: dict[str, Any] = {
    **LOCAL,
    "vocab_size_per_layer_input": None,
    "hidden_size_per_layer_input": 4,
    "global_head_dim": 16,
}
SIGHT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}

FAMILIES: dict[str, Family] = {
    "llama": Family(
        "llama3_1",
        "LlamaConfig",
        "LlamaForCausalLM",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": POSITIONS // 8,
            }
        },
    ),
    "qwen2": Family("qwen2_5", "Qwen2Config", "Qwen2ForCausalLM", {"tie_word_embeddings": True}),
    "qwen3": Family("qwen3", "Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 8}),
    "qwen3-moe": Family("qwen3_instruct_2507", "Qwen3MoeConfig", "Qwen3MoeForCausalLM", EXPERTS),
    "qwen3-next": Family(
        "qwen3_instruct_2507",
        "Qwen3NextConfig",
        "Qwen3NextForCausalLM",
        {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16},
    ),
    "qwen3.5-text": Family("qwen3_5_think", "Qwen3_5TextConfig", "Qwen3_5ForCausalLM", LINEAR),
    "qwen3.5": Family(
        "qwen3_5_nothink",
        "Qwen3_5Config",
        "Qwen3_5ForConditionalGeneration",
        LINEAR,
        {
            "vision_config": {
                "depth": 1,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_heads": 2,
                "patch_size": 4,
                "out_hidden_size": 32,
                "num_position_embeddings": 16,
            }
        },
    ),
    "gemma2": Family("gemma", "Gemma2Config", "Gemma2ForCausalLM", LOCAL),
    "gemma3-text": Family("gemma3", "Gemma3TextConfig", "Gemma3ForCausalLM", LOCAL),
    "gemma3": Family(
        "gemma3",
        "Gemma3Config",
        "Gemma3ForConditionalGeneration",
        LOCAL,
        {"vision_config": SIGHT, "mm_tokens_per_image": 4},
    ),
    "gemma4-text": Family("gemma4", "Gemma4TextConfig", "Gemma4ForCausalLM", LAYERED),
    "gemma4": Family(
        "gemma4",
        "Gemma4Config",
        "Gemma4ForConditionalGeneration",
        LAYERED,
        {
            "vision_config": {
                **{key: value for key, value in SIGHT.items() if key != "image_size"},
                "num_key_value_heads": 2,
                "head_dim": 8,
                "position_embedding_size": 16,
            }
        },
    ),
    "mistral": Family("mistral", "MistralConfig", "MistralForCausalLM", {"sliding_window": 64}),
    "mixtral": Family("mistral", "MixtralConfig", "MixtralForCausalLM", {"num_local_experts": 4}),
    "gpt2": Family("gpt2", "GPT2Config", "GPT2LMHeadModel", {"max_position_embeddings": 128}),
    "gpt-oss": Family(
        "gptoss",
        "GptOssConfig",
        "GptOssForCausalLM",
        {
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 32,
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": POSITIONS // 8,
            },
        },
    ),
    "deepseek-v3": Family(
        "deepseekv3",
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        {**LATENT, **ROUTED, "num_key_value_heads": 4},
    ),
    "glm4-moe": Family("glm4moe", "Glm4MoeConfig", "Glm4MoeForCausalLM", {**ROUTED, "head_dim": 8}),
    "phi3": Family("phi3", "Phi3Config", "Phi3ForCausalLM", {"original_max_position_embeddings": POSITIONS}),
    "cohere2": Family("cohere2", "Cohere2Config", "Cohere2ForCausalLM", LOCAL),
    "lfm2": Family(
        "lfm2",
        "Lfm2Config",
        "Lfm2ForCausalLM",
        {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
    "nemotron-h": Family(
        "nemotron3",
        "NemotronHConfig",
        "NemotronHForCausalLM",
        {
            **ROUTED,
            "layer_types": ["linear_attention", "moe", "full_attention", "mlp"],
            "num_hidden_layers": None,
            "head_dim": 8,
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 8,
            "n_groups": 2,
            "chunk_size": 16,
            "moe_shared_expert_intermediate_size": 16,
        },
    ),
    "falcon-h1": Family(
        "qwen2_5",
        "FalconH1Config",
        "FalconH1ForCausalLM",
        {
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
        },
    ),
}


def build(
    family: Family,
    directory: Path,
    *,
    seed: int = 0,
    dialect: Dialect | None = None,
    tokenizer: Any = None,
    **changes: Any,
) -> Path:
    """Writes a model of the family into the directory, and returns the directory.

    `dialect` replaces the family's own, `tokenizer` the one that is made of it; `changes` are fields of the
    (text) configuration.
    """
    import torch
    import transformers

    dialect = dialect or DIALECTS[family.dialect]
    tokenizer = tokenizer or tokenizer_of(dialect)
    config = _config(family, tokenizer, changes)
    torch.manual_seed(seed)
    model = getattr(transformers, family.model)(config).to(torch.float32)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends_of(dialect, tokenizer),
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _config(family: Family, tokenizer: Any, changes: Mapping[str, Any]) -> Any:
    import transformers

    size = len(tokenizer)
    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    fields = {**SHAPE, "vocab_size": size, **tokens, **family.fields, **changes}
    if "vocab_size_per_layer_input" in fields:
        fields["vocab_size_per_layer_input"] = size
    kind = getattr(transformers, family.config)
    if family.towers is None:
        return kind(**fields)
    return kind(text_config=fields, **family.towers)
