"""Keras models of several kinds; in the environment that has TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

HERE = Path(__file__).parent


def digits():
    """Images of digits, 0 to 1, their channel last; and which they are."""
    images, classes = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32).reshape(-1, 8, 8, 1), classes


def convolutions():
    """A network that knows digits; trained in seconds."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
            layers.SeparableConv2D(16, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    images, classes = digits()
    model.fit(images[:1200], classes[:1200], epochs=8, batch_size=32, verbose=0)
    return model


def residual():
    """A functional network with two outputs, whose order matters."""
    image = layers.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same")(image)
    x = layers.add([x, layers.LayerNormalization()(x)])
    x = keras.ops.mean(x * 2 + 1, axis=(1, 2))
    outputs = [layers.Dense(5, activation="softmax")(x), layers.Dense(2)(x)]
    return keras.Model(image, outputs)


def two_inputs():
    """Their names are not in the order of the alphabet."""
    first, second = layers.Input((8,), name="zeta"), layers.Input((4,), name="alpha")
    return keras.Model([first, second], layers.Dense(3)(layers.concatenate([first, second])))


class Own(keras.Model):
    """A subclass, which does not know its inputs before it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.look = layers.Conv2D(4, 3, activation="relu")
        self.pool = layers.GlobalAveragePooling2D()
        self.decide = layers.Dense(3)

    def call(self, images):
        """Look, pool, decide."""
        return self.decide(self.pool(self.look(images)))


def attention():
    """What transformers are made of."""
    tokens = layers.Input((10, 8), name="tokens")
    x = layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens))
    return keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def words():
    """Whole numbers go in."""
    return keras.Sequential(
        [
            layers.Input((12,), dtype="int32"),
            layers.Embedding(50, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )


def recurrent():
    """TensorFlow Lite has no loop for it."""
    return keras.Sequential([layers.Input((10, 4)), layers.LSTM(6), layers.Dense(2)])


def two_rows():
    """Takes two rows at a time."""
    rows = layers.Input(batch_shape=(2, 6), name="rows")
    return keras.Model(rows, layers.Dense(3)(rows))


def large():
    """An architecture as people take it."""
    return keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=5)


@keras.saving.register_keras_serializable("mine")
class Twice(layers.Layer):
    """A layer of the user's own."""

    def call(self, given):
        """Double it."""
        return given * 2


def with_a_lambda():
    """Has code in it."""
    return keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x * 2), layers.Dense(2)])


def with_an_own_layer():
    """Needs code that is not Keras's."""
    return keras.Sequential([layers.Input((4,)), Twice(), layers.Dense(2)])
