"""tf_slim 1.1.0 on TensorFlow 2.16 and newer: what TensorFlow moved away from under it, put back.

tf_slim is the reference for names and numbers, and its last release is older than the TensorFlow it runs on. Three
names that it looks up are gone. Each is put back under its old name, only where it is missing, so nothing that is
there changes and a second call finds nothing to do. All slim code of resport gets tf_slim from here.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

from resport.architectures.frameworks import quiet_import_module


@functools.cache
def import_slim() -> Any:
    """Import tf_slim, mended for the TensorFlow that is installed.

    Returns:
        The module ``tf_slim``.

    Raises:
        MissingDependencyError: tensorflow, tf_keras or tf_slim is not installed.
    """
    quiet_import_module("tensorflow")
    quiet_import_module("tf_keras")
    _restore_layer_modules()
    _restore_tensor_class()
    _restore_cond()
    return quiet_import_module("tf_slim")


def _restore_layer_modules() -> None:
    # slim.batch_norm builds tf.layers' BatchNormalization, which TensorFlow looks for in `tf_keras.legacy_tf_layers`;
    # the tf-keras wheels ship that package under `tf_keras.src` only.
    for name in ("base", "normalization"):
        public = f"tf_keras.legacy_tf_layers.{name}"
        try:
            importlib.import_module(public)
        except ModuleNotFoundError:
            sys.modules[public] = quiet_import_module(f"tf_keras.src.legacy_tf_layers.{name}")


def _restore_tensor_class() -> None:
    # tf_slim.layers.utils asks isinstance(..., ops.Tensor) for any batch norm on its private fused path: one with
    # updates_collections=None (facenet), a rank-2 input or a tensor for is_training.
    ops = quiet_import_module("tensorflow.python.framework.ops")
    if not hasattr(ops, "Tensor"):
        ops.Tensor = quiet_import_module("tensorflow").Tensor


def _restore_cond() -> None:
    # tf_slim.layers.utils.smart_cond, reached when is_training is a tensor.
    control_flow_ops = quiet_import_module("tensorflow.python.ops.control_flow_ops")
    if not hasattr(control_flow_ops, "cond"):
        control_flow_ops.cond = quiet_import_module("tensorflow").cond
