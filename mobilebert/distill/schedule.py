"""Progressive transfer: the active layer, its learning rate and its optimizer moments.

Each layer trains in a phase of its own, from the bottom up (Sun et al., 2020, figure 2). As in
`bertgrow.train.schedules`, the update from step s to s + 1 uses the values at s + 1.
"""

import jax
import jax.numpy as jnp
import optax

from bertgrow.core import errors, tree


def phase_steps(steps, num_layers):
    """Steps per layer's phase; raises InputError if `num_layers` does not divide `steps`."""
    if steps <= 0 or steps % num_layers:
        raise errors.InputError(
            f"layer transfer: {steps} steps do not divide into {num_layers} equal phases; "
            f"give a multiple of {num_layers}, e.g. {-(-steps // num_layers) * num_layers}"
        )
    return steps // num_layers


def active_layer(step, *, start, steps_per_layer, num_layers):
    """The layer that trains in the update after `step`, traced: int32 scalar."""
    phase = (step - start) // steps_per_layer
    return jnp.clip(phase, 0, num_layers - 1).astype(jnp.int32)


def wave(done):
    """Rises to 0.995 in the first tenth of a phase, then decays to 0.9, as published.

    Args:
      done: float, the completed fraction of the phase, from 0 to 1.
    """
    return jnp.minimum(10 * done, 0.9 + 0.1 * jnp.sqrt(jnp.maximum(1 - done, 0)))


def progressive(*, start, steps_per_layer, num_layers, active=3.0, below=0.3):
    """Learning-rate factors per layer: 3 g for the active one, 0.3 g below it, 0 above it.

    At the published learning rate of 1.5e-3 the active layer peaks at 4.48e-3. The published
    code takes the step modulo the phase length, so that the last update of every phase has
    g = 0; here it has 0.9.

    Args:
      start: step of the run at which the first phase starts.
      steps_per_layer: length of a phase, see `phase_steps`.
      active, below: factors of g, which is `wave` over each phase; `below` 0 freezes layers
        whose phase is over, as in the paper.

    Returns:
      A function step -> float32 [layers], for `optimizers.scale_by_axis`.
    """

    def factors(step):
        current = active_layer(
            step, start=start, steps_per_layer=steps_per_layer, num_layers=num_layers
        )
        done = (step + 1 - start - current * steps_per_layer) / steps_per_layer
        layer = jnp.arange(num_layers)
        factor = jnp.where(layer == current, active, jnp.where(layer < current, below, 0.0))
        return factor * wave(done)

    return factors


def with_fresh_moments(optimizer, axes, *, start, steps_per_layer):
    """Keeps the optimizer moments of each layer at zero until its phase begins, as published.

    With early exit, layers above the active one get no gradients and their moments stay zero.
    This wrapper also clears moments that come from gradients or from an earlier stage. Use it
    without bias correction, because all layers share one update count.

    Args:
      optimizer: e.g. `optimizers.make(optimizers.Lamb(bias_correction=False), axes, ...)`.
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      start, steps_per_layer: as in `progressive`.
    """

    def update(gradients, state, params=None, *, step, **extra):
        def cleared(leaf, names):
            if "layers" not in names:
                return leaf
            dim = names.index("layers")
            others = [d for d in range(leaf.ndim) if d != dim]
            begins = start + jnp.arange(leaf.shape[dim]) * steps_per_layer
            return jnp.where(jnp.expand_dims(begins >= step, others), 0, leaf)

        def at_node(node):
            if not _is_adam(node):
                return node
            moments = {name: getattr(node, name) for name in ("mu", "nu")}
            fresh = {name: tree.map_named(cleared, m, axes) for name, m in moments.items()}
            return node._replace(**fresh)

        state = jax.tree.map(at_node, state, is_leaf=_is_adam)
        return optimizer.update(gradients, state, params, step=step, **extra)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _is_adam(node):
    return isinstance(node, optax.ScaleByAdamState)
