"""Converts the weights of a `BertForPreTraining` of Hugging Face, or of Megatron."""

import numpy as np

LAYER = "bert.encoder.layer.{}."
PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
PRE_NORMS = {"attention_norm": "attention.ln", "mlp_norm": "ln"}


def params(state, num_heads):
    """{name: array} -> parameter tree; kernels (out, in) become (in, out)."""

    def table(name):
        return state[f"bert.embeddings.{name}_embeddings.weight"]

    is_pre = "bert.encoder.ln.weight" in state
    tables = {
        "words": table("word"),
        "positions": table("position"),
        "types": table("token_type"),
    }
    if is_pre:
        norm = {"final_norm": _norm(state, "bert.encoder.ln")}
    else:
        norm, tables["norm"] = {}, _norm(state, "bert.embeddings.LayerNorm")
    return norm | {
        "embeddings": tables,
        "layers": encoder(state, num_heads, PARTS | PRE_NORMS if is_pre else PARTS),
        "pooler": _dense(state, "bert.pooler.dense"),
        "mlm": {
            **_dense(state, "cls.predictions.transform.dense"),
            "norm": _norm(state, "cls.predictions.transform.LayerNorm"),
            "output_bias": state["cls.predictions.bias"],
        },
        "nsp": _dense(state, "cls.seq_relationship"),
    }


def encoder(state, num_heads, parts=PARTS):
    """The stacked weights of the layers."""
    num_layers = sum(name.endswith("intermediate.dense.bias") for name in state)
    stacked = {}
    for part, name in parts.items():
        convert = _norm if part.endswith("norm") else _dense
        layers = [convert(state, LAYER.format(i) + name) for i in range(num_layers)]
        stacked[part] = {leaf: np.stack([one[leaf] for one in layers]) for leaf in layers[0]}
    for part in ("query", "key", "value"):
        for leaf, weights in stacked[part].items():
            stacked[part][leaf] = weights.reshape(*weights.shape[:-1], num_heads, -1)
    kernel = stacked["out"]["kernel"]
    stacked["out"]["kernel"] = kernel.reshape(num_layers, num_heads, -1, kernel.shape[-1])
    return stacked


def _dense(state, name):
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def _norm(state, name):
    return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}
