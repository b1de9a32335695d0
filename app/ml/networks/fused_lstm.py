"""Keras' LSTM, computed by TensorFlow's fused kernel: half the time of Keras' loop over steps on one thread.

The weights are Keras' own, so what is trained with it is saved as a plain `keras.layers.LSTM`.
"""

from functools import lru_cache
from typing import Any


@lru_cache
def layer_class() -> Any:
    """The class, made when TensorFlow is imported."""
    import keras
    import tensorflow as tf

    class FusedLSTM(keras.layers.LSTM):  # type: ignore[misc]
        """From zero states, without a mask: padding behind the last step is read by nobody."""

        def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
            """All outputs, (w, steps, units), from (w, steps, inputs)."""
            x = tf.transpose(sequences, (1, 0, 2))
            zeros, none = tf.zeros((tf.shape(x)[1], self.units)), tf.zeros((self.units,))
            kernels = tf.concat([self.cell.kernel.value, self.cell.recurrent_kernel.value], 0)
            said = tf.raw_ops.BlockLSTMV2(
                seq_len_max=tf.cast(tf.shape(x)[0], tf.int64), x=x, cs_prev=zeros, h_prev=zeros, w=kernels, wci=none,
                wcf=none, wco=none, b=self.cell.bias.value, cell_clip=0.0, use_peephole=False,
            )  # fmt: skip
            return tf.transpose(said.h, (1, 0, 2))

    return FusedLSTM
