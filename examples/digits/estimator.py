"""A scikit-learn estimator of handwritten digits, to try `wherever convert` with.

pip install 'wherever[convert]' scikit-learn
python examples/digits/estimator.py        # writes samples.npz
wherever convert examples/digits/estimator.py:estimator --samples samples.npz \
        --task classify -o my-digits --report my-digits.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def splits() -> tuple[Any, Any, Any, Any]:
    """Pixels [n, 64] of 0 to 16 and the digits, two thirds to learn from and a third to measure."""
    x, y = load_digits(return_X_y=True)
    taught, measured, right, truth = train_test_split(x, y, test_size=1 / 3, random_state=0)
    return taught.astype(np.float32), measured.astype(np.float32), right, truth


def estimator() -> MLPClassifier:
    """Trained in a few seconds."""
    taught, _, right, _ = splits()
    return MLPClassifier((512, 256), max_iter=30, early_stopping=True, random_state=0).fit(
        taught, right
    )


if __name__ == "__main__":
    _, measured, _, truth = splits()
    np.savez("samples.npz", x=measured, y=truth)
    print(f"{Path('samples.npz').resolve()}: {len(measured)} digits")
