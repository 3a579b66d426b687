"""TensorFlow's reader and the safetensors library: ``python reader_to_safetensors.py CHECKPOINT TARGET``."""

from __future__ import annotations

import sys

import tensorflow as tf
from safetensors.numpy import save_file


def main(checkpoint: str, target: str) -> None:
    """Copy every tensor under its own name."""
    reader = tf.train.load_checkpoint(checkpoint)
    save_file({name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
