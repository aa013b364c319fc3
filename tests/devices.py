"""Hides simulated devices: a program for one compiles and runs at two thirds of the cost."""

import contextlib

import jax
import pytest


@contextlib.contextmanager
def only(count):
    """Programs that take all devices get the first `count` of them."""
    devices = jax.devices
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *platform: devices(*platform)[:count])
        yield
