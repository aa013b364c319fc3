"""Attention kernels: their choice, their parity with XLA, and the unrolled layers."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.pallas.ops.tpu import splash_attention

from bertgrow.core.errors import CheckFailed, InputError
from bertgrow.models import bert, kernel_parity, kernels, on_device
from bertgrow.run import kernel_gate

CPU = SimpleNamespace(platform="cpu", device_kind="cpu")
T4 = SimpleNamespace(platform="gpu", device_kind="Tesla T4", compute_capability="7.5")
H100 = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100", compute_capability="9.0")
V5E = SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
FAST = bert.BertConfig(attention_dropout=0.0)
SMALL = bert.BertConfig(
    vocab_size=40, num_layers=2, width=16, num_heads=2, ffn_width=16, max_length=128,
    dropout=0.0, attention_dropout=0.0, dtype="bfloat16",
)  # fmt: skip


@pytest.fixture
def interpreted(monkeypatch):
    """Lets splash attention run on a CPU."""
    make = functools.partial(splash_attention.make_splash_mha, interpret=True)
    monkeypatch.setattr(splash_attention, "make_splash_mha", make)


@pytest.fixture
def padded(monkeypatch):
    """Breaks splash attention: it reads the padding."""
    attend = kernels._splash
    monkeypatch.setattr(kernels, "_splash", lambda q, k, v, mask: attend(q, k, v, mask | True))


@pytest.mark.parametrize(
    ("device", "length", "kernel"),
    [(CPU, 512, "xla"), (T4, 512, "xla"), (H100, 512, "cudnn"), (H100, 512 + 8, "xla"),
     (V5E, 512, "splash"), (V5E, 128, "xla")],
)  # fmt: skip
def test_auto_takes_the_kernel_of_the_device(device, length, kernel):
    assert kernels.choose(FAST, length, device)[0] == kernel


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(attention_dropout=0.1), "attention_dropout is 0.1, cudnn has none: set it to 0"),
        (dict(light_every=2), "light_every is 2: light attention shares logits"),
        (dict(pool=4), "pool is 4: padding of a pooled sequence is not at its end"),
        (dict(dtype="float32"), "dtype is float32, cudnn computes in 16 bits"),
        (dict(num_heads=2), "a head is 384 wide"),
        (dict(num_heads=64), "a head is 12 wide; cudnn wants a multiple of 8, at most 128"),
    ],
)
def test_a_kernel_says_what_it_cannot_compute(changes, reason):
    config = dataclasses.replace(FAST, **changes)
    kernel, said = kernels.choose(config, 512, H100)
    assert kernel == "xla" and reason in said
    with pytest.raises(InputError, match=f"stage 0: attention is 'cudnn', but {reason}"):
        on_device.settle(settings(dataclasses.replace(config, attention="cudnn")), H100)


@pytest.mark.parametrize("device", [CPU, T4, V5E])
def test_a_named_kernel_needs_its_device(device):
    with pytest.raises(InputError, match="attention is 'cudnn', but .*, or set config.model"):
        on_device.settle(settings(dataclasses.replace(FAST, attention="cudnn")), device)


def test_a_gpu_unrolls_the_layers_unless_they_are_computed_again():
    (stage,) = on_device.settle(settings(FAST), H100).stages
    assert stage.model.unroll == FAST.num_layers
    again = dataclasses.replace(FAST, remat="full")
    assert on_device.settle(settings(again), H100).stages[0].model.unroll == 1
    assert on_device.settle(settings(FAST), V5E).stages[0].model.unroll == 1


def test_a_model_that_is_loaded_has_no_kernel():
    named = settings(dataclasses.replace(FAST, attention="cudnn", unroll=12))
    (stage,) = on_device.portable(named).stages
    assert (stage.model.attention, stage.model.unroll) == ("xla", 1)


def test_splash_attention_equals_xla(interpreted):
    assert kernel_parity.largest_error("splash", 256, 1, 16, jnp.bfloat16) < 0.01


def test_a_model_with_a_kernel_equals_one_without(interpreted, monkeypatch):
    config = dataclasses.replace(SMALL, num_layers=1, num_heads=1)
    network, other = (
        bert.network(dataclasses.replace(config, attention=name)) for name in ("splash", "xla")
    )
    attend, calls = kernels.run, []
    monkeypatch.setattr(kernels, "run", lambda *args: calls.append(args) or attend(*args))
    params = network.init(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(5, 40, (2, 128), np.int32)
    tokens[1, 50:] = SMALL.pad_id
    inputs = dict(tokens=tokens, types=np.zeros_like(tokens))
    weights = jax.random.normal(jax.random.key(1), (2, 128, SMALL.width))
    weights = jnp.where((tokens != SMALL.pad_id)[..., None], weights, 0)

    def gradients(network):
        def loss(params):
            return (network.apply(params, inputs)["hidden"] * weights).sum()

        return jax.jit(jax.grad(loss))(params)

    expected = gradients(other)
    assert not calls
    measured = gradients(network)
    assert len(calls) == 1
    difference = jax.tree.map(jnp.subtract, measured, expected)
    # bfloat16 rounds to 0.4 %
    assert optax.tree.norm(difference) < 0.01 * optax.tree.norm(expected)


def test_the_gate_stops_at_a_broken_kernel(interpreted, padded, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [V5E])
    named = settings(dataclasses.replace(SMALL, attention="splash"), length=128)
    with pytest.raises(CheckFailed, match="attention by splash on 2 heads of 8 at length 128"):
        kernel_gate.settle(named)


def test_auto_falls_back_to_xla_where_a_kernel_is_broken(interpreted, padded, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [V5E])
    eager = kernels.KERNELS["splash"]._replace(fast_from=1)
    monkeypatch.setitem(kernels.KERNELS, "splash", eager)
    lines = []
    settled = kernel_gate.settle(settings(SMALL, length=128), lines.append)
    assert settled.stages[0].model.attention == "xla"
    assert lines[0] == "stage 0: attention by splash"
    assert lines[1].startswith("warning: attention by splash on 2 heads of 8 at length 128 is")


def test_unrolled_layers_compute_the_same():
    rolled = bert.network(dataclasses.replace(SMALL, dtype="float32"))
    unrolled = bert.network(dataclasses.replace(SMALL, dtype="float32", unroll=2))
    params = rolled.init(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(5, 40, (2, 16), np.int32)
    inputs = dict(tokens=tokens, types=np.zeros_like(tokens))
    hidden = [jax.jit(n.apply)(params, inputs)["hidden"] for n in (rolled, unrolled)]
    np.testing.assert_allclose(*hidden, atol=2e-6)


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    length: int
    model: bert.BertConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    stages: tuple


def settings(model, length=512):
    return Settings((Stage("0", length, model),))
