"""From a preprocessor_config.json to the steps that prepare images, and a signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import ConversionError
from wherever_convert.hugging import Folder, Promise
from wherever_convert.hugging.said import Said, listed
from wherever_convert.hugging.texts import scored

if TYPE_CHECKING:
    from wherever_contracts.tensors import TensorSpec

_INPUT = {"name": "image", "kind": "image"}
# Pillow's numbers for its ways to resize -> the step's names for them.
_RESIZES = {0: "nearest", 1: "lanczos", 2: "antialias", 3: "antialias_cubic"}
_LINEAR, _CUBIC = 2, 3
# What these resize with where their file does not say.
_CUBIC_BY_DEFAULT = ("CLIP", "SigLIP", "DeiT", "Bit", "LeViT", "Levit", "Blip")
# The shorter side of ConvNeXt's images is this many times the crop, up to this size.
_CONVNEXT, _CONVNEXT_SIDE, _CONVNEXT_SHARE = "ConvNext", 384, 224 / 256
# A number given as `size` means the shorter side for these, a square for the others.
_BY_SHORTER_SIDE = (
    "CLIP",
    "ConvNext",
    "Bit",
    "LeViT",
    "Levit",
    "MobileNetV1",
    "MobileNetV2",
    "MobileViT",
)
# As much of the middle as `keep` can say, short of 1, which would stretch the whole image.
_ALL_OF_THE_MIDDLE = 0.999999
_VECTORS = ("image_embeds", "pooler_output")


class _Frame(NamedTuple):
    """How an image fills the tensor: `size` of the tensor; perhaps a crop before, and `keep`."""

    size: tuple[int, int]
    crop: tuple[float, float] | None = None
    keep: float = 1.0


def classifier_of_images(
    folder: Folder, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Promise:
    """A signature with a label, and the steps: pixels, softmax, confidence.

    Raises:
        ConversionError: the file or the settings are of no classifier that is supported.
    """
    named = [each for each in outputs if each.name == "logits"] or [*outputs]
    if len(named) != 1 or len(named[0].shape) != 2:
        raise ConversionError(
            f"{folder.name}: the ONNX file gives {listed([each.name for each in outputs])}; a "
            f"classifier gives one output, float32 [rows, classes]"
        )
    signature, post = scored(folder.config, named[0].name, named[0].shape[-1])
    return Promise(
        {"inputs": [_INPUT], **signature}, {"pre": _pixels(folder, inputs), "post": post}
    )


def embedder_of_images(
    folder: Folder, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Promise:
    """A signature with a vector: the pooled one where the file has it, else the first token's.

    Raises:
        ConversionError: the file gives no vector.
    """
    by_name = {each.name: each for each in outputs}
    named = [by_name[name] for name in _VECTORS if name in by_name]
    others = [each for each in outputs if len(each.shape) in (2, 3)]
    vectors = next((each for each in (*named, *others) if len(each.shape) > 1), None)
    if vectors is None:
        raise ConversionError(
            f"{folder.name}: the ONNX file gives {listed([f'{e.name} {e}' for e in outputs])}, and "
            f"no vector ({', '.join(_VECTORS)}, or one for each patch)"
        )
    post: list[dict[str, Any]] = [{"op": "first_row", "name": vectors.name, "to": "embedding"}]
    if len(vectors.shape) == 3:
        post.append({"op": "first_row", "name": "embedding"})
    elif len(vectors.shape) == 4:
        post.append({"op": "reshape", "name": "embedding", "shape": [-1]})
    length = vectors.shape[1] if len(vectors.shape) == 4 else vectors.shape[-1]
    signature = {
        "inputs": [_INPUT],
        "outputs": [{"name": "embedding", "dtype": "float32", "shape": [length]}],
        "value": {"kind": "embedding", "vector": "embedding"},
    }
    return Promise(signature, {"pre": _pixels(folder, inputs), "post": post})


def _pixels(folder: Folder, inputs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """The steps that make the tensor of an image."""
    said = folder.images
    if not said:
        raise ConversionError(
            f"{folder.name} has no preprocessor_config.json, which says how images are prepared"
        )
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype != "float32":
        found = listed([f"{each.name} {each}" for each in inputs])
        raise ConversionError(
            f"{folder.name}: the ONNX file takes {found}; a model of images takes one input, "
            f"float32 [rows, channels, height, width]"
        )
    frame = _framed(said, inputs[0].shape)
    order = _order(said, inputs[0].shape[1])
    step = {
        "op": "image_tensor",
        "name": "image",
        "to": inputs[0].name,
        "size": [*frame.size],
        "resize": _resize(said),
        "keep": frame.keep,
        **({} if order == "rgb" else {"order": order}),
        **_numbers(said),
    }
    return [step] if frame.crop is None else [_crop(*frame.crop), step]


def _framed(said: Said, shape: Sequence[int]) -> _Frame:
    frame = _frame(said, shape)
    for given, wanted in zip(shape[2:], frame.size, strict=True):
        if given not in (-1, wanted):
            raise ConversionError(
                f"{said.file}: images become {_by(frame.size)}, and the ONNX file takes "
                f"{_by(tuple(shape[2:]))}"
            )
    return frame


def _frame(said: Said, shape: Sequence[int]) -> _Frame:
    crop = _area(said, "crop_size") if said.flag("do_center_crop", default=False) else None
    if not said.flag("do_resize", default=True):
        fixed = (shape[2], shape[3])
        if min(fixed) > 0 and crop is None:
            return _Frame(fixed)
        raise ConversionError(f"{said.file}: do_resize is false, and images come in all sizes")
    side = _shorter_side(said)
    if side is not None:
        return _from_shorter_side(said, side, crop)
    area = _area(said, "size")
    if area is None:
        raise ConversionError(f"{said.file}: size must say height and width, or shortest_edge")
    if crop is None or crop == area:
        return _Frame(area)
    _refuse_larger(said, crop, area)
    return _Frame(crop, (crop[0] / area[0], crop[1] / area[1]))


def _from_shorter_side(said: Said, side: int, crop: tuple[int, int] | None) -> _Frame:
    """Resized until the shorter side is so long, and the middle of that."""
    kind = _kind(said)
    if _CONVNEXT in kind:
        if side >= _CONVNEXT_SIDE:
            return _Frame((side, side))
        share = said.number("crop_pct") or _CONVNEXT_SHARE
        if not 0 < share <= 1:
            raise ConversionError(
                f"{said.file}: crop_pct must be above 0 and at most 1, not {share}"
            )
        return _Frame((side, side), keep=side / int(side / share))
    if kind.lower().startswith("levit"):
        side = int(256 / 224 * side)
    if crop is None:
        raise ConversionError(
            f"{said.file}: images keep their aspect (shortest_edge {side}) and are not cropped, so "
            f"that every one makes a tensor of another size; that is not supported"
        )
    _refuse_larger(said, crop, (side, side))
    return _Frame(crop, keep=min(max(crop) / side, _ALL_OF_THE_MIDDLE))


def _refuse_larger(said: Said, crop: tuple[int, int], area: tuple[int, int]) -> None:
    if crop[0] > area[0] or crop[1] > area[1]:
        raise ConversionError(
            f"{said.file}: crops of {_by(crop)} out of images of {_by(area)} are padded, which is "
            f"not supported"
        )


def _shorter_side(said: Said) -> int | None:
    """The length of the shorter side, where images keep their aspect."""
    size = said.raw("size")
    if isinstance(size, dict):
        return said.part("size").count("shortest_edge")
    by_side = any(_kind(said).startswith(name) for name in _BY_SHORTER_SIDE)
    return said.count("size") if by_side else None


def _area(said: Said, key: str) -> tuple[int, int] | None:
    """Height and width; a number means a square."""
    value = said.raw(key)
    if not isinstance(value, dict):
        side = said.count(key)
        return None if side is None else (side, side)
    part = said.part(key)
    height, width = part.count("height"), part.count("width")
    return None if height is None or width is None else (height, width)


def _crop(rows: float, columns: float) -> dict[str, Any]:
    """The middle: so much of the height and of the width."""
    left, top = (1 - columns) / 2, (1 - rows) / 2
    return {"op": "crop", "name": "image", "shares": [left, top, 1 - left, 1 - top]}


def _resize(said: Said) -> str:
    cubic = _kind(said).startswith(_CUBIC_BY_DEFAULT)
    number = said.number("resample")
    chosen = (_CUBIC if cubic else _LINEAR) if number is None else int(number)
    if chosen not in _RESIZES:
        known = ", ".join(f"{each} ({name})" for each, name in _RESIZES.items())
        raise ConversionError(
            f"{said.file}: resample {chosen} is not supported; supported: {known}"
        )
    return _RESIZES[chosen]


def _numbers(said: Said) -> dict[str, Any]:
    """What becomes of a value from 0 to 255: (v * scale - mean) / std."""
    if said.flag("rescale_offset", default=False):
        raise ConversionError(f"{said.file}: rescale_offset is not supported")
    scale = said.number("rescale_factor") if said.flag("do_rescale", default=True) else 1.0
    numbers: dict[str, Any] = {"scale": 1 / 255 if scale is None else scale}
    if said.flag("do_normalize", default=True):
        for key, name in (("mean", "image_mean"), ("std", "image_std")):
            given = said.numbers(name)
            if given is None:
                raise ConversionError(f"{said.file}: do_normalize needs {name}, which is not there")
            numbers[key] = given
    return numbers


def _order(said: Said, channels: int) -> str:
    if channels == 1:
        return "grey"
    if channels not in (3, -1):
        raise ConversionError(f"the ONNX file takes {channels} channels; images have 3, or 1")
    return "bgr" if said.flag("do_flip_channel_order", default=False) else "rgb"


def _kind(said: Said) -> str:
    return said.text("image_processor_type") or said.text("feature_extractor_type")


def _by(area: tuple[int, ...]) -> str:
    return " x ".join("any" if each < 0 else str(each) for each in area)
