"""Times the train step: model FLOP/s of the device, or speed against Hugging Face.

    python benchmarks/train_step.py                      # fraction of a measured matmul peak
    python benchmarks/train_step.py --against hf         # BERT-tiny and BERT-mini, float32
    python benchmarks/train_step.py --model base --length 512 --json
    python benchmarks/train_step.py --accelerator --against hf --json

bertgrow runs the loop of a real run: batches are copied to the device, masks are drawn in the
step, 20 predictions per sequence at length 128 and 76 at 512, dropout 0.1, clipping, AdamW.
Hugging Face gets batches that are masked already. Both train with the masked-token loss alone,
on sequences without padding. With --accelerator the models are base and large at 128 and 512,
in bfloat16, as recipes have them (dropout of attention 0.1, by XLA) and as variant `fast` (0,
by the kernel of the device); Hugging Face is compiled by torch, with its own fused attention
and no dropout of attention, under bfloat16 autocast. If memory is short, set --batch or
--remat full.
"""

import argparse
import dataclasses
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import rounds

from bertgrow.core import flops
from bertgrow.data.sequences import masking
from bertgrow.models import bert, layers, on_device
from bertgrow.objectives import masked_lm
from bertgrow.planning import calibration, hardware
from bertgrow.recipes.schema import MaskingConfig
from bertgrow.train import loop, optimizers, sharding

MODELS = {  # layers, width, heads
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
TARGETS = {"tiny": 2.5, "mini": 1.8}  # minimum over stock Hugging Face, 2 cores, length 128
BATCH_TOKENS = {"tiny": 8192, "mini": 8192, "base": 32768, "large": 16384}
VOCAB_SIZE = 30522


def main():
    args = arguments()
    on_cpu = jax.default_backend() == "cpu"
    large = args.accelerator or not (on_cpu or args.against)
    models = args.model or (["base", "large"] if large else ["tiny", "mini"])
    lengths = args.length or ([128, 512] if large else [128])
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}")
    results = []
    for model, length in itertools.product(models, lengths):
        config = configuration(model, length, args)
        batch = args.batch or max(1, BATCH_TOKENS[model] // length)
        measure = against_hugging_face if args.against else share_of_peak
        measure = on_accelerator if args.accelerator else measure
        figures = measure(model, config, length, batch, args)
        results.append(dict(model=model, length=length, batch=batch) | figures)
    rounds.finish(dict(results=results, jax=jax.__version__), as_json=args.json)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--accelerator", action="store_true", help="base and large, both variants"
    )
    parser.add_argument("--against", choices=["hf"], help="the rival of the same run")
    parser.add_argument("--model", action="append", choices=MODELS, help="may be repeated")
    parser.add_argument("--length", type=int, action="append", help="tokens a row; 128")
    parser.add_argument("--batch", type=int, help="rows a step")
    parser.add_argument("--steps", type=int, help="steps of a turn; by default about 2 s")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every side; 7")
    parser.add_argument("--remat", default="none", choices=["none", "dots", "full"])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: as a run")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line")
    return parser.parse_args()


def configuration(model, length, args):
    """The `BertConfig` of a model, with dropout 0.1 and without next sentences."""
    num_layers, width, num_heads = MODELS[model]
    return bert.BertConfig(
        vocab_size=VOCAB_SIZE, num_layers=num_layers, width=width, num_heads=num_heads,
        ffn_width=4 * width, max_length=max(512, length), next_sentence=False,
        dtype=args.dtype or "auto", remat=args.remat,
    )  # fmt: skip


class TrainStep:
    """A train state, a batch and the compiled train step."""

    def __init__(self, config, length, batch):
        max_predictions = MaskingConfig().num_predictions(length)
        self.task = masked_lm.masked_lm(
            bert.network(config),
            vocab=calibration.vocabulary(VOCAB_SIZE),
            rate=0.15,
            max_predictions=max_predictions,
        )
        self.optimizer = optimizers.make(optimizers.AdamW(), self.task.axes, lambda step: 1e-4)
        self.mesh = sharding.make_mesh()
        self.batch = calibration.random_batch(batch, length, VOCAB_SIZE)
        shardings = sharding.state_shardings(self.task, self.optimizer, self.mesh)
        key = jax.random.key(0)
        self.state = loop.initial_state(self.task, self.optimizer, key, shardings)
        placed = sharding.put(self.batch, self.mesh)
        self.step = loop.compile_step(self.task, self.optimizer, self.state, placed, self.mesh)
        self.temporaries = self.step.memory_analysis().temp_size_in_bytes

    def advance(self, steps):
        """Trains for some steps and returns the last loss."""
        until = int(self.state.step) + steps
        batches = itertools.repeat(self.batch)
        for info in loop.steps(
            self.task, self.state, batches, self.optimizer,
            until=until, mesh=self.mesh, step=self.step,
        ):  # fmt: skip
            self.state = info.state
        return float(info.metrics["loss"])


def against_hugging_face(model, config, length, batch, args):
    """Times bertgrow, stock Hugging Face and Hugging Face with a gathered head."""
    import hugging_face
    import torch

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    masked = masked_rows(length, batch)
    trained = {
        "bertgrow": TrainStep(config, length, batch),
        "Hugging Face, stock": hugging_face.Trainer(config, masked, gathered=False),
        "Hugging Face, gathered head": hugging_face.Trainer(config, masked, gathered=True),
    }
    sides = {name: turn(side, batch, args.steps) for name, side in trained.items()}
    rates = rounds.alternate(sides, args.rounds)
    rounds.show(f"BERT-{model}, {batch} rows of {length}", rates, "rows/s")
    figures = dict(rows_per_second=rounds.medians(rates))
    for rival in list(sides)[1:]:
        is_stock = rival.endswith("stock") and length == 128
        value = rounds.ratio(rates, "bertgrow", rival)
        name = f"{model} {length}: bertgrow / {rival}"
        rounds.show_ratio(name, value, TARGETS.get(model) if is_stock else None)
        figures[f"bertgrow / {rival}"] = value
    return figures


def on_accelerator(model, config, length, batch, args):
    """Times the published recipe, variant `fast` and, with --against, Hugging Face compiled."""
    device = jax.devices()[0]
    fast = dataclasses.replace(config, attention_dropout=0.0)
    configs = dict(published=config, fast=fast)
    trained = {}
    for name, variant in configs.items():
        variant = on_device.settle_model(variant, length, device)
        begin = time.perf_counter()
        trained[name] = TrainStep(variant, length, batch)
        print(
            f"{name}: attention by {variant.attention}, built in "
            f"{time.perf_counter() - begin:.0f} s, temporaries "
            f"{trained[name].temporaries / 1e9:.2f} GB"
        )
    if args.against:
        import hugging_face

        rival = hugging_face.Trainer(fast, masked_rows(length, batch), gathered=True, fast=True)
        trained["Hugging Face, compiled"] = rival
    sides = {name: turn(side, batch, args.steps) for name, side in trained.items()}
    rates = rounds.alternate(sides, args.rounds)
    rounds.show(f"BERT-{model}, {batch} sequences of {length}", rates, "sequences/s")
    max_predictions = MaskingConfig().num_predictions(length)
    per_row = flops.train_step_flops(config, length, max_predictions, 1)
    peak = hardware.of_kind(device.device_kind).peak
    speeds = rounds.medians(rates)
    for name, speed in speeds.items():
        share = speed * per_row / peak
        print(
            f"{model} {length} {name}: {speed * length:,.0f} tokens/s, "
            f"{speed * per_row / 1e12:.0f} TFLOP/s, {share:.1%} of {peak / 1e12:.0f}"
        )
    return dict(rows_per_second=speeds, flops_per_row=per_row, peak=peak)


def turn(side, batch, steps):
    """A function that trains for about two seconds and returns the number of sequences."""
    side.advance(2)  # compiles and warms up
    if not steps:
        seconds = 1 / rounds.alternate({"one": lambda: side.advance(1) and 1}, 1)["one"][0]
        steps = max(1, round(2 / seconds))

    def run():
        side.advance(steps)
        return steps * batch

    return run


def share_of_peak(model, config, length, batch, args):
    """Model FLOP/s by formula, and the fraction of the FLOP/s of a matmul timed alternately."""
    dtype = layers.compute_dtype(config)
    train_step = TrainStep(config, length, batch)
    sides = {"train step": turn(train_step, batch, args.steps), "matmul": matmul(dtype)}
    rates = rounds.alternate(sides, args.rounds)
    max_predictions = MaskingConfig().num_predictions(length)
    per_row = flops.train_step_flops(config, length, max_predictions, 1)
    peak = max(rates["matmul"]) * jax.device_count()
    speed = rounds.medians(rates)["train step"]  # sequences per second
    print(
        f"BERT-{model}, {batch} rows of {length}, {dtype.name}, remat {config.remat}: "
        f"{speed:,.1f} rows/s, {speed * per_row / 1e12:.4g} model TFLOP/s"
    )
    print(f"{model} {length}: share of matmul peak ... {speed * per_row / peak:.1%}")
    return dict(
        rows_per_second=speed, flops_per_second=speed * per_row, matmul_peak=peak,
        share=speed * per_row / peak, dtype=dtype.name, device=jax.devices()[0].device_kind,
    )  # fmt: skip


def matmul(dtype):
    """A function that multiplies square matrices and returns the number of FLOPs."""
    size, times = (2048, 8) if jax.default_backend() == "cpu" else (8192, 64)
    square = jnp.full((size, size), 1 / size, dtype)

    @jax.jit
    def chain(x):
        return jax.lax.fori_loop(0, times, lambda _, x: x @ square, x)

    chain(square).block_until_ready()

    def run():
        chain(square).block_until_ready()
        return 2 * times * size**3

    return run


def masked_rows(length, batch):
    """The same sequences, masked, for Hugging Face, which does not mask inside its step."""
    inputs = calibration.random_batch(batch, length, VOCAB_SIZE)
    max_predictions = MaskingConfig().num_predictions(length)
    tokens, positions, targets, weights = masking.mask_tokens(
        inputs["tokens"], inputs["ids"], jax.random.key(0),
        vocab=calibration.vocabulary(VOCAB_SIZE), rate=0.15, max_predictions=max_predictions,
    )  # fmt: skip
    masked = dict(tokens=tokens, positions=positions, targets=targets, weights=weights)
    return {name: np.array(array) for name, array in masked.items()} | dict(
        types=inputs["types"]
    )


if __name__ == "__main__":
    main()
