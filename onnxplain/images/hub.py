"""Preprocessing from the configuration files of Hugging Face transformers and of timm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxplain.errors import PreprocessError
from onnxplain.images.files import Config, JsonObject, find_configs
from onnxplain.images.geometry import Size
from onnxplain.images.metadata import Found

Settings = dict[str, Any]

# By Pillow's numbers of the filters.
_PILLOW_FILTERS: Final = dict(
    enumerate("nearest antialias-lanczos antialias-bilinear antialias-bicubic area".split())
)
_TIMM_FILTERS: Final = {"nearest": "nearest"} | {
    name: f"antialias-{name}" for name in ("bilinear", "bicubic", "lanczos")
}
# An old configuration may give `size` as one number. In these families it is the short side, in
# the others both sides of a square.
_SHORT_SIDE_FAMILIES: Final = tuple(
    "Bit CLIP ChineseCLIP ConvNext Levit MobileNet MobileViT PoolFormer".split()
)
_CONVNEXT_STRETCHES_FROM: Final = 384
DEFAULT_CROP: Final = 0.875
"""The side of a center crop, relative to the short side of the resized picture."""


def read_hub_config(model_path: Path | None) -> Found | None:
    """Read `preprocessor_config.json` near the model, else the `config.json` of timm.

    None if there is neither. Raises PreprocessError for a file that cannot be used.
    """
    for name, reader in (("preprocessor_config.json", _transformers), ("config.json", _timm)):
        for config in find_configs(model_path, name):
            settings = _follow(config, reader)
            if settings is not None:
                return Found(settings, config.title)
    return None


def _follow(config: Config, reader: Callable[[JsonObject], Settings | None]) -> Settings | None:
    try:
        return reader(config.content)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise PreprocessError(
            f"{config.path} cannot be used ({type(error).__name__}: {error}): "
            "describe the preprocessing in a sidecar file, which is used instead."
        ) from error


def _transformers(config: Mapping[str, Any]) -> Settings:
    resample = config.get("resample")
    resample = 2 if resample is None else resample
    if resample not in _PILLOW_FILTERS:
        raise ValueError(f"Pillow's filter {resample} is not supported")
    channels = {"channels": "BGR"} if config.get("do_flip_channel_order") else {}
    return {
        "interpolation": _PILLOW_FILTERS[resample],
        **channels,
        **_framing(config),
        **_normalization(config),
    }


def _framing(config: Mapping[str, Any]) -> Settings:
    crop = _square(config["crop_size"]) if config.get("do_center_crop") else None
    if not config.get("do_resize", True):
        if crop:
            raise ValueError("a crop without a resize is not supported")
        return {"size": None}
    family = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    size = config["size"]
    if isinstance(size, int):
        short_side = family.startswith(_SHORT_SIDE_FAMILIES)
        size = {"shortest_edge": size} if short_side else {"height": size, "width": size}
    size = {name: side for name, side in size.items() if side is not None}
    if set(size) == {"height", "width"}:
        stretched = _square(size)
        if crop:
            return {"fit": "crop", "size": crop, "resize": stretched}
        return {"fit": "stretch", "size": stretched}
    if set(size) != {"shortest_edge"}:
        raise ValueError(f"a size by {', '.join(size)} is not supported")
    return _short_side(family, size["shortest_edge"], crop, config.get("crop_pct"))


def _short_side(family: str, short: int, crop: Size | None, crop_pct: float | None) -> Settings:
    """Framing if `size` is the short side, with the special rules of a few families."""
    if family.startswith("ConvNext"):
        if short >= _CONVNEXT_STRETCHES_FROM:
            return {"fit": "stretch", "size": (short, short)}
        crop, crop_pct = (short, short), crop_pct or DEFAULT_CROP
    resize = int(short / crop_pct) if crop_pct else short
    if family.startswith("Levit"):
        resize = int(256 / 224 * short)
    if crop:
        return {"fit": "crop", "size": crop, "resize": resize}
    return {"fit": "stretch", "size": None, "resize": resize}


def _square(size: int | Mapping[str, int]) -> Size:
    return (size, size) if isinstance(size, int) else (size["height"], size["width"])


def _normalization(config: Mapping[str, Any]) -> Settings:
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        return {"scale": scale}
    mean, std = (np.atleast_1d(config[key]).astype(float) for key in ("image_mean", "image_std"))
    if config.get("rescale_offset"):  # (v - 127.5) * scale
        mean = mean + 127.5 * scale
    if config.get("include_top"):  # EfficientNet divides by its std a second time
        std = std**2
    return {"scale": scale, "mean": mean, "std": std}


def _timm(config: Mapping[str, Any]) -> Settings | None:
    details = config.get("pretrained_cfg", config)
    if not {"input_size", "mean", "std"} <= details.keys():
        return None
    _, height, width = details["input_size"]
    crop_pct = details.get("crop_pct") or DEFAULT_CROP
    resize = math.floor(height / crop_pct), math.floor(width / crop_pct)
    mode = details.get("crop_mode") or "center"
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise ValueError(f"crop mode {mode!r} to {height} x {width} is not supported")
    return {
        "fit": "crop",
        "size": (height, width),
        "resize": resize if mode == "squash" else resize[0],
        "interpolation": _TIMM_FILTERS[details.get("interpolation") or "bilinear"],
        "scale": 1 / 255,
        "mean": details["mean"],
        "std": details["std"],
    }
