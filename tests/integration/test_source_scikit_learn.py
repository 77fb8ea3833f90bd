"""Estimators of scikit-learn answer as ONNX files what they answer themselves, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import ensemble, linear_model, neighbors, neural_network, preprocessing, svm, tree
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from wherever_contracts.errors import ConversionError
from wherever_convert.running import open_model, run_model
from wherever_convert.sources import Request, find_source
from wherever_convert.sources.witnesses import compared

RANDOM = np.random.default_rng(0)
X = RANDOM.random((400, 6)) * [1, 1, 1, 10, 100, 1000]
NUMBERS = np.sin(X[:, 0] * 5) + X[:, 3] / 10
TWO = (np.median(NUMBERS) < NUMBERS).astype(int)
THREE = np.array(["low", "middle", "high"])[np.digitize(NUMBERS, [0.6, 1.2])]
HOLES = np.where(RANDOM.random(X.shape) < 0.1, np.nan, X)


def scaled(estimator):
    return make_pipeline(preprocessing.StandardScaler(), estimator)


def converted(estimator, rows, tmp_path):
    request = Request(rows.astype(np.float32), "tensors", frozenset({"tflite"}), tmp_path)
    return find_source(estimator).load(estimator, request)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "rows", "truth"),
    [
        (ensemble.HistGradientBoostingClassifier(max_iter=8), X, TWO),
        (ensemble.HistGradientBoostingClassifier(max_iter=8), HOLES, THREE),
        (ensemble.HistGradientBoostingRegressor(max_iter=8), HOLES, NUMBERS),
        (ensemble.RandomForestClassifier(8), X, THREE),
        (scaled(ensemble.RandomForestClassifier(8)), X, THREE),
        (scaled(ensemble.RandomForestRegressor(8)), X, NUMBERS),
        (ensemble.GradientBoostingClassifier(n_estimators=8), X, TWO),
        (scaled(ensemble.GradientBoostingClassifier(n_estimators=8)), X, THREE),
        (scaled(tree.DecisionTreeRegressor()), X, NUMBERS),
        (scaled(ensemble.AdaBoostClassifier(n_estimators=5)), X, TWO),
        (scaled(svm.SVC()), X, TWO),
        (scaled(svm.SVC()), X, THREE),
        (scaled(svm.LinearSVC()), X, TWO),
        (scaled(svm.LinearSVC()), X, THREE),
        (scaled(svm.SVR()), X, NUMBERS),
        (scaled(linear_model.LogisticRegression()), X, THREE),
        (scaled(linear_model.SGDClassifier()), X, TWO),
        (linear_model.RidgeClassifier(), X, TWO),
        (scaled(neural_network.MLPClassifier(max_iter=5)), X, THREE),
        (scaled(neural_network.MLPRegressor(max_iter=5)), X, NUMBERS),
        (scaled(neighbors.KNeighborsClassifier()), X, THREE),
        (linear_model.Ridge(), X, NUMBERS),
        (scaled(PCA(3)), X, None),
        (preprocessing.MinMaxScaler(), X, None),
        (KMeans(3, n_init=1), X, None),
        (ensemble.IsolationForest(n_estimators=5), X, None),
    ],
    ids=lambda each: type(each).__name__ if hasattr(each, "fit") else "",
)
def test_an_onnx_file_answers_as_its_estimator_does(estimator, rows, truth, tmp_path):
    model = converted(estimator.fit(rows, truth), rows, tmp_path)
    found = run_model(model.files["onnx"], model.witness.inputs)
    parity = compared(model.witness, found)
    assert parity.error < 1e-4
    assert parity.agreement == 1
    assert parity.rows == len(rows)
    assert "scikit-learn's estimators are to be had in ONNX alone" in model.also["tflite"]
    if truth is not None and truth is not NUMBERS:
        assert model.labels == tuple(map(str, sorted(set(truth))))
        labels = np.array(model.labels)[found[0].argmax(axis=1)]
        # three classes of an SVC are voted for by pairs, which its scores follow nearly always
        same = labels == estimator.predict(rows.astype(np.float32)).astype(str)
        assert same.mean() > 0.99


@pytest.mark.parametrize(
    ("estimator", "truth", "reason"),
    [
        (
            ensemble.HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]),
            NUMBERS,
            "splits by categories, .* encode them as numbers",
        ),
        (
            ensemble.HistGradientBoostingRegressor(max_iter=2, loss="poisson"),
            TWO,
            "has the loss 'poisson', .* squared_error, absolute_error and quantile can be",
        ),
        (
            ensemble.RandomForestClassifier(2),
            np.stack([TWO, 1 - TWO], axis=1),
            "gives 2 labels at once; one estimator for each",
        ),
        (
            ensemble.VotingClassifier([("a", tree.DecisionTreeClassifier())], voting="soft"),
            TWO,
            r"skl2onnx .* cannot convert this VotingClassifier: flatten_transform",
        ),
    ],
)
def test_what_would_answer_otherwise_is_refused(estimator, truth, reason, tmp_path):
    rows = np.floor(X / X.max(axis=0) * 5)
    with pytest.raises(ConversionError, match=reason):
        converted(estimator.fit(rows, truth), rows, tmp_path)


def test_an_estimator_that_was_not_fitted_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="is not fitted"):
        converted(linear_model.Ridge(), X, tmp_path)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_scaled_network_runs_in_openvino_too(tmp_path):
    estimator = scaled(neural_network.MLPClassifier(max_iter=5)).fit(X, THREE)
    model = converted(estimator, X, tmp_path)
    session = open_model(model.files["onnx"], "the file", "openvino")
    (scores,) = session.run({session.inputs[0].name: X.astype(np.float32)}).values()
    assert np.allclose(scores, estimator.predict_proba(X.astype(np.float32)), atol=1e-5)
    session.close()
