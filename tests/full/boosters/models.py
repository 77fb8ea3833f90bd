"""Models of XGBoost and LightGBM, trained on real tables; in the environment that has both."""

import warnings

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris

warnings.simplefilter("ignore")
CANCER, DIABETES, DIGITS, IRIS = (
    each(return_X_y=True) for each in (load_breast_cancer, load_diabetes, load_digits, load_iris)
)
FEW = {"n_estimators": 8, "n_jobs": 2, "verbosity": 0}
QUIET = {"n_estimators": 8, "n_jobs": 2, "verbose": -1}


def holed(table):
    x = table[0].astype(np.float32)
    x[np.random.default_rng(0).random(x.shape) < 0.15] = np.nan
    return x, table[1]


def early(table):
    return {
        "X": table[0][:400],
        "y": table[1][:400],
        "eval_set": [(table[0][400:], table[1][400:])],
    }


def codes():
    x = np.random.default_rng(0).integers(0, 5, (500, 3)).astype(np.float32)
    return x, ((x[:, 0] == 2) | (x[:, 1] == 4)).astype(int)


def xgb_train(objective, table, **more):
    return xgb.train({"objective": objective, **more}, xgb.DMatrix(*table), 5)


def pairs():
    x, y = DIABETES
    return x, np.stack([y, 2 * y], axis=1)


XGBOOST = {
    "two_classes": (CANCER, lambda t: xgb.XGBClassifier(**FEW).fit(*t)),
    "ten_classes": (DIGITS, lambda t: xgb.XGBClassifier(**FEW).fit(*t)),
    "three_classes": (IRIS, lambda t: xgb.XGBClassifier(**FEW).fit(*t)),
    "missing": (holed(CANCER), lambda t: xgb.XGBClassifier(**FEW).fit(*t)),
    "base_score": (CANCER, lambda t: xgb.XGBClassifier(base_score=0.2, **FEW).fit(*t)),
    "numbers": (DIABETES, lambda t: xgb.XGBRegressor(**FEW).fit(*t)),
    "counts": (DIABETES, lambda t: xgb.XGBRegressor(objective="count:poisson", **FEW).fit(*t)),
    "gamma": (DIABETES, lambda t: xgb.XGBRegressor(objective="reg:gamma", **FEW).fit(*t)),
    "shares": (
        DIABETES,
        lambda t: xgb.XGBRegressor(objective="reg:logistic", **FEW).fit(t[0], t[1] / 400),
    ),
    "quantiles": (
        DIABETES,
        lambda t: xgb.XGBRegressor(
            objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9], **FEW
        ).fit(*t),
    ),
    "two_outputs": (pairs(), lambda t: xgb.XGBRegressor(**FEW).fit(*t)),
    "leaves_of_two": (
        pairs(),
        lambda t: xgb.XGBRegressor(multi_strategy="multi_output_tree", **FEW).fit(*t),
    ),
    "forest": (DIGITS, lambda t: xgb.XGBRFClassifier(**FEW).fit(*t)),
    "several_trees_a_round": (
        DIGITS,
        lambda t: xgb.XGBClassifier(num_parallel_tree=3, **FEW).fit(*t),
    ),
    "dart": (DIGITS, lambda t: xgb.XGBClassifier(booster="dart", rate_drop=0.5, **FEW).fit(*t)),
    "early": (
        CANCER,
        lambda t: xgb.XGBClassifier(n_estimators=200, learning_rate=1, early_stopping_rounds=3).fit(
            **early(t), verbose=False
        ),
    ),
    "ranks": (
        DIABETES,
        lambda t: xgb.XGBRanker(**FEW).fit(
            t[0], (t[1] // 100).astype(int), qid=np.arange(len(t[1])) // 50
        ),
    ),
    "class_alone": (DIGITS, lambda t: xgb_train("multi:softmax", t, num_class=10)),
    "logits": (CANCER, lambda t: xgb_train("binary:logitraw", t)),
    "constant": (DIABETES, lambda t: xgb.XGBRegressor(**FEW).fit(t[0], np.ones(len(t[1])))),
}
LIGHTGBM = {
    "two_classes": (CANCER, lambda t: lgb.LGBMClassifier(**QUIET).fit(*t)),
    "ten_classes": (DIGITS, lambda t: lgb.LGBMClassifier(**QUIET).fit(*t)),
    "missing": (holed(CANCER), lambda t: lgb.LGBMClassifier(**QUIET).fit(*t)),
    "zero_is_missing": (
        DIGITS,
        lambda t: lgb.LGBMClassifier(zero_as_missing=True, **QUIET).fit(*t),
    ),
    "nothing_is_missing": (
        CANCER,
        lambda t: lgb.LGBMClassifier(use_missing=False, **QUIET).fit(*t),
    ),
    "one_against_all": (
        DIGITS,
        lambda t: lgb.LGBMClassifier(objective="multiclassova", **QUIET).fit(*t),
    ),
    "forest": (
        DIGITS,
        lambda t: lgb.LGBMClassifier(
            boosting_type="rf", bagging_freq=1, bagging_fraction=0.5, **QUIET
        ).fit(*t),
    ),
    "dart": (DIGITS, lambda t: lgb.LGBMClassifier(boosting_type="dart", **QUIET).fit(*t)),
    "steep": (CANCER, lambda t: lgb.LGBMClassifier(sigmoid=2.0, **QUIET).fit(*t)),
    "numbers": (DIABETES, lambda t: lgb.LGBMRegressor(**QUIET).fit(*t)),
    "counts": (DIABETES, lambda t: lgb.LGBMRegressor(objective="poisson", **QUIET).fit(*t)),
    "roots": (DIABETES, lambda t: lgb.LGBMRegressor(reg_sqrt=True, **QUIET).fit(*t)),
    "shares": (
        DIABETES,
        lambda t: lgb.LGBMRegressor(objective="cross_entropy", **QUIET).fit(t[0], t[1] / 400),
    ),
    "intensity": (
        DIABETES,
        lambda t: lgb.LGBMRegressor(objective="cross_entropy_lambda", **QUIET).fit(
            t[0], t[1] / 400
        ),
    ),
    "early": (
        DIGITS,
        lambda t: lgb.LGBMClassifier(n_estimators=200, learning_rate=0.5, verbose=-1).fit(
            **early(t), callbacks=[lgb.early_stopping(3, verbose=False)]
        ),
    ),
    "ranks": (
        DIABETES,
        lambda t: lgb.LGBMRanker(**QUIET).fit(
            t[0][:400], (t[1][:400] // 100).astype(int), group=[50] * 8
        ),
    ),
    "own_objective": (
        DIABETES,
        lambda t: lgb.train(
            {"objective": lambda p, d: (p - d.get_label(), np.ones_like(p)), "verbose": -1},
            lgb.Dataset(*t),
            5,
        ),
    ),
    "no_split": (DIGITS, lambda t: lgb.LGBMClassifier(min_child_samples=5000, **QUIET).fit(*t)),
}
REFUSED = {
    "xgboost_categories": (
        codes(),
        lambda t: xgb.train(
            {"objective": "binary:logistic"},
            xgb.DMatrix(*t, feature_types=["c"] * 3, enable_categorical=True),
            5,
        ),
    ),
    "xgboost_lines": (CANCER, lambda t: xgb.XGBClassifier(booster="gblinear", **FEW).fit(*t)),
    "xgboost_hinge": (CANCER, lambda t: xgb_train("binary:hinge", t)),
    "xgboost_zero_missing": (CANCER, lambda t: xgb.XGBClassifier(missing=0.0, **FEW).fit(*t)),
    "xgboost_not_fitted": (CANCER, lambda t: xgb.XGBClassifier()),
    "lightgbm_categories": (
        codes(),
        lambda t: lgb.LGBMClassifier(**QUIET).fit(*t, categorical_feature=[0, 1, 2]),
    ),
    "lightgbm_lines": (DIABETES, lambda t: lgb.LGBMRegressor(linear_tree=True, **QUIET).fit(*t)),
    "lightgbm_not_fitted": (CANCER, lambda t: lgb.LGBMClassifier()),
}


def named():
    """Half of the cancers, whose classes have names."""
    x, y = CANCER
    return lgb.LGBMClassifier(**QUIET).fit(x[:300], np.where(y[:300], "benign", "malignant"))
