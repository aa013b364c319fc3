"""Random Hugging Face `MobileBertForPreTraining`, its outputs and converted weights."""

import numpy as np

PREFIX = "mobilebert.encoder.layer.{}."
PARTS = {
    "bottleneck": "bottleneck.input.dense",
    "bottleneck_norm": "bottleneck.input.LayerNorm",
    "shared": "bottleneck.attention.dense",
    "shared_norm": "bottleneck.attention.LayerNorm",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "output.bottleneck.dense",
    "expand_norm": "output.bottleneck.LayerNorm",
}
STACKED = {"up": "intermediate.dense", "down": "output.dense", "mlp_norm": "output.LayerNorm"}
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}


def reference(config, tokens, types, seed=0):
    """Weights by Hugging Face's names, all random, and what its model makes of a batch.

    Every norm gets epsilon 1e-12: two of them forget to ask for it (their configuration
    says 1e-12 and embeddings and the last FFN run with 1e-5).
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.MobileBertForPreTraining(sized(config, transformers)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            offset = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            weight.copy_(offset + 0.2 * torch.randn_like(weight))
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-12
        out = model(
            input_ids=torch.tensor(tokens),
            token_type_ids=torch.tensor(types),
            attention_mask=torch.tensor(tokens != 0).long(),
            output_hidden_states=True,
        )
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    outputs = {
        "layers": np.stack([hidden.numpy() for hidden in out.hidden_states[1:]]),
        "mlm_logits": out.prediction_logits.numpy(),
        "nsp_logits": out.seq_relationship_logits.numpy(),
    }
    return weights, outputs


def sized(config, transformers):
    """Their configuration for ours."""
    return transformers.MobileBertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.ffn_width,
        hidden_act=ACTIVATIONS[config.activation],
        max_position_embeddings=config.max_length,
        embedding_size=config.table_width,
        intra_bottleneck_size=config.body_width,
        use_bottleneck_attention=config.attention_input == "bottleneck",
        key_query_shared_bottleneck=config.attention_input == "shared",
        num_feedforward_networks=config.num_ffns,
        normalization_type={"none": "no_norm", "layer": "layer_norm"}[config.norm],
        classifier_activation=config.pooler,
        attn_implementation="eager",
    )


def params(state, config):
    """{name: array} -> our tree; their kernels are (out, in), ours (in, out)."""
    tables = "mobilebert.embeddings.{}_embeddings.weight"
    trigram = _dense(state, "mobilebert.embeddings.embedding_transformation")
    trigram["kernel"] = trigram["kernel"].reshape(3, config.table_width, config.width)
    return {
        "embeddings": {
            "words": state[tables.format("word")],
            "trigram": trigram,
            "positions": state[tables.format("position")],
            "types": state[tables.format("token_type")],
            "norm": _norm(state, "mobilebert.embeddings.LayerNorm"),
        },
        "layers": _stack([_layer(state, config, i) for i in range(config.num_layers)]),
        "mlm": {
            **_dense(state, "cls.predictions.transform.dense"),
            "norm": _norm(state, "cls.predictions.transform.LayerNorm"),
            "extra": state["cls.predictions.dense.weight"].T,
            "output_bias": state["cls.predictions.bias"],
        },
        "nsp": _dense(state, "cls.seq_relationship"),
    } | ({"pooler": _dense(state, "mobilebert.pooler.dense")} if config.pooler else {})


def _layer(state, config, index):
    prefix, heads = PREFIX.format(index), config.num_heads
    outputs = {
        part: _either(state, prefix + name)
        for part, name in PARTS.items()
        if f"{prefix}{name}.weight" in state
    }
    for part in ("query", "key", "value"):
        outputs[part] = {
            leaf: weight.reshape(*weight.shape[:-1], heads, -1)
            for leaf, weight in outputs[part].items()
        }
    kernel = outputs["out"]["kernel"]
    outputs["out"]["kernel"] = kernel.reshape(heads, -1, kernel.shape[-1])
    places = [*(f"{prefix}ffn.{i}." for i in range(config.num_ffns - 1)), prefix]
    ffns = [
        {part: _either(state, place + name) for part, name in STACKED.items()}
        for place in places
    ]
    return outputs | _stack(ffns)


def _stack(trees):
    """Equal nested dicts of arrays -> one, with a leading axis."""
    if isinstance(trees[0], dict):
        return {name: _stack([each[name] for each in trees]) for name in trees[0]}
    return np.stack(trees)


def _either(state, name):
    return (_norm if name.endswith("LayerNorm") else _dense)(state, name)


def _dense(state, name):
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def _norm(state, name):
    return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}
