"""Check arrays that a user gives for a model's inputs, and convert them to the model's dtypes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.model.shapes import Dims
from onnxplain.tensors import Array, TensorSpec, in_words


def samples_for(spec: TensorSpec, given: Array) -> Array:
    """The given samples (N, ...) in the dtype of the input.

    Raises:
        OptionError: there is no sample, the rank or the sizes do not fit the input, or a value
            cannot be converted to the input's integer dtype without a change.
    """
    samples = np.asarray(given)
    require_fit(spec, samples)
    return _typed(spec, samples)


def require_fit(spec: TensorSpec, samples: Array) -> None:
    """Check that an array holds samples (N, ...) of the sizes of the input.

    Raises:
        OptionError: there is no sample, the rank or the sizes do not fit the input, or numbers are
            complex.
    """
    if samples.dtype.kind == "c" != spec.dtype.kind:
        raise OptionError(
            f"The input {spec.name!r} takes {spec.dtype}, and the array holds complex numbers: "
            "give real ones, such as their magnitude, or real and imaginary parts as channels."
        )
    rank = samples.ndim if spec.shape is None else len(spec.shape)
    if samples.ndim != rank or not samples.ndim or not len(samples):
        raise OptionError(
            f"The input {spec.name!r} takes {rank} axes, the batch first, and the array has shape "
            f"{samples.shape}."
        )
    declared = (spec.shape or samples.shape)[1:]
    if any(isinstance(d, int) and d != n for d, n in zip(declared, samples.shape[1:], strict=True)):
        sizes = ", ".join("any" if d is None else str(d) for d in declared)
        raise OptionError(
            f"Samples of the input {spec.name!r} are of shape ({sizes}), and those of the array of "
            f"shape {samples.shape[1:]}."
        )


def others_for(
    specs: Iterable[TensorSpec], given: Mapping[str, Array], explained: TensorSpec, count: int = 1
) -> dict[str, Array]:
    """The given values of the inputs in `specs`, by name, in the dtypes and ranks of the inputs.

    A value may lack the batch axis, and a single number fits an input of one element. Where an
    input declares the same batch size as the `explained` one, a value may have one entry for all
    samples, or `count` entries.

    Raises:
        OptionError: a name is not in `specs`, a shape does not fit, or a value cannot be converted
            to the input's integer dtype without a change.
    """
    known = {spec.name: spec for spec in specs}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise OptionError(
            f"There is no input {unknown[0]!r} next to the explained one; "
            f"the model has {', '.join(map(repr, known)) or 'no other'}."
        )
    batch = explained.shape[:1] if explained.shape else ()

    def shaped(name: str, value: Array) -> Array:
        spec = known[name]
        has_batch = batch and (spec.shape or ())[:1] == batch
        return _typed(spec, _shaped(spec, value, {1, count} if has_batch else ()))

    return {name: shaped(name, np.asarray(value)) for name, value in given.items()}


def _shaped(spec: TensorSpec, value: Array, batches: Collection[int]) -> Array:
    """The value with as many axes as the input has; `batches` are also allowed as first size."""
    if spec.shape is None:
        return value
    axes = len(spec.shape)
    one_element = value.size == 1 and value.ndim != axes
    array = value.reshape((1,) * axes) if one_element else value
    array = array[None] if array.ndim == axes - 1 else array
    if array.ndim != axes or not _fits(spec.shape, array.shape, batches):
        alone = f", or {in_words(spec.shape[1:])} for one sample" if axes > 1 else ""
        raise OptionError(
            f"The input {spec.name!r} takes an array of shape {spec.sizes}{alone}, and the value "
            f"has shape {in_words(value.shape)}."
        )
    return array


def _fits(declared: Dims, shape: Dims, batches: Collection[int]) -> bool:
    """Whether an array fits a declared shape; the first axis may be one of `batches`."""
    # A declared 0 is an open dimension.
    misfits = [i for i, d in enumerate(declared) if isinstance(d, int) and d and d != shape[i]]
    return not misfits or (misfits == [0] and shape[0] in batches)


def samples_of(values: Mapping[str, Array], count: int) -> list[Mapping[str, Array]]:
    """The values of each of `count` samples.

    An array whose first axis has `count` entries is split; all samples share any other array.
    """
    own = {name for name, value in values.items() if value.ndim and len(value) == count > 1}
    if not own:
        return [values] * count
    return [
        {name: value[i : i + 1] if name in own else value for name, value in values.items()}
        for i in range(count)
    ]


def is_finite(array: Array) -> bool:
    """Whether no number is NaN or infinite."""
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def joined(arrays: Sequence[Array]) -> Array:
    """The arrays concatenated along the first axis; a single array is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def repeated(array: Array, times: int) -> Array:
    """Each entry of the first axis repeated `times` times; not copied if `times` is 1."""
    return array if times == 1 else np.repeat(array, times, axis=0)


def fill(array: Array, size: int) -> Array:
    """The array padded to `size` samples by repeating the last one."""
    missing = size - len(array)
    return array if not missing else np.concatenate([array, repeated(array[-1:], missing)])


def nearest(values: Array, dtype: np.dtype[Any]) -> Array:
    """The values in a dtype; where it holds integers, the nearest one that it can hold."""
    if dtype.kind in "iu" and values.dtype.kind == "f":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype, copy=False)


def _typed(spec: TensorSpec, array: Array) -> Array:
    if array.dtype == spec.dtype:
        return array
    with np.errstate(invalid="ignore"):
        typed = array.astype(spec.dtype, copy=False)
    if spec.dtype.kind in "iub" and not np.array_equal(typed, array):
        raise OptionError(
            f"The input {spec.name!r} takes {spec.dtype}, and not every value of the {array.dtype} "
            "array is one: round or scale it first."
        )
    return typed
