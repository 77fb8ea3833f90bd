"""Tables, folders and lists as people have them become samples, or are refused with what to do."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from pyarrow import parquet, table

from wherever_contracts.errors import ConversionError
from wherever_convert.samples import SampleOptions, read_samples


def read(given, **options):
    return read_samples(given, SampleOptions(**options))


def written(path, text):
    path.write_text(text)
    return path


def truths(samples):
    return [item.truth for item in samples.items]


def values(samples):
    return [item.value for item in samples.items]


def test_a_table_of_texts_is_read_by_usual_names_or_by_those_given(tmp_path):
    usual = read(written(tmp_path / "a.csv", 'text,label\n"so, so",1\ngood,2\n'))
    assert (usual.form, values(usual), truths(usual)) == ("texts", ["so, so", "good"], ["1", "2"])
    path = written(tmp_path / "b.csv", "stars,review\n1,bad\n2,good\n")
    named = read(path, columns={"text": "review", "label": "stars"})
    assert (values(named), truths(named)) == (["bad", "good"], ["1", "2"])
    assert read(path, text_column="review").items[0].truth is None


@pytest.mark.parametrize(
    "text", ["3,Fears for talks,Unions say\n4,The race,is on\n", "one long string\t0\nbad\t1\n"]
)
def test_a_table_without_a_header_is_refused_and_says_how_it_is_read(tmp_path, text):
    path = written(tmp_path / ("a.tsv" if "\t" in text else "a.csv"), text)
    with pytest.raises(ConversionError, match=r"looks like data .* --no-header --columns text=2"):
        read(path)
    with pytest.raises(ConversionError, match="counted only in a table without a header"):
        read(path, columns={"text": "2"})
    both = read(path, header=False, columns={"text": "1", "label": "2"})
    assert len(both.items) == 2
    assert both.items[0].name == f"{path.name}:1"


def test_names_of_columns_that_are_counted_are_a_header(tmp_path):
    assert len(read(written(tmp_path / "a.csv", "0,1,2\n0.5,1,2\n")).items) == 1


def test_quotes_are_characters_in_a_tsv(tmp_path):
    path = written(tmp_path / "a.tsv", 'label\ttext\nham\t"Hi. Wk been ok\nspam\twin "this"\n')
    assert values(read(path)) == ['"Hi. Wk been ok', 'win "this"']


def test_a_semicolon_separates_where_there_is_no_comma(tmp_path):
    assert truths(read(written(tmp_path / "a.csv", "a;b;label\n1;2;x\n3;4;y\n"))) == ["x", "y"]


def test_inputs_of_a_model_are_made_of_the_columns_that_are_named(tmp_path):
    path = written(tmp_path / "a.csv", "w,h,age,y\n1.5,2,30,a\n3,4,40,b\n")
    samples = read(path, columns={"size": ["h", "w"], "age": "age", "label": "y"})
    assert {name: v.tolist() for name, v in samples.items[0].value.items()} == {
        "size": [2, 1.5],
        "age": [30],
    }
    assert samples.items[0].value["age"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": "none"}, r"no column 'none' \(it has: a, b\)"),
        ({"text": "a", "image": "b"}, "image and text cannot both be read"),
        ({"text": ["a", "b"]}, "text is one column, not a, b"),
        ({"text": "a", "size": "b"}, "--columns names size beside image, text, file"),
        ({"label": "a", "x": "a"}, "say what the columns are"),
    ],
)
def test_columns_that_make_no_sense_are_refused(tmp_path, columns, message):
    path = written(tmp_path / "a.csv", "a,b\nx,y\n")
    with pytest.raises(ConversionError, match=message):
        read(path, columns=columns)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", r"a\.csv is empty"),
        ("a.csv", "a,b\n", r"a\.csv has no rows"),
        ("a.csv", "label\nx\n", "no column but the label"),
        ("a.csv", "a,a\n1,2\n", "names a column twice"),
        ("a.csv", "title,label\nhello,1\n", r"holds 'hello', no number\); say what the columns"),
        ("a.jsonl", "", r"a\.jsonl is empty"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1 is no JSON object"),
        ("a.parquet", "no", r"a\.parquet is no Parquet"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, text, message):
    with pytest.raises(ConversionError, match=message):
        read(written(tmp_path / name, text))


def test_rows_that_cannot_be_used_are_named(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\ngood,1\n,1\nbad\nfine,\n")
    samples = read(path)
    assert values(samples) == ["good"]
    assert sorted(samples.damaged) == [
        ("a.csv:3", "an empty text"),
        ("a.csv:4", "1 columns, the header has 2"),
        ("a.csv:5", "no label"),
    ]


def test_json_lines_are_objects(tmp_path):
    lines = [{"text": "good", "label": 1}, {"text": None, "label": 0}, {"text": "x"}, [3]]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)) + "\n{\n")
    samples = read(path)
    assert [(item.value, item.truth) for item in samples.items] == [("good", "1")]
    assert [each.reason for each in samples.damaged] == [
        "no text",
        "no label",
        "no JSON object",
        "no JSON object",
    ]


def test_parquet_holds_numbers_texts_lists_and_images(tmp_path):
    pillow.new("RGB", (4, 3)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    columns = {
        "text": ["good", "bad"],
        "label": [0, 1],
        "image": [{"bytes": data, "path": None}, {"bytes": None, "path": "a.png"}],
        "row": [[1.5, 2.0], [3.0, 4.0]],
        "score": [0.5, 2.0],
    }
    path = tmp_path / "a.parquet"
    parquet.write_table(table(columns), path)
    assert values(read(path, text_column="text")) == ["good", "bad"]
    pictures = read(path, columns={"image": "image", "label": "label"})
    assert (values(pictures), truths(pictures)) == ([data, tmp_path / "a.png"], ["0", "1"])
    assert pictures.items[0].content == pictures.items[1].content
    rows = read(path, columns={"x": "row", "label": "score"})
    assert [item.value["x"].tolist() for item in rows.items] == [[1.5, 2], [3, 4]]
    assert truths(rows) == [0.5, 2.0]


def test_of_a_long_table_no_more_than_what_is_taken_is_kept(tmp_path):
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("a,b,label\n")
        for number in range(20_000):
            file.write(f"{number},{number / 7},{number % 3}\n")
    tracemalloc.start()
    samples = read(path, most=50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(samples.items), samples.left_out, samples.labels) == (50, 19_950, ("0", "1", "2"))
    assert samples.items[1].value[0] == 400
    assert peak < 500_000


def test_folders_of_texts_and_of_any_files_are_told_apart(tmp_path):
    for label in ("bad", "good"):
        (tmp_path / "reviews" / label).mkdir(parents=True)
        written(tmp_path / "reviews" / label / "1.TXT", f"{label} film")
        (tmp_path / "files" / label).mkdir(parents=True)
        (tmp_path / "files" / label / "a.bin").write_bytes(label.encode())
    texts, files = read(tmp_path / "reviews"), read(tmp_path / "files")
    assert (texts.form, values(texts), truths(texts)) == (
        "texts",
        ["bad film", "good film"],
        ["bad", "good"],
    )
    assert (files.form, truths(files)) == ("files", ["bad", "good"])
    assert read(tmp_path / "reviews", form="files").form == "files"
    assert read(tmp_path / "reviews" / "bad").items[0].truth is None


def test_hidden_files_links_and_upper_case_are_what_they_should_be(tmp_path):
    folder = tmp_path / "pets" / "cat"
    folder.mkdir(parents=True)
    pillow.new("RGB", (4, 3)).save(folder / "A.PNG")
    (folder / "._A.PNG").write_bytes(b"left by a Mac")
    (tmp_path / "pets" / ".cache").mkdir()
    (tmp_path / "pets" / "README.md").write_text("about")
    (folder / "b.png").symlink_to(folder / "A.PNG")
    (folder / "c.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "pets" / "dog").symlink_to(folder)
    samples = read(tmp_path / "pets")
    assert samples.labels == ("cat", "dog")
    assert [item.name for item in samples.items] == [
        "cat/A.PNG",
        "cat/b.png",
        "dog/A.PNG",
        "dog/b.png",
    ]
    assert {each.reason for each in samples.damaged} == {"No such file or directory"}


def test_folders_of_folders_are_refused_with_the_one_to_give(tmp_path):
    (tmp_path / "data" / "train" / "cat").mkdir(parents=True)
    pillow.new("RGB", (4, 3)).save(tmp_path / "data" / "train" / "cat" / "a.png")
    with pytest.raises(ConversionError, match=r"folders of folders; .* such as .*train"):
        read(tmp_path / "data")


@pytest.fixture
def yolo(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for name in ("a", "b", "c"):
        pillow.new("RGB", (40, 20)).save(tmp_path / "set" / "images" / f"{name}.png")
    written(tmp_path / "set" / "labels" / "a.txt", "1 0.5 0.5 0.5 0.5\n\n0 0.25 0.5 0.5 1\n")
    written(tmp_path / "set" / "labels" / "c.txt", "cat 0.5 0.5 0.5 0.5\n")
    return tmp_path / "set"


def test_labels_of_yolo_give_boxes_in_pixels(yolo):
    samples = read(yolo, labels=["cat", "dog"])
    first, empty = samples.items
    assert first.truth.boxes.tolist() == [[10, 5, 30, 15], [0, 0, 20, 20]]
    assert (first.truth.names, empty.truth.names) == (("dog", "cat"), ())
    assert samples.damaged[0].reason == "c.txt: 'cat 0.5 0.5 0.5 0.5' is no class and box"
    assert read(yolo).items[0].truth.names == ("1", "0")
    written(yolo / "classes.txt", "cat\ndog\n\n")
    assert read(yolo).labels == ("cat", "dog")
    assert "class 1 of 1" in read(yolo, labels=["cat"]).damaged[0].reason


def test_lists_in_python_are_texts_paths_bytes_or_pictures(tmp_path):
    pillow.new("RGB", (4, 3)).save(tmp_path / "a.png")
    assert read(["good", "bad"]).form == "texts"
    assert truths(read((["good", "bad"], ["x", None]))) == ["x", None]
    assert read([tmp_path / "a.png"]).form == "images"
    assert read([str(tmp_path / "a.png")]).items[0].value == tmp_path / "a.png"
    assert read([b"some", b"bytes"]).form == "files"
    assert read([Path(__file__)]).form == "files"
    assert read(np.array(["good", "bad"])).form == "texts"
    pictures = [np.zeros((4, 5, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)]
    assert read(pictures).form == "images"
    assert truths(read(([[1.0], [2.0]], [1, 2.5]))) == [1.0, 2.5]
    assert truths(read(({"a": [[1.0]], "b": [[2.0]]}, [True]))) == ["1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "None is neither a path nor an array nor a list"),
        ([], "the list is empty"),
        ([1, "a"], "holds <U21, not numbers"),
        (["a", b"b"], "a list of texts or of paths, not of both"),
        ([[1, 2], [3]], "rows are of different lengths"),
        ([object()], "holds Python objects, not numbers"),
        ((["a", "b"], ["x"]), r"different lengths: \[1, 2\]"),
        ((np.zeros((2, 3)), 5), r"different lengths: \[0, 2\]"),
        (np.zeros((0, 3)), "there are none in it"),
        ([np.zeros((4, 5)), np.zeros((3, 3))], "no samples that can be read"),
    ],
)
def test_what_is_no_samples_is_refused(given, message):
    with pytest.raises(ConversionError, match=message):
        read(given)


def test_classes_may_be_counted_from_elsewhere(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\na,1\nb,2\n")
    assert truths(read(path, label_offset=-1)) == ["0", "1"]
    with pytest.raises(ConversionError, match="--label-offset -2: there is a class '1'"):
        read(path, label_offset=-2)
    named = written(tmp_path / "b.csv", "text,label\na,good\n")
    with pytest.raises(ConversionError, match="there is a class 'good'"):
        read(named, label_offset=1)
