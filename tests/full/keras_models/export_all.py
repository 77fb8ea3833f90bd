"""Exports the models beside it: python export_all.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import models
import numpy as np

from wherever_convert.env.exporters import keras_models

out, said = Path(sys.argv[1]), {}
EXPORTED = [
    models.residual,
    models.two_inputs,
    models.Own,
    models.attention,
    models.words,
    models.recurrent,
    models.two_rows,
    models.large,
]
images = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
for make in EXPORTED:
    model = make()
    assert keras_models.recognises(model)
    folder = out / make.__name__
    folder.mkdir()
    example = images if make is models.Own else None  # the others know their inputs
    said[make.__name__] = keras_models.export(model, example, ["tflite"], folder)
for make in (models.convolutions, models.with_a_lambda, models.with_an_own_layer):
    make().save(out / f"{make.__name__}.keras")
model = keras_models.load(out / "convolutions.keras")
np.save(out / "convolutions.npy", model.predict(models.digits()[0], verbose=0))
(out / "said.json").write_text(json.dumps(said))
