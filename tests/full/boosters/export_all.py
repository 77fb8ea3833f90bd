"""Exports all models beside it: python export_all.py FOLDER."""

import json
import sys
from pathlib import Path

import models
import numpy as np
import xgboost

from wherever_convert.env.exporters import lightgbm_models, xgboost_models
from wherever_convert.env.script import RefusedError

out, said = Path(sys.argv[1]), {}
for library, exporter, group in (
    ("xgboost", xgboost_models, models.XGBOOST),
    ("lightgbm", lightgbm_models, models.LIGHTGBM),
):
    for name, (table, train) in group.items():
        model = train(table)
        assert exporter.recognises(model), name
        rows = np.asarray(table[0], np.float32)[::3]
        folder = out / library / name
        folder.mkdir(parents=True)
        said[f"{library}/{name}"] = exporter.export(model, rows, ["tflite"], folder)
        ask = getattr(model, "predict_proba", getattr(model, "predict", None))
        if hasattr(model, "fit"):  # what it says itself, and not the Booster in it
            np.save(folder / "own.npy", ask(rows))
        if name == "early" and library == "xgboost":
            model.save_model(out / "early.ubj")
            model.get_booster().save_model(out / "booster.json")
            rows = np.asarray(models.CANCER[0], np.float32)
            best = model.predict_proba(rows)[:, 1]
            everything = model.get_booster().predict(xgboost.DMatrix(rows))
            np.savez(out / "early.npz", best=best, everything=everything)
        if name == "ten_classes" and library == "lightgbm":
            model.booster_.save_model(out / "digits.txt")
for name, (table, train) in models.REFUSED.items():
    exporter = xgboost_models if name.startswith("xgboost") else lightgbm_models
    try:
        exporter.export(train(table), None, [], out)
        said[name] = "it was not refused"
    except RefusedError as error:
        said[name] = str(error)
(out / "said.json").write_text(json.dumps(said))
