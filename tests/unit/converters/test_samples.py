"""Samples are read from folders, COCO json, CSV and arrays; what is damaged is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as pillow

from wherever_contracts.errors import ConversionError
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.digests import content_digest, data_digest
from wherever_convert.samples.sample import Boxes, Sample
from wherever_convert.samples.split import LEAST_TO_DIVIDE, MOST_CALIBRATION, split


def picture(path, shade=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.new("RGB", (8, 6), (shade, 0, 0)).save(path)


def read(given, **options):
    return read_samples(given, SampleOptions(**options))


@pytest.fixture
def folders(tmp_path):
    for label in ("cat", "dog"):
        for number in range(3):
            picture(tmp_path / "pets" / label / f"{number}.png", number)
    return tmp_path / "pets"


def test_class_folders_give_images_with_their_class(folders):
    samples = read(folders)
    assert (samples.name, samples.form, samples.labels) == ("pets", "images", ("cat", "dog"))
    assert [(item.name, item.truth) for item in samples.items][:2] == [
        ("cat/0.png", "cat"),
        ("cat/1.png", "cat"),
    ]
    assert len(samples.items) == 6


def test_images_without_folders_have_no_class(folders):
    samples = read(folders / "cat")
    assert len(samples.items) == 3
    assert {item.truth for item in samples.items} == {None}
    assert samples.labels is None


def test_damaged_images_are_named_and_left_out(folders):
    (folders / "cat" / "0.png").write_bytes(b"not an image")
    whole = (folders / "dog" / "1.png").read_bytes()
    (folders / "dog" / "1.png").write_bytes(whole[: len(whole) // 2])
    samples = read(folders)
    assert [each.name for each in samples.damaged] == ["cat/0.png", "dog/1.png"]
    assert "begin like none" in samples.damaged[0].reason
    assert len(samples.items) == 4


def test_when_nothing_can_be_read_it_says_what_was_wrong(tmp_path):
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    with pytest.raises(ConversionError, match="no folders of images"):
        read(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "a.png").write_bytes(b"no")
    with pytest.raises(ConversionError, match=r"no samples that can be read \(cat/a\.png: "):
        read(tmp_path / "pets")


def test_no_more_than_asked_for_are_taken_and_evenly(folders):
    samples = read(folders, most=2)
    assert [item.name for item in samples.items] == ["cat/0.png", "dog/0.png"]
    assert samples.left_out == 4


@pytest.fixture
def coco(tmp_path):
    picture(tmp_path / "set" / "images" / "a.png")
    picture(tmp_path / "set" / "images" / "b.png")
    table = {
        "images": [{"id": 7, "file_name": "b.png"}, {"id": 3, "file_name": "a.png"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 1},
        ],
    }
    path = tmp_path / "set" / "annotations.json"
    path.write_text(json.dumps(table))
    return path


def test_coco_json_gives_boxes_by_name(coco):
    for given in (coco, coco.parent):
        samples = read(given)
        assert (samples.name, samples.labels) == ("set", ("cat", "dog"))
        assert [item.name for item in samples.items] == ["a.png", "b.png"]
        assert len(samples.items[0].truth.boxes) == 0
        truth = samples.items[1].truth
        assert truth.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 2, 2]]
        assert truth.names == ("dog", "cat")
        assert truth.crowd.tolist() == [False, True]


def test_coco_images_may_lie_elsewhere_and_one_that_is_missing_is_named(coco, tmp_path):
    picture(tmp_path / "elsewhere" / "a.png")
    samples = read(coco, images=tmp_path / "elsewhere")
    assert [item.name for item in samples.items] == ["a.png"]
    assert samples.damaged[0] == ("b.png", "No such file or directory")


def test_a_coco_file_cannot_lead_out_of_its_images(coco, tmp_path):
    picture(tmp_path / "secret.png")
    table = json.loads(coco.read_text())
    table["images"][0]["file_name"] = "../../secret.png"
    coco.write_text(json.dumps(table))
    samples = read(coco)
    assert [item.name for item in samples.items] == ["a.png"]
    assert "leads out of" in samples.damaged[0].reason


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": []}', '{"images": [], "categories": [], "annotations": [1]}']
)
def test_what_is_not_coco_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConversionError, match=r"a\.json"):
        read(tmp_path / "a.json")


def test_a_csv_of_numbers_gives_rows(tmp_path):
    path = tmp_path / "iris.csv"
    path.write_text("a,b,label\n1,2,x\n3,4,y\n\n5,oops,x\n6,,y\n7,8\n")
    samples = read(path)
    assert (samples.form, samples.labels) == ("rows", ("x", "y"))
    assert [item.value.tolist() for item in samples.items] == [[1, 2], [3, 4]]
    assert samples.items[0].value.dtype == np.float32
    assert [item.truth for item in samples.items] == ["x", "y"]
    assert [each.name for each in samples.damaged] == ["iris.csv:5", "iris.csv:6", "iris.csv:7"]
    assert samples.damaged[2].reason == "2 columns, the header has 3"


def test_a_csv_says_which_columns_it_has(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,kind\n1,x\n")
    assert read(path, label_column="kind").items[0].truth == "x"
    with pytest.raises(ConversionError, match=r"no column 'b' \(it has: a, kind\)"):
        read(path, label_column="b")


def test_a_csv_of_images_takes_paths_relative_to_itself(tmp_path):
    picture(tmp_path / "photos" / "a.png")
    (tmp_path / "list.csv").write_text("file,label\nphotos/a.png,3\nphotos/b.png,10\n")
    samples = read(tmp_path / "list.csv")
    assert (samples.form, samples.labels) == ("images", ("3", "10"))
    assert [item.value for item in samples.items] == [tmp_path / "photos" / "a.png"]
    assert samples.damaged[0].reason == "No such file or directory"


def test_numbers_with_a_point_are_numbers_and_whole_ones_are_classes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n1,2.5\n2,3.0\n")
    assert [item.truth for item in read(path).items] == [2.5, 3.0]
    assert read((np.zeros((2, 3)), np.array([0, 1]))).items[1].truth == "1"
    assert read((np.zeros((2, 3)), np.array([0.0, 1.5]))).items[1].truth == 1.5


def test_npz_gives_rows_and_never_unpickles(tmp_path):
    x, y = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 0])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    samples = read(tmp_path / "a.npz")
    assert [item.value.tolist() for item in samples.items] == x.tolist()
    assert samples.labels == ("0", "1")
    np.savez(tmp_path / "two.npz", left=x, right=x)
    assert read(tmp_path / "two.npz").items[0].value["left"].tolist() == [0, 1]
    np.savez(tmp_path / "bad.npz", x=np.array([object()]))
    with pytest.raises(ConversionError, match="Object arrays cannot be loaded"):
        read(tmp_path / "bad.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:50])
    with pytest.raises(ConversionError, match=r"cut\.npz cannot be read"):
        read(tmp_path / "cut.npz")


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ConversionError, match=r"different lengths: \[2, 3\]"):
        read((np.zeros((2, 3)), np.zeros(3)))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ConversionError, match="there is nothing at"):
        read(tmp_path / "none")
    (tmp_path / "a.weights").touch()
    with pytest.raises(ConversionError, match=r"a\.weights is neither a directory nor"):
        read(tmp_path / "a.weights")
    (tmp_path / "x.json").touch()
    (tmp_path / "y.json").touch()
    with pytest.raises(ConversionError, match=r"several json files \(x\.json, y\.json\)"):
        read(tmp_path)


def some(classes):
    return [Sample(str(number), np.zeros(1), truth) for number, truth in enumerate(classes)]


def test_no_sample_calibrates_and_is_measured_on():
    for classes in (["a", "b"] * 30, ["a"] * 59 + ["b"], [str(n) for n in range(60)], [None] * 60):
        parts = split(some(classes))
        names = [item.name for item in (*parts.calibration, *parts.test)]
        assert len(names) == len(set(names)) == 60
        assert len(parts.calibration) == 20
        assert not parts.shared


def test_each_class_is_in_both_parts_as_often_as_its_size_says():
    parts = split(some(["a"] * 30 + ["b"] * 9))
    assert [item.truth for item in parts.calibration].count("b") == 3
    assert [item.truth for item in parts.test].count("b") == 6


def test_the_same_samples_are_divided_the_same_way():
    items = some(["a", "b", "c"] * 20)
    assert split(items) == split(items)


def test_few_samples_do_both_and_that_is_said():
    items = some(["a"] * (LEAST_TO_DIVIDE - 1))
    parts = split(items)
    assert parts.shared
    assert parts.calibration == parts.test == tuple(items)
    assert "all for both" in parts.rule


def test_calibration_is_bounded_and_the_rest_is_not_measured_on():
    parts = split(some([None] * 3000))
    assert len(parts.calibration) == MOST_CALIBRATION
    assert len(parts.test) == 2000


def test_rows_that_are_not_finite_are_named(tmp_path):
    samples = read(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    assert len(samples.items) == 1
    assert samples.damaged[0] == ("arrays[1]", "a number that is missing or not finite")


def test_an_image_that_no_signature_takes_is_named(folders):
    with (folders / "cat" / "0.png").open("ab") as file:
        file.truncate(33 * 1024 * 1024)
    samples = read(folders)
    assert samples.damaged[0].reason == "34603008 bytes, at most 33554432"


@pytest.mark.parametrize("data", [b"a,b\n1,\xff\n", b'a,b\n"' + b"x" * 200_000])
def test_what_is_no_csv_is_refused(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ConversionError, match=r"a\.csv is no CSV in UTF-8"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("box", [[0, 0, 1], [0, 0, 1, float("nan")], "text", None])
def test_a_coco_box_that_is_none_is_refused(coco, box):
    table = json.loads(coco.read_text())
    table["annotations"][0]["bbox"] = box
    coco.write_text(json.dumps(table))
    with pytest.raises(ConversionError, match=r"annotations\.json is not COCO's json"):
        read(coco)


def test_a_coco_path_that_no_system_has_is_refused(coco):
    table = json.loads(coco.read_text())
    table["images"][0]["file_name"] = "a\0b"
    coco.write_text(json.dumps(table))
    with pytest.raises(ConversionError, match=r"annotations\.json is not COCO's json"):
        read(coco)


def test_a_digest_is_that_of_names_contents_and_truths_and_not_of_the_place(folders, tmp_path):
    digest = read(folders).digest()
    assert len(digest) == 64
    moved = tmp_path / "elsewhere" / "pets"
    moved.parent.mkdir()
    folders.rename(moved)
    assert read(moved).digest() == digest
    picture(moved / "cat" / "0.png", 77)
    changed = read(moved).digest()
    (moved / "cat" / "0.png").rename(moved / "cat" / "00.png")
    assert len({digest, changed, read(moved).digest()}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(2, np.float32), np.zeros(2, np.int32)),
        (np.zeros((2, 1)), np.zeros((1, 2))),
        (b"ab", "ab"),
        ({"a": np.zeros(1)}, {"b": np.zeros(1)}),
        ({"a": b"1", "b": b"2"}, {"a": b"12", "b": b""}),
    ],
)
def test_values_that_differ_have_other_digests(one, other):
    assert content_digest(one) != content_digest(other)
    assert data_digest([Sample("x", one, None)]) != data_digest([Sample("x", other, None)])


def test_a_digest_is_the_same_for_any_byte_order_and_strides():
    plain = np.arange(6, dtype="<i4").reshape(2, 3)
    assert content_digest(plain.astype(">i4")) == content_digest(plain)
    assert content_digest(np.asfortranarray(plain)) == content_digest(plain)


def test_a_truth_is_part_of_the_digest():
    truths = (None, "1", 1.0, Boxes(np.zeros((1, 4)), ("a",), np.zeros(1, bool)))
    assert len({data_digest([Sample("x", "text", truth)]) for truth in truths}) == 4


def test_equal_contents_stay_on_one_side_of_the_split():
    items = [Sample(f"{n}", "text", "ab"[n % 2], content=f"{n % 20}") for n in range(60)]
    parts = split(items)
    ours, theirs = ({item.content for item in part} for part in (parts.calibration, parts.test))
    assert ours
    assert theirs
    assert not ours & theirs


def test_copies_of_a_few_samples_are_not_divided():
    items = [Sample(f"{n}", "text", None, content=f"{n % 3}") for n in range(60)]
    assert split(items).shared
