"""Pairs of models for every registered growth operator."""

import small
import tiny

from bertgrow.growth import registry

# Fields of the smaller and of the larger model, for each registered operator. Length is not
# a field of the model: it is what the operator `lengthen` compares.
PRE = dict(norm_order="pre")
WIDER = dict(width=48, num_heads=6)  # one and a half times
CASES = {
    ("width", "equal"): [({}, dict(ffn_width=128)), ({}, dict(width=64, num_heads=8))],
    ("width", "uneven"): [({}, dict(ffn_width=96)), ({}, dict(width=64, num_heads=8))],
    ("width", "fpi"): [({}, dict(width=64, num_heads=8, ffn_width=128))],
    ("width", "sparkling"): [({}, dict(width=64, num_heads=8, ffn_width=128))],
    ("width", "net2net"): [({}, dict(width=64, num_heads=8, ffn_width=96)), ({}, WIDER)],
    ("width", "aki"): [({}, dict(width=64, num_heads=8)), ({}, dict(ffn_width=96))],
    ("width", "hyperclone"): [({}, dict(width=96, num_heads=12)), ({}, dict(ffn_width=128))],
    ("width", "lemon"): [
        ({}, dict(width=64, num_heads=8, ffn_width=96)),
        ({}, WIDER),
        (PRE, PRE | WIDER),
    ],
    ("width", "merge"): [(dict(ffn_rank=6), {}), (PRE | dict(ffn_rank=6), PRE)],
    ("width", "unshare"): [
        (dict(light_every=2), {}),
        (dict(light_every=2, pool=2), dict(pool=2)),
    ],
    ("width", "msg"): [({}, dict(ffn_width=96))],
    ("depth", "msg"): [
        (dict(norm_order="pre"), dict(norm_order="pre", num_layers=3)),
    ],
    ("depth", "stack"): [({}, dict(num_layers=4)), (dict(num_layers=1), dict(num_layers=3))],
    ("depth", "interleave"): [({}, dict(num_layers=4))],
    ("depth", "mslt"): [({}, dict(num_layers=3)), ({}, dict(num_layers=4))],
    ("depth", "random"): [({}, dict(num_layers=4))],
    ("depth", "gradual"): [({}, dict(num_layers=3))],
    ("depth", "midas"): [({}, dict(num_layers=3))],
    ("depth", "identity"): [(PRE, PRE | dict(num_layers=4)), ({}, dict(num_layers=4))],
    ("length", "unpool"): [
        (dict(pool=2), {}),
        (dict(pool=2, pool_mode="max"), {}),
        (dict(pool=2, pool_mode="concat"), {}),
    ],
    ("length", "extend"): [(dict(max_length=16), dict(max_length=40))],
    ("length", "lengthen"): [(dict(length=16), dict(length=32))],
}


def split(fields):
    """The length, and the fields of the model."""
    return fields.get("length", 16), {k: v for k, v in fields.items() if k != "length"}


def table(fields):
    length, fields = split(fields)
    return {**small.sizes(**fields), "length": length}


def bind(dimension, name, fewer, more):
    """The operator bound to two models, and the models."""
    old, new = (small.network(**split(fields)[1]) for fields in (fewer, more))
    make = registry.OPERATORS[dimension][name]
    growth = make(table(fewer), table(more), lambda: tiny.params(new, 7))
    return growth, old, new
