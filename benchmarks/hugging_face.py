"""Hugging Face baseline: its BERT with torch's AdamW, combined as in `transformers.Trainer`."""

import torch
import transformers


class Trainer:
    """A masked language model and its train step.

    With `gathered` the head computes logits at masked positions only, like the head of
    bertgrow; the stock model computes them at every position. The optimizer is the default of
    `transformers.Trainer`, the fused AdamW. With `fast` it is on the GPU, in bfloat16 by
    autocast, with torch's fused attention, and compiled.
    """

    def __init__(self, config, batch, *, gathered, fast=False):
        """Args: bertgrow's `BertConfig`; a masked batch as NumPy arrays; the kind of head."""
        torch.manual_seed(0)
        self.device = "cuda" if fast else "cpu"
        # The default attention of transformers is torch's fused one.
        self.model = transformers.BertForMaskedLM(translated(config)).train().to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, eps=1e-6, weight_decay=0.01, fused=True
        )
        self.inputs, self.labels = as_torch(batch, self.device)
        self.chosen = (self.labels != -100).nonzero(as_tuple=True)
        self.loss = self._gathered if gathered else self._stock
        if fast:
            del self.inputs[
                "attention_mask"
            ]  # of ones; with it the fastest kernel is not taken
            self.loss = torch.compile(self.loss)

    def advance(self, steps):
        """Trains on one batch for some steps and returns the last loss."""
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                loss = self.loss()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return loss.item()

    def _stock(self):
        return self.model(**self.inputs, labels=self.labels).loss

    def _gathered(self):
        hidden = self.model.bert(**self.inputs).last_hidden_state
        scores = self.model.cls(hidden[self.chosen])
        return torch.nn.functional.cross_entropy(scores.float(), self.labels[self.chosen])


def translated(config):
    """Converts a `BertConfig` to that of Hugging Face."""
    return transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_width,
        max_position_embeddings=config.max_length,
        hidden_act=config.activation,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.attention_dropout,
    )


def as_torch(batch, device):
    """Converts the output of `mask_tokens` to model inputs and labels, -100 where unmasked."""
    tensors = {name: torch.tensor(array, device=device) for name, array in batch.items()}
    tokens = tensors["tokens"].long()
    labels = torch.full_like(tokens, -100)
    row, slot = tensors["weights"].nonzero(as_tuple=True)
    labels[row, tensors["positions"][row, slot].long()] = tensors["targets"][row, slot].long()
    inputs = dict(input_ids=tokens, token_type_ids=tensors["types"].long())
    return inputs | dict(attention_mask=torch.ones_like(tokens)), labels
