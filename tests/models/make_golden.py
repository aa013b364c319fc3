"""Computes the outputs of small random Hugging Face BERTs; writes golden.npz when run.

    python tests/models/make_golden.py

Needed again only if `CONFIG` or `batch` below change.
"""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden.npz")
CONFIG = {
    "vocab_size": 40,
    "num_layers": 2,
    "width": 16,
    "num_heads": 2,
    "ffn_width": 24,
    "max_length": 12,
}
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_tanh": "gelu_pytorch_tanh"}


def batch(*, vocab_size, length):
    """Three sequences, two of them padded; logits of all tokens are compared."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, vocab_size, (3, length))
    types = np.tile(np.arange(length) >= length // 2, (3, 1)).astype(np.int64)
    tokens[1, length - 4 :] = 0
    tokens[2, 3:] = 0
    return tokens, types


def reference(config, activation, tokens, types, seed=0, norm_order="post"):
    """Weights with Hugging Face's names, and the outputs of its model for the batch.

    Every weight is random, biases and norms too, so that each one affects the output. The
    pre-norm BERT is that of Megatron-LM (Shoeybi et al., 2019).
    """
    import torch
    import transformers

    kind = "Bert" if norm_order == "post" else "MegatronBert"
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForPreTraining")(
        getattr(transformers, f"{kind}Config")(
            vocab_size=config["vocab_size"],
            hidden_size=config["width"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            intermediate_size=config["ffn_width"],
            max_position_embeddings=config["max_length"],
            hidden_act=ACTIVATIONS[activation],
            attn_implementation="eager",
            layer_norm_eps=1e-12,
        )
    ).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            offset = 1.0 if name.endswith(("LayerNorm.weight", "ln.weight")) else 0.0
            weight.copy_(offset + 0.2 * torch.randn_like(weight))
        out = model(
            input_ids=torch.tensor(tokens),
            token_type_ids=torch.tensor(types),
            attention_mask=torch.tensor(tokens != 0).long(),
        )
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    return weights, out.prediction_logits.numpy(), out.seq_relationship_logits.numpy()


def main():
    tokens, types = batch(vocab_size=CONFIG["vocab_size"], length=CONFIG["max_length"])
    arrays = {"tokens": tokens, "types": types}
    for activation in ACTIVATIONS:
        weights, mlm, nsp = reference(CONFIG, activation, tokens, types)
        arrays |= {f"{activation}/mlm": mlm, f"{activation}/nsp": nsp}
    arrays |= {f"weights/{name}": weight for name, weight in weights.items()}
    weights, mlm, nsp = reference(CONFIG, "gelu", tokens, types, norm_order="pre")
    arrays |= {"pre/mlm": mlm, "pre/nsp": nsp}
    arrays |= {f"pre/weights/{name}": weight for name, weight in weights.items()}
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    main()
