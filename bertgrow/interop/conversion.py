"""Converts weights between our parameters and the named tensors of other programs.

One converter serves all families: a family lists its weights (`bertgrow.core.layouts`).
"""

import re
from typing import NamedTuple

import jax
import numpy as np

from bertgrow.core import tree
from bertgrow.core.errors import InputError
from bertgrow.core.layouts import HUGGING_FACE, JOINED

HEADS = ("pooler", "mlm", "nsp")  # modules that a file of an encoder may lack
# Tensors that no pre-trained model has, and those of the optimizer and of quantisation.
DROPPED = {
    "hf": re.compile(r".*\.position_ids|(classifier|qa_outputs|score|dropout)\..*"),
    "tf1": re.compile(
        r"(.*/)?(adam_m|adam_v|lamb_m|lamb_v|global_step|learning_rate)|teacher/.*"
        r"|.*FakeQuantWithMinMaxVars.*|cls/squad/.*|output_(weights|bias)"
    ),
}


class Account(NamedTuple):
    """What became of every tensor of a file, and of every weight of the model."""

    loaded: tuple  # names of tensors
    dropped: tuple  # names of tensors that are left out on purpose, and tied ones
    fresh: tuple  # modules of the model that the file lacks; they are random

    def text(self):
        """One line, e.g. `199 tensors loaded; dropped: cls.predictions.decoder.weight`."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"dropped: {', '.join(self.dropped)}"] if self.dropped else []
        parts += [f"missing, so random: {', '.join(self.fresh)}"] if self.fresh else []
        return "; ".join(parts)


def load(tensors, family, config, program, *, fresh=HEADS):
    """Makes parameters of the named tensors of a file.

    Args:
      tensors: {name: array}, of any floating dtype.
      family: `Family` of the model.
      config: its configuration.
      program: `layouts.HUGGING_FACE` or `layouts.TF1`.
      fresh: modules that get random weights where the file has none of them.

    Returns:
      Parameters, float32 NumPy arrays, and the `Account`.

    Raises:
      InputError: a tensor is unexpected, missing, of another shape or not finite.
    """
    network, table = family.network(config), family.layouts.weights(config)
    tensors, tied = _untied(tensors, family.layouts.aliases(config), program)
    missing = _missing(tensors, table, program, fresh)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params = network.init(jax.random.key(0)) if missing else shapes
    leaves = {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    axes = {
        _name(path): tuple(names)
        for path, names in jax.tree.leaves_with_path(network.axes, is_leaf=tree.is_spec)
    }
    loaded, leaves = [], {name: _array(leaf) for name, leaf in leaves.items()}
    for weight in table:
        if weight.path.split("/")[0] in missing:
            continue
        name = getattr(weight, program)
        leaf, names = leaves[weight.path][weight.index], axes[weight.path][len(weight.index) :]
        leaf[...] = _ours(name, tensors[name], leaf.shape, names, program in weight.transposed)
        loaded.append(name)
    dropped = _dropped(tensors.keys() - set(loaded), program)
    params = jax.tree.map_with_path(lambda path, _: leaves[_name(path)], shapes)
    return params, Account(tuple(loaded), tuple(sorted(dropped + tied)), tuple(missing))


def dump(params, family, config, program):
    """Makes the named tensors {name: float32 array} of parameters; the inverse of `load`."""
    axes = family.network(config).axes
    leaves = {_name(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(params)}
    axes = {
        _name(path): tuple(names)
        for path, names in jax.tree.leaves_with_path(axes, is_leaf=tree.is_spec)
    }
    tensors = {}
    for weight in family.layouts.weights(config):
        leaf, names = leaves[weight.path][weight.index], axes[weight.path][len(weight.index) :]
        tensor = leaf.reshape(joined(leaf.shape, names))
        tensor = tensor.T if program in weight.transposed else tensor
        tensors[getattr(weight, program)] = np.ascontiguousarray(tensor, np.float32)
    return tensors


def joined(shape, names):
    """Shape of a foreign weight: axes in `JOINED` are part of the axis before them."""
    sizes = []
    for size, name in zip(shape, names, strict=True):
        if name in JOINED:
            sizes[-1] *= size
        else:
            sizes.append(size)
    return tuple(sizes)


def _ours(name, tensor, shape, names, is_transposed):
    expected = joined(shape, names)
    expected = expected[::-1] if is_transposed else expected
    if tensor.shape != expected:
        raise InputError(
            f"the tensor {name} has shape {list(tensor.shape)}, and {list(expected)} is "
            "expected by config.json: use the config.json of these weights"
        )
    tensor = np.asarray(tensor).astype(np.float32)
    if not np.isfinite(tensor).all():
        bad = int((~np.isfinite(tensor)).sum())
        raise InputError(
            f"the tensor {name} has {bad} numbers that are not finite (NaN or inf); take "
            "the weights of an earlier checkpoint"
        )
    return (tensor.T if is_transposed else tensor).reshape(shape)


def _untied(tensors, aliases, program):
    """Removes the copies of tied weights; InputError if a copy is not equal."""
    if program != HUGGING_FACE:
        return dict(tensors), []
    tensors, tied = dict(tensors), []
    for alias, name in aliases.items():
        if alias not in tensors:
            continue
        copy = tensors.pop(alias)
        if name not in tensors:
            tensors[name] = copy
        elif np.array_equal(tensors[name], copy):
            tied.append(alias)
        else:
            raise InputError(
                f"the tensors {alias} and {name} differ, and the model has one weight for "
                "both: its output table is tied"
            )
    return tensors, tied


def _missing(tensors, table, program, fresh):
    """Modules without any tensor, which may be random; InputError if others lack one."""
    modules = {}
    for weight in table:
        is_there = getattr(weight, program) in tensors
        modules.setdefault(weight.path.split("/")[0], []).append((weight, is_there))
    missing = []
    for module, rows in modules.items():
        absent = [getattr(weight, program) for weight, is_there in rows if not is_there]
        if len(absent) == len(rows) and module in fresh:
            missing.append(module)
        elif absent:
            raise InputError(
                f"{len(absent)} of {len(rows)} tensors of {module} are missing, first "
                f"{absent[0]}: use complete weights, and their config.json"
            )
    return missing


def _dropped(names, program):
    unexpected = sorted(name for name in names if not DROPPED[program].fullmatch(name))
    if unexpected:
        raise InputError(
            f"{len(unexpected)} tensors are unexpected, first {unexpected[0]}: the model that "
            "config.json describes has no such weight"
        )
    return sorted(names)


def _array(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return np.empty(leaf.shape, np.float32)
    return np.array(leaf, np.float32)


def _name(path):
    return tree.path_name(path)
