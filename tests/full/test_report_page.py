"""The report of a conversion in a real browser: it stands alone, and everything has its place.

Every name resolves to nothing, and every request that the page makes is looked at.
"""

from __future__ import annotations

import base64
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from wherever_contracts.certificate import Certificate
from wherever_convert import convert
from wherever_convert.findings import find
from wherever_convert.judges import Detections
from wherever_convert.measuring import Measured
from wherever_convert.page import write_page
from wherever_convert.report import ConversionReport, Row
from wherever_convert.samples.sample import Damaged, Sample
from wherever_convert.targets import Layer
from wherever_edge.agreement import Found
from wherever_edge.builtin import PACKAGES, digits_test_split

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

# what the page is asked about its looks
LOOK = Path(__file__).with_name("report_page_look.js").read_text()
CONTRAST = Path(__file__).with_name("report_page_contrast.js").read_text()
HOSTILE = (
    "<script>document.title='owned'<",
    "<img src=x onerror=document.title='owned'>",
    "\"><svg onload=document.title='owned'>",
    "שלום עולם \u202egpj",
    "two\nlines\tand more",
    "🌻👩‍👩‍👧 flowers 日本語の花",
    "x" * 250,
    "a name of many words that goes on and on and " * 5,
    "javascript:document.title='owned'",
    "&lt;b&gt; {{7*7}} %s",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Pages by name, each made once."""
    folder = tmp_path_factory.mktemp("pages")
    makers = {"estimator": of_an_estimator, "hostile": of_hostile_names, "crowded": crowded}
    made: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.html"
            makers[name](made[name], folder)
        return made[name]

    return page


def of_an_estimator(page: Path, folder: Path) -> None:
    """What a conversion of a scikit-learn pipeline writes."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, y = digits_test_split()
    x = images.astype(np.float32).reshape(len(images), 64)
    model = make_pipeline(StandardScaler(), MLPClassifier((24,), max_iter=60, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sixty rounds are not enough for it to be sure
        model.fit(x[:300], y[:300])
    output = folder / "estimator"
    samples = (x[300:], y[300:])
    convert(model, samples=samples, task="classify", output=output, max_drop=0.1, page=page)


def of_hostile_names(page: Path, folder: Path) -> None:
    """What a conversion writes whose classes and files have names that would be markup."""
    images, labels = digits_test_split()
    for number, (image, label) in enumerate(zip(images[:200], labels[:200], strict=True)):
        # half of them lie: these are answered wrongly
        name = HOSTILE[(int(label) + (number % 2) * 3) % 10]
        path = folder / "hostile-samples" / name / f"{number} {HOSTILE[number % 6]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray((image * 15).astype(np.uint8)).save(path)
    (folder / "hostile-samples" / HOSTILE[0] / f"{HOSTILE[1]}.png").write_bytes(b"damaged")
    convert(
        PACKAGES / "digits" / "cnn.onnx",
        samples=folder / "hostile-samples",
        task="classify",
        labels=HOSTILE,
        output=folder / "hostile",
        max_drop=1.0,
        like=f"{PACKAGES / 'digits'}",
        page=page,
    )


def crowded(page: Path, folder: Path) -> None:
    """A page with all that there may be at once: many variants, engines, boxes, layers."""
    targets = ("fp32", "fp16", "int8", "int8-dynamic", "ir", "ir-fp16", "ir-int8", "litert-int8")
    rng = np.random.default_rng(0)
    rows, certificates = [], []
    for number, target in enumerate(targets):
        variant, size, drop = f"detector-{target}", 3_900_000 // (1 + number % 4), number * 0.002
        latency_s, value = 0.008 / (1 + number % 3), 0.36 - drop
        figures = ("mAP", value, 64, drop, 0.97, "onnxruntime", latency_s, 0.5, value - 0.03)
        rows.append(Row(variant, target, "int8", size, *figures, value + 0.03, ("edge-pc", "tiny")))
        for engine in ("onnxruntime", "openvino", "litert")[: 1 + number % 3]:
            factor = float(rng.uniform(0.8, 1.2))
            certificates.append(certificate(variant, engine, value, latency_s * factor, size))
    layers = tuple(
        Layer(f"/backbone/stage{n}/conv/Conv" * (1 + 5 * (n == 3)), "Conv", 0.3 * 0.8**n, n > 4)
        for n in range(60)
    )
    report = ConversionReport(
        package=folder,
        name="detector",
        version="2.1.0",
        rows=tuple(rows),
        left_out={"litert": "it has /model/neck/Resize with a size that is not known " * 3},
        dataset="street corners",
        calibration=40,
        test=64,
        shared=False,
        damaged=tuple(Damaged(f"{n}.jpg", "cut off") for n in range(60)),
        skipped=12,
        pipeline={"pre": [{"op": "image_tensor", "size": [416, 416]}]},
        source={"file": "detector.onnx", "sha256": "c" * 64, "tools": {"onnx": "1.19"}},
        warnings=("the figures are odd: look at the samples (--labels)",),
        layers={"int8": layers},
        traces={"int8": tuple(f"{n} layers in float: mAP 0.3{n}" for n in range(9))},
        max_drop=0.01,
    )
    write_page(page, report, certificates, boxes(folder, [row.variant for row in rows]))


def certificate(variant: str, engine: str, value: float, latency_s: float, size: int) -> Any:
    interval = {"value": value, "low": value - 0.03, "high": value + 0.03}
    return Certificate.model_validate(
        {
            "model": "detector",
            "variant": variant,
            "engine": engine,
            "precision": "int8",
            "about": "a" * 64,
            "reference": "detector-fp32",
            "dataset": {"name": "street corners", "sha256": "b" * 64, "n": 64},
            "metric": {**interval, "name": "mAP", "reference": 0.36, "drop": 0.36 - value},
            "agreement": interval,
            "latency": {"median_s": latency_s, "p95_s": latency_s * 1.2, "runs": 9, "threads": 2},
            "memory_peak_bytes": 20_000_000,
            "file_bytes": size,
            "machine": {"cpu": "some processor", "features": ["avx2"] * 30},
            "tools": {engine: "1.0"},
            "golden": 3,
        }
    )


class Value:
    boxes, scores, classes, labels = "b", "s", "c", ("car", "someone on a bicycle")


def boxes(folder: Path, variants: list[str]) -> Any:
    rng = np.random.default_rng(1)
    samples = []
    for number, size in enumerate([(640, 480), (300, 900), (900, 200), (80, 60)] * 4):
        pixels = rng.integers(0, 255, (size[1] // 20, size[0] // 20, 3), np.uint8)
        path = folder / f"photo{number}.png"
        pillow.fromarray(pixels).resize(size, pillow.Resampling.BICUBIC).save(path)
        samples.append(Sample(path.name, path, None))

    def found() -> Found:
        corners = rng.uniform(-50, 400, (6, 2))
        edges = np.concatenate([corners, corners + rng.uniform(20, 300, (6, 2))], axis=1)
        return Found(edges, rng.uniform(0.2, 1, 6), rng.integers(0, 2, 6))

    answers = {each: Measured([found() for _ in samples], 0.001, "x") for each in variants}
    return find(Detections(Value(), None), samples, answers, variants[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 768, 1280])
@pytest.mark.parametrize("name", ["estimator", "hostile", "crowded"])
def test_everything_has_its_place_and_nothing_else_is_asked_for(
    browser: Any,
    pages: Callable[[str], Path],
    name: str,
    width: int,
    scheme: str,
) -> None:
    browser.open(pages(name), width, scheme)
    browser.value("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert browser.value(LOOK) == []
    assert browser.value(CONTRAST) == []
    assert browser.value("document.title").endswith(": conversion report")
    assert browser.value("document.scripts.length") == 0
    said = [
        each
        for each in browser.events
        if each.get("method")
        in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    ]
    assert said == []
    asked = [
        each["params"]["request"]["url"]
        for each in browser.events
        if each.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:image/")] == [pages(name).as_uri()]
    folder = os.environ.get("REPORT_PICTURES")
    picture = browser.picture(whole=folder is not None)
    brightness = np.asarray(picture.convert("L")).mean()
    assert brightness > 170 if scheme == "light" else brightness < 90
    if folder:  # for people, who see more
        picture.save(Path(folder) / f"{name}-{width}-{scheme}.png")


def test_a_page_that_is_wrong_is_seen_to_be(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "wrong.html"
    style = "<style>body { color: #ccc; background: #fff } div { overflow: hidden }</style>"
    chart = "<svg class=chart width=90 height=40>"
    chart += "<text x=5 y=20>one</text><text x=9 y=20>two</text><text x=80 y=90>far</text></svg>"
    wide = f"<div style='width: 50px'>{'x' * 90}</div><div style='width: 3000px'>wide</div>"
    script = "<script>console.log('run')</script>"
    page.write_text(f"<!DOCTYPE html>{style}{chart}{wide}<p>pale</p><svg width=0></svg>{script}")
    browser.open(page, 400, "light")
    wrong = " ".join(browser.value(LOOK))
    for words in ("the page is", "wider than its room", "covers", "leaves the chart", "no size"):
        assert words in wrong
    assert browser.value(CONTRAST)
    assert "Runtime.consoleAPICalled" in [each.get("method") for each in browser.events]


def test_the_page_can_be_printed_in_dark_rooms_too(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    browser.open(pages("crowded"), 1280, "dark")
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    said = browser.ask("Page.printToPDF", printBackground=False)
    assert base64.b64decode(said["data"]).startswith(b"%PDF-")


def test_pages_stay_small(pages: Callable[[str], Path]) -> None:
    assert pages("crowded").stat().st_size < 3_000_000
    assert pages("hostile").stat().st_size < 1_000_000
