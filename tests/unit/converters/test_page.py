"""The report page: whatever is in names and samples, it stays text, whole, and in its place."""

from __future__ import annotations

import html.parser
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pillow

from wherever_contracts.certificate import Certificate
from wherever_contracts.errors import ConversionError
from wherever_convert.findings import Findings, find
from wherever_convert.judges import Detections
from wherever_convert.label_judges import TopOne
from wherever_convert.measuring import Measured
from wherever_convert.page import amounts, write_page
from wherever_convert.page.chart import Limit, chart
from wherever_convert.page.markup import join, tag, visible
from wherever_convert.page.points import points_of
from wherever_convert.page.tables import layers_table
from wherever_convert.page.thumbnails import Thumbnails
from wherever_convert.report import ConversionReport, Row
from wherever_convert.samples.sample import Damaged, Sample
from wherever_convert.targets import Layer
from wherever_edge.agreement import Found

HOSTILE = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=alert(1)> ' onload=alert(1)",
    "</style></title><svg onload=alert(1)>",
    "\u202egpj.exe \u2066 שלום",
    "line\nand\r\nline\x00\x1b[31m \udcff",
    "🌻👩‍👩‍👧 " + "x" * 5000,
    "{{7*7}} ${7*7} &lt;b&gt; javascript:alert(1)",
)


def row(target, *, engine="onnxruntime", value=0.9, latency_s=0.002, size=1000, name="net"):
    return Row(
        variant=f"{name}-{target}",
        target=target,
        precision="int8" if "int8" in target else "float32",
        bytes=size,
        metric="top-1",
        value=value,
        n=100,
        drop=0.9 - value,
        agreement=0.99,
        engine=engine,
        latency_s=latency_s,
        low=value - 0.02,
        high=value + 0.01,
        places=("laptop",),
    )


def report(*rows, **more):
    given_ = {
        "package": Path("net"),
        "name": "net",
        "version": "1.0.0",
        "rows": rows or (row("int8", value=0.895, size=300), row("fp32")),
        "left_out": {},
        "dataset": "photos",
        "calibration": 50,
        "test": 100,
        "shared": False,
        "damaged": (),
        "skipped": 0,
        "pipeline": {},
        "max_drop": 0.01,
    }
    return ConversionReport(**{**given_, **more})


def certificate(variant="net-int8", engine="openvino", **more):
    interval = {"value": 0.88, "low": 0.86, "high": 0.9}
    said = {
        "model": "net",
        "variant": variant,
        "engine": engine,
        "precision": "int8",
        "about": "a" * 64,
        "reference": "net-fp32",
        "dataset": {"name": "photos", "sha256": "b" * 64, "n": 100},
        "metric": {**interval, "name": "top-1", "reference": 0.9, "drop": 0.02},
        "agreement": interval,
        "latency": {"median_s": 0.0015, "p95_s": 0.0018, "runs": 9, "threads": 2, "of_float": 0.6},
        "memory_peak_bytes": 2_000_000,
        "file_bytes": 300,
        "machine": {"cpu": "some processor", "cores": 4},
        "tools": {"openvino": "2025.4"},
        "golden": 3,
    }
    return Certificate.model_validate({**said, **more})


NO_FINDINGS = Findings("top-1", "net-fp32", 100)


@pytest.fixture
def page(tmp_path):
    """Writes a page, and gives its text."""

    def write(said, certificates=(), findings=NO_FINDINGS):
        path = tmp_path / "report.html"
        write_page(path, said, certificates, findings)
        return path.read_text(encoding="utf-8")

    return write


class Elements(html.parser.HTMLParser):
    """Every element's name and attributes, and the text outside of style."""

    def __init__(self, page):
        super().__init__()
        self.found, self.words, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_a_page_says_what_was_measured_of_each_variant_in_each_engine(page):
    text = Elements(page(report(), [certificate(), certificate(engine="litert")])).text
    for figure in ("net-int8", "openvino", "litert", "88.00 %", "[86.00 %, 90.00 %]", "-2.00"):
        assert figure in text
    for figure in ("1.50 ms", "p95 1.80 ms", "0.60 \N{MULTIPLICATION SIGN}", "2.00 MB", "300 B"):
        assert figure in text
    assert "net-fp32 reference onnxruntime 90.00 %" in text  # from the report: no certificate
    assert "some processor" in text
    assert "b" * 64 in text


def test_a_page_needs_nothing_from_elsewhere_and_allows_nothing(page):
    elements = Elements(page(report(), [certificate()]))
    assert elements.open == []
    kinds = {name for name, _ in elements.found}
    assert not kinds & {"script", "link", "iframe", "object", "embed", "form", "base", "a"}
    policy = next(a["content"] for n, a in elements.found if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    for _, attributes in elements.found:
        for name in ("src", "href"):
            assert attributes.get(name, "data:image/").startswith("data:image/")
        assert not [name for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_wherever_they_stand(page, name):
    samples = [Sample(name, name, None)] * 2
    kept = {"net-fp32": [0, 1], name: [1, 0]}
    measured = {each: Measured(answers, 0.001, name) for each, answers in kept.items()}
    found = find(TopOne("s", np.array([0, 0]), (name, "dog")), samples, measured, "net-fp32")
    layers = {name: (Layer(name, name, 0.1, quantized=True),)}
    said = report(
        row(name, engine=name, name=name),
        name=name,
        version=name,
        dataset=name,
        damaged=(Damaged(name, name),),
        left_out={name: name},
        layers=layers,
        traces={name: (name,)},
        warnings=(name,),
        source={name: {name: name}, "file": name},
        provenance={name: [name]},
        pipeline={"pre": [{"op": name, name: name}]},
    )
    written = page(said, [certificate(machine={name: name}, tools={name: name})], found)
    plain = Elements(page(report(layers={"int8": layers[name]}), [certificate()], found))
    elements = Elements(written)
    assert {kind for kind, _ in elements.found} <= {kind for kind, _ in plain.found} | EXTRA
    assert " ".join(visible(name)[:20].split()) in elements.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", written)
    assert len(written) < 300_000


EXTRA = {"ol", "li", "ul", "details", "summary", "dl", "dt", "dd", "h3", "table", "svg"}
TEXT = st.text(st.characters(codec=None), max_size=80)


@given(TEXT, TEXT)
def test_whatever_a_text_is_it_comes_back_from_the_markup_as_what_is_visible_of_it(text, value):
    elements = Elements(tag("p", text, title=value))
    assert "".join(elements.words) == visible(text)
    assert elements.found == [("p", {"title": visible(value)})]
    assert elements.text.encode() is not None


def test_markup_is_built_of_elements_attributes_and_text():
    assert tag("a", "x", 1, None, [tag("b", 2.5)], class_="c", stroke_width=1.23456789) == (
        '<a class="c" stroke-width="1.23457">x1<b>2.5</b></a>'
    )
    assert tag("br") == "<br>"
    assert tag("img", hidden=True, alt=None, title=False) == '<img hidden="">'
    assert join("<", tag("i")) == "&lt;<i></i>"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (amounts.seconds(0.00000123), "1.23 µs"),
        (amounts.seconds(0.0021), "2.10 ms"),
        (amounts.seconds(0.0123), "12.3 ms"),
        (amounts.seconds(0.9999), "1.00 s"),
        (amounts.seconds(123.4), "123 s"),
        (amounts.seconds(0), "0 µs"),
        (amounts.round_seconds(5e-05), "50 µs"),
        (amounts.round_seconds(2e-8), "0.02 µs"),
        (amounts.size(999), "999 B"),
        (amounts.size(3_490_000), "3.49 MB"),
        (amounts.size(999_900), "1.00 MB"),
        (amounts.size(2_000_000_000_000), "2 TB"),
        (amounts.quality(0.87105, "top-1"), "87.11 %"),
        (amounts.quality(0.3332, "mAP"), "0.3332"),
        (amounts.quality(math.nan, "mAP"), "no number"),
        (amounts.points(0.0031), "-0.31"),
        (amounts.points(-0.0031), "+0.31"),
        (amounts.points(0.000001), "0.00"),
        (amounts.points(math.inf), "no number"),
        (amounts.share(0.99999), "> 99.99 %"),
        (amounts.share(1), "100.00 %"),
        (amounts.in_points(0.01), "1 point"),
        (amounts.in_points(0.025), "2.5 points"),
    ],
)
def test_figures_are_written_for_people(said, expected):
    assert said.replace("\N{NO-BREAK SPACE}", " ") == expected


@pytest.mark.parametrize("kind", ["narrow", "medium", "wide"])
def test_the_chart_draws_a_figure_that_is_no_number_and_equal_figures(kind):
    points = points_of(report(row("int8", value=math.nan), row("fp32"), row("ir")), [])
    drawn = chart(points, Limit(0.89, "1 point lost"), kind)
    assert "nan" not in re.sub("<desc.*?</desc>", "", drawn)
    assert drawn.count("<title>") == 3


def test_a_time_that_no_clock_told_has_a_place_on_the_chart():
    points = points_of(report(row("fp32", latency_s=0.0)), [])
    assert "nan" not in re.sub("<desc.*?</desc>", "", chart(points, None, "wide"))


def test_a_limit_far_from_all_values_is_not_drawn():
    points = points_of(report(), [])
    assert "limit" in chart(points, Limit(0.89, "1 point lost"), "wide")
    assert "limit" not in chart(points, Limit(0.1, "80 points lost"), "wide")


def test_more_than_forty_layers_are_folded():
    layers = [Layer(f"conv{n}", "Conv", 0.9**n, quantized=n > 3) for n in range(45)]
    table = layers_table(layers, "Layers")
    first, _, rest = table.partition("<details>")
    assert first.count("conv") == 40
    assert rest.count("conv") == 5
    assert "5 less sensitive layers" in rest


@pytest.mark.parametrize(("error", "width"), [(0.2, 100), (0.02, 80), (0, 0), (math.nan, 100)])
def test_bars_are_as_long_as_the_power_of_ten(error, width):
    layers = [Layer("a", "Conv", 0.2, quantized=False), Layer("b", "Conv", error, quantized=True)]
    bars = re.findall(r'<rect width="([\d.]+)"', layers_table(layers, "Layers"))
    assert [float(each) for each in bars] == [100, pytest.approx(width)]


def test_a_refused_target_names_its_most_sensitive_layers(page):
    layers = {"int8": (Layer("/head/conv", "Conv", 0.4, quantized=True),)}
    text = Elements(page(report(left_out={"int8": "it loses too much"}, layers=layers))).text
    assert "ONNX, int8 (static, QDQ): left out it loses too much" in text
    assert "Most sensitive: /head/conv" in text


def test_many_classes_are_shown_by_their_confusions_and_few_as_a_matrix(page):
    def shown(classes):
        labels = tuple(f"class {n}" for n in range(classes))
        kept = [(n + (n % 3 == 0)) % classes for n in range(classes)]
        measured = {"net-fp32": Measured(kept, 0.001, "onnxruntime")}
        judge = TopOne("s", np.arange(classes), labels)
        samples = [Sample(str(n), np.zeros(2), None) for n in range(classes)]
        return page(report(), findings=find(judge, samples, measured, "net-fp32"))

    assert 'class="matrix"' in shown(30)
    many = shown(100)
    assert 'class="matrix"' not in many
    assert "The most frequent confusions (9 more pairs not shown)" in many


def photo(path, size=(640, 480)):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    pillow.fromarray(noise).save(path)
    return path


class Value:
    boxes, scores, classes, labels = "b", "s", "c", ("cat", "dog")


def test_boxes_are_drawn_where_they_are_in_the_image_and_never_outside(page, tmp_path):
    path = photo(tmp_path / "a.png")
    one = Found(np.array([[-50.0, 10, 100, 1000]]), np.array([0.9]), np.array([1]))
    none = Found(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
    measured = {
        "net-fp32": Measured([one], 0.001, "onnxruntime"),
        "net-int8": Measured([none], 0.001, "onnxruntime"),
    }
    found = find(Detections(Value(), None), [Sample("a", path, None)], measured, "net-fp32")
    elements = Elements(page(report(), findings=found))
    assert ("box-reference", "0", "10", "100", "470") in [
        tuple(a.get(key) for key in ("class", "x", "y", "width", "height"))
        for _, a in elements.found
    ]
    assert ("svg", "0 0 640 480") in [(n, a.get("viewbox")) for n, a in elements.found]
    assert "1 found: dog 0.90" in elements.text
    assert "0.00 % alike" in elements.text


def test_texts_and_rows_are_shown_as_they_were_given(page):
    samples = [
        Sample("a", "a fine film", None),
        Sample("b", np.array([1.5, 2]), None),
        Sample("c", np.arange(64, dtype=np.float32), None),
        Sample("d", {"age": np.array([7]), "name": np.array(["x"])}, None),
        Sample("e", 7, None),
        Sample("f", b"%PDF-1.7\n" + b"x" * 2000, None),
        Sample("g", Path(__file__), None),
    ]
    measured = {
        "net-fp32": Measured([0] * 7, 0.001, "onnxruntime"),
        "net-int8": Measured([1] * 7, 0.001, "onnxruntime"),
    }
    written = page(
        report(), findings=find(TopOne("s", None, ("a", "b")), samples, measured, "net-fp32")
    )
    text = Elements(written).text
    assert "a fine film" in text
    assert "1.5, 2" in text
    assert "(64 values)" in text
    assert "age: 7" in text
    assert "2.01 kB %PDF-1.7\\nxxx" in text
    assert "The report page: whatever is" in text
    assert 'class="curve"' in written


def test_pictures_stop_when_their_room_is_used_up(tmp_path):
    path = photo(tmp_path / "a.png")
    thumbnails = Thumbnails(left=40_000)
    sizes = [thumbnails.of(path, 176) for _ in range(20)]
    made = [each for each in sizes if each is not None]
    assert 0 < len(made) < 20
    assert sum(len(each.uri) for each in made) <= 40_000
    assert (made[0].width, made[0].height) == (640, 480)
    assert Thumbnails().of(path.read_bytes(), 176) == made[0]


def test_small_arrays_are_pictures_of_their_numbers(tmp_path):
    picture = Thumbnails().of(np.arange(64.0).reshape(1, 8, 8), 176)
    assert (picture.width, picture.height, picture.exact) == (8, 8, True)
    assert Thumbnails().of(np.zeros((8, 8)), 176).exact
    assert Thumbnails().of(np.zeros(64), 176) is None
    assert Thumbnails().of(np.full((8, 8), np.nan), 176) is None
    text = tmp_path / "a.txt"
    text.write_text("no picture")
    assert Thumbnails().of(text, 176) is None
    assert Thumbnails().of(tmp_path / "gone.png", 176) is None


def test_a_page_is_replaced_and_a_directory_is_not(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_page(path, report(), [], NO_FINDINGS)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(ConversionError, match="is a directory"):
        write_page(tmp_path, report(), [], NO_FINDINGS)
    with pytest.raises(ConversionError, match="there is no directory"):
        write_page(tmp_path / "none" / "report.html", report(), [], NO_FINDINGS)
