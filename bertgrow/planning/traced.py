"""Counts the working memory and the FLOPs of a function from its jaxpr, without compiling it.

The count assumes, as compilers do, that an element-wise operation is fused into its reader. So
these values take memory: results of all other operations, operands of matrix products and
loops, and values that several operations read.
"""

import collections
import math
from typing import Any, NamedTuple

import jax

STORED = (  # name prefixes of operations that are not element-wise
    "arg", "concatenate", "cond", "conv_general", "cum", "dot_general", "dynamic", "gather",
    "reduce", "scan", "scatter", "sort", "top_k", "while",
)  # fmt: skip
CALLS = {  # primitive -> the parameter that holds the called jaxpr
    "jit": "jaxpr", "pjit": "jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr",
    "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
}  # fmt: skip


class Operation(NamedTuple):
    """One equation of a jaxpr with all calls inlined."""

    equation: Any
    reads: tuple  # keys of values
    writes: tuple


def trace(function, *args):
    """Traces a function of arrays or shapes to its jaxpr."""
    return jax.make_jaxpr(function)(*args).jaxpr


def flops(jaxpr):
    """FLOPs of the matrix products whose results are read; loops count each iteration."""
    total = 0
    for operation in _operations(jaxpr)[0]:
        equation = operation.equation
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = math.prod(shape[dim] for dim in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        bodies = [flops(body) for body in _bodies(equation)]
        total += equation.params.get("length", 1) * max(bodies, default=0)
    return total


def peak_bytes(jaxpr):
    """Peak bytes of the computed values, in the order of the jaxpr.

    Results are counted; arguments and constants are excluded.
    """
    operations, outputs, sizes = _operations(jaxpr)
    sources = _sources(operations, outputs, sizes)
    last = {key: len(operations) for out in outputs for key in sources.get(out, ())}
    for number, operation in reversed(list(enumerate(operations))):
        for key in operation.reads:
            for source in sources.get(key, ()):
                last.setdefault(source, number)
    freed = {}
    for key, number in last.items():
        freed.setdefault(number, []).append(key)

    alive, peak, held = 0, 0, set()
    for number, operation in enumerate(operations):
        used = {s for key in operation.reads + operation.writes for s in sources.get(key, ())}
        new = [key for key in used - held if key in last]
        alive += sum(sizes[key] for key in new)
        held.update(new)
        inside = max(map(peak_bytes, _bodies(operation.equation)), default=0)
        peak = max(peak, alive + inside)
        alive -= sum(sizes[key] for key in freed.get(number, ()) if key in held)
    return peak


def _sources(operations, outputs, sizes):
    """{value: the stored values from which it is computed}; a stored value maps to itself.

    A fused value is stored if a matrix product, a loop, the caller or several operations read
    it. A value computed from arguments only is recomputed by each of several readers.
    """
    stored, sources = set(outputs), {}
    readers = collections.Counter(key for one in operations for key in set(one.reads))
    for operation in operations:
        name = operation.equation.primitive.name
        if name.startswith(STORED):
            stored.update(operation.writes)
        if name == "dot_general" or _bodies(operation.equation):
            stored.update(operation.reads)
    for operation in operations:
        read = [source for key in operation.reads for source in sources.get(key, ())]
        for key in operation.writes:
            is_stored = key in stored or (read and readers[key] > 1)
            sources[key] = (key,) if is_stored else tuple(dict.fromkeys(read))
    return sources


def _operations(jaxpr):
    """Returns the operations whose results are read, the output keys, and {key: bytes}."""
    sizes, operations = {}, []

    def key_of(variable, names):
        if hasattr(variable, "val"):  # a literal
            return None
        if variable not in names:
            names[variable] = len(sizes)
            sizes[names[variable]] = _bytes(variable.aval)
        return names[variable]

    def walk(jaxpr, names):
        for equation in jaxpr.eqns:
            reads = [key_of(variable, names) for variable in equation.invars]
            called = equation.params.get(CALLS.get(equation.primitive.name))
            if called is None:
                writes = tuple(key_of(variable, names) for variable in equation.outvars)
                known = tuple(key for key in reads if key is not None)
                operations.append(Operation(equation, known, writes))
                continue
            called = getattr(called, "jaxpr", called)
            inner = dict(zip(called.invars, reads, strict=True))
            walk(called, inner)
            results = [key_of(variable, inner) for variable in called.outvars]
            names |= zip(equation.outvars, results, strict=True)

    names = {}
    walk(jaxpr, names)
    outputs = [key for key in (key_of(v, names) for v in jaxpr.outvars) if key is not None]
    return _read(operations, outputs), outputs, sizes


def _read(operations, outputs):
    """Returns the operations whose results are read, in order."""
    needed, result = set(outputs), []
    for operation in reversed(operations):
        if needed.intersection(operation.writes):
            needed.update(operation.reads)
            result.append(operation)
    return result[::-1]


def _bodies(equation):
    """Returns the inner jaxprs of a loop or a branch."""
    jaxprs = []
    for name in ("jaxpr", "body_jaxpr", "branches"):
        if equation.primitive.name in CALLS or name not in equation.params:
            continue
        inner = equation.params[name]
        jaxprs += inner if isinstance(inner, tuple) else [inner]
    return [getattr(closed, "jaxpr", closed) for closed in jaxprs]


def _bytes(aval):
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return 0  # a few bytes
    return math.prod(aval.shape) * aval.dtype.itemsize
