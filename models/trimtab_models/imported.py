"""A user's own network, data and training loop, by import path. Importable without torch."""

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trimtab_models.datasets.samples import PIXEL_SCALE, Samples, Splits, hold_out, moments
from trimtab_models.errors import DefinitionError

if TYPE_CHECKING:
    from torch import nn

_PATH: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_MOST_CLASSES: Final = 256
_DEFAULT_HELD_OUT_FRAC: Final = 0.2
_PARTS: Final = ("train", "validation", "test")
_KEYS: Final = (*_PARTS, "labels", "scale", "input_name")


@dataclass(frozen=True, slots=True)
class Imported:
    """Something of the user's: ``module:name``, called with ``arguments``."""

    path: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no import path; raise ``ValueError``."""
        check_path(self.path)


def check_path(path: str) -> None:
    """Raise ``ValueError`` unless ``path`` looks like ``package.module:name``."""
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} is no import path like 'package.module:name'")


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules in ``folder`` be imported, first of all, and as they are now, not as they were."""
    root = str(folder.resolve())
    _forget(folder)
    sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(root)
        _forget(folder)


def _forget(folder: Path) -> None:
    for name in list(_modules_in(folder)):
        del sys.modules[name]


def _modules_in(folder: Path) -> dict[str, Path]:
    """Return the loaded modules whose file lies in ``folder``, in order of their names."""
    root = folder.resolve()
    found = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and Path(file).resolve().is_relative_to(root):
            found[name] = Path(file)
    return found


def resolve(path: str, where: str) -> Callable[..., Any]:
    """Return what ``module:name`` stands for; raise ``DefinitionError`` beginning with ``where``."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise DefinitionError(
                f"{where}: no module {missing!r} beside the definition or installed"
            ) from error
        raise DefinitionError(
            f"{where}: module {module_name!r} needs {missing!r}, which is not installed"
        ) from error
    except Exception as error:  # a user's module may raise anything
        raise DefinitionError(f"{where}: importing {module_name!r} failed: {_told(error)}") from error
    if not hasattr(module, name):
        raise DefinitionError(f"{where}: module {module_name!r} ({module.__file__}) has no {name!r}")
    found = getattr(module, name)
    if not callable(found):
        raise DefinitionError(f"{where}: {path} is {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def call(path: str, where: str, *given: Any, arguments: Mapping[str, Any]) -> Any:
    """Call what ``path`` stands for; raise ``DefinitionError`` with what it raised."""
    function = resolve(path, where)
    try:
        return function(*given, **arguments)
    except Exception as error:  # a user's code may raise anything
        raise DefinitionError(f"{where}: {path} failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Return kind, text and, where it is in a user's file, place of an error."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__ and not code.co_filename.startswith("<"):
            place = f" ({Path(code.co_filename).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


def source_digest(folder: Path, extra: Sequence[object] = ()) -> str:
    """Return a digest of every loaded module in ``folder`` and of ``extra``: edited code gives another."""
    digest = hashlib.sha256(repr(tuple(extra)).encode())
    for name, file in _modules_in(folder).items():
        digest.update(f"\0{name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def data_digest(splits: Splits) -> str:
    """Return a digest of all training and held-out samples."""
    digest = hashlib.sha256()
    for samples in (splits.train, splits.validation):
        for values in (samples.inputs, samples.labels):
            digest.update(f"{values.dtype}{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def load_splits(path: str, arguments: Mapping[str, Any], held_out: int, seed: int, where: str) -> Splits:
    """Call a user's data function and return its splits; raise ``DefinitionError``.

    It returns :class:`Splits`, or pairs (inputs, labels) as ``(train, test)``, ``(train, validation, test)`` or a
    mapping of these that may also have ``labels`` (names), ``scale`` and ``input_name``. Without validation
    samples ``held_out`` of the training samples become that, at most a fifth.
    """
    made = call(path, where, arguments=arguments)
    if isinstance(made, Splits):
        return made
    where = f"{where}: {path}"
    parts = _parts(made, where)
    scale = parts.get("scale")
    samples = {name: _samples(parts[name], scale, f"{where}: {name}") for name in _PARTS if name in parts}
    shapes = {name: part.shape for name, part in samples.items()}
    if len(set(shapes.values())) > 1:
        raise DefinitionError(f"{where}: inputs differ in shape: {shapes}")
    if "validation" not in samples:
        count = min(held_out, max(1, int(len(samples["train"]) * _DEFAULT_HELD_OUT_FRAC)))
        samples["train"], samples["validation"] = hold_out(samples["train"], count, seed)
    classes = 1 + max(int(part.labels.max()) for part in samples.values())
    names = tuple(str(name) for name in parts.get("labels", range(classes)))
    if len(names) < max(classes, 2):
        raise DefinitionError(f"{where}: labels go up to {classes - 1}, but there are {len(names)} names")
    mean, std = moments(samples["train"])
    return Splits(
        samples["train"], samples["validation"], samples["test"], names, mean, tuple(s or 1.0 for s in std),
        str(parts.get("input_name", "input")),
    )  # fmt: skip


def _parts(made: object, where: str) -> dict[str, Any]:
    if isinstance(made, Mapping):
        unknown = [str(key) for key in made if key not in _KEYS]
        if unknown or not {"train", "test"} <= set(made):
            raise DefinitionError(f"{where}: returned a mapping of {', '.join(map(str, made))}; known: {', '.join(_KEYS)}, with train and test")  # fmt: skip
        return {str(key): value for key, value in made.items()}
    if isinstance(made, tuple) and len(made) in (2, 3):
        names = _PARTS if len(made) == 3 else ("train", "test")
        return dict(zip(names, made, strict=True))
    raise DefinitionError(
        f"{where}: returned {type(made).__name__}; expected Splits, (train, test), (train, validation, test) or a mapping"
    )


def _samples(pair: object, scale: float | None, where: str) -> Samples:
    """Return a pair (inputs, labels) as samples; raise ``DefinitionError``."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DefinitionError(f"{where}: expected a pair (inputs, labels), got {type(pair).__name__}")
    inputs, labels = (np.asarray(part) for part in pair)
    if inputs.dtype.kind not in "iuf" or inputs.ndim < 2:
        raise DefinitionError(
            f"{where}: inputs are {inputs.dtype} of shape {inputs.shape}; expected numbers (n, ...)"
        )
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        raise DefinitionError(f"{where}: inputs hold values that are not finite")
    if labels.dtype.kind not in "iu" or labels.shape != inputs.shape[:1] or not len(labels):
        raise DefinitionError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}; expected whole numbers ({len(inputs)},)"
        )
    if labels.min() < 0 or labels.max() >= _MOST_CLASSES:
        raise DefinitionError(
            f"{where}: labels go from {labels.min()} to {labels.max()}; at most 0 to {_MOST_CLASSES - 1}"
        )
    factor = scale if scale is not None else PIXEL_SCALE if inputs.dtype == np.uint8 else 1.0
    if inputs.ndim == 4 and inputs.dtype != np.uint8:
        raise DefinitionError(
            f"{where}: images are {inputs.dtype}; give uint8 pixels (n, channels, height, width)"
        )
    stored = inputs.astype(np.float32) if inputs.dtype.kind == "f" else inputs
    return Samples(stored, labels.astype(np.uint8), np.arange(len(labels)), float(factor))


def make_network(imported: Imported, splits: Splits, seed: int, where: str) -> "nn.Module":
    """Return a user's network, seeded and seen to answer with logits; raise ``DefinitionError``."""
    import torch

    torch.manual_seed(seed)
    network: nn.Module = call(imported.path, where, arguments=imported.arguments)
    check_network(network, splits, f"{where}: {imported.path}")
    return network


def check_network(network: Any, splits: Splits, where: str) -> None:
    """Run a forward pass on two samples; raise ``DefinitionError`` unless logits (2, classes) come out."""
    import torch
    from torch import Tensor, nn

    if not isinstance(network, nn.Module):
        raise DefinitionError(f"{where}: returned {type(network).__name__}, not a torch.nn.Module")
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            logits = network(torch.from_numpy(splits.train.take(np.arange(2)).tensors()))
    except Exception as error:  # a user's code may raise anything
        raise DefinitionError(
            f"{where}: fails on an input of shape {[2, *splits.shape]}: {_told(error)}"
        ) from error
    network.train(training)
    if not isinstance(logits, Tensor):
        raise DefinitionError(f"{where}: answers with {type(logits).__name__}; expected one tensor of logits")
    if tuple(logits.shape) != (2, splits.classes) or not logits.is_floating_point():
        raise DefinitionError(
            f"{where}: answers with {logits.dtype} of shape {list(logits.shape)}; expected float logits [2, {splits.classes}]"
        )


def train(
    imported: Imported, network: "nn.Module", splits: Splits, offered: Mapping[str, Any], where: str
) -> "nn.Module":
    """Let a user's loop train ``network``; return what it returns, or ``network`` if nothing.

    It is called as ``loop(network, splits, **arguments)`` and gets those of ``offered`` it has parameters for.
    """
    known = inspect.signature(resolve(imported.path, where)).parameters
    wanted = {name: value for name, value in offered.items() if name in known}
    returned = call(imported.path, where, network, splits, arguments=wanted | imported.arguments)
    trained: nn.Module = network if returned is None else returned
    check_network(trained, splits, f"{where}: {imported.path}")
    trained.eval()
    return trained
