"""GGUF files of tiny models, as llama.cpp's converter writes them."""

import numpy as np

from finetune.weights.gguf_files import INNER, OUTER
from finetune.weights.saving import state_dict

THEIRS = {ours: name for name, ours in (OUTER | INNER).items()}


def interleaved(value, heads):
    """Rows of each head: x_0, x_1, ... -> x_0, x_{K/2}, x_1, ..."""
    return value.reshape(heads, 2, -1, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def name_of(name):
    *parents, leaf = name.removeprefix("model.layers.").split(".")
    if name.startswith("model.layers."):
        return f"blk.{parents[0]}.{THEIRS['.'.join(parents[1:])]}.{leaf}"
    return f"{THEIRS['.'.join(parents)]}.{leaf}"


def tensors_of(model):
    config, tensors = model.config, {}
    for name, value in state_dict(model).items():
        if config.model_type == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.groups
            value = interleaved(value, heads)
        tensors[name_of(name)] = value
    return tensors


def write(path, model, quant=None, tensors=None, **more):
    """The file of a model; `more` metadata has __ for the points in its names."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.groups)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters.rope_theta)
    writer.add_rope_dimension_count(config.size)
    writer.add_key_length(config.size)
    writer.add_value_length(config.size)
    add_metadata(writer, more)
    for name, value in {**tensors_of(model), **(tensors or {})}.items():
        if quant is not None and value.ndim == 2:
            kind = gguf.GGMLQuantizationType[quant]
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(value))
    finish(writer)
    return path


def write_tokenizer(path, **more):
    """A file without a model."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    add_metadata(writer, more)
    finish(writer)
    return path


def add_metadata(writer, more):
    add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    add |= {float: writer.add_float32, list: writer.add_array}
    for name, value in more.items():
        add[type(value)](name.replace("__", "."), value)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
