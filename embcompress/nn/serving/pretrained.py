"""Folders of Hugging Face models that hold compressed tables: what `save_pretrained` wrote, or `approximate`."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.artifact.dense_tensors import read_whole
from embcompress.artifact.folder_writer import SHARD_METADATA
from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import is_artifact, read_artifact
from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.exceptions import CheckpointError, TableError
from embcompress.nn.serving.apply import load_model
from embcompress.nn.serving.state_dicts import apply_state_dict, dense_state_dict, place_tables
from embcompress.nn.serving.ties import CONFIG_ENTRY
from embcompress.nn.table_states import find_marks, find_table_states, multiply_out, table_state
from embcompress.tables.rows import tensor_bytes
from embcompress.text import named

# Files of the folders of transformers and sentence-transformers.
MODULES_NAME, WEIGHTS_NAME, GENERATION_NAME = "modules.json", "model.safetensors", "generation_config.json"


def from_pretrained(path: str | Path, *, model_class: Any = None, dense: bool = False, **options: Any) -> Any:
    """Load a model of transformers or sentence-transformers from a folder with compressed tables.

    Reads what `save_pretrained` of a model after `apply_to` wrote, a checkpoint of transformers' Trainer, what
    SentenceTransformer.save wrote, and a folder that `embcompress approximate FOLDER` wrote. Their own from_pretrained
    raises at such a folder. While the model is made, transformers draws each table once as a dense one.

    Args:
        path: the folder.
        model_class: a class of transformers; default: the one that config.json names.
        dense: multiply the tables out: the model has dense tables, and can be saved as any other.
        options: passed on to `from_pretrained` of transformers, or to SentenceTransformer.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError, ArtifactError: not readable.
        TableError: no folder of such a model, or one with no compressed table; a tensor is missing.

    Example:
        >>> model.save_pretrained("tuned")  # after apply_to  # doctest: +SKIP
        >>> model = from_pretrained("tuned")  # doctest: +SKIP
    """
    folder = Path(path)
    if (folder / MODULES_NAME).is_file():
        return _load_sentence_transformer(folder, dense=dense, options=options)
    with open_checkpoint(folder) as checkpoint:
        config = _read_config(folder)
        own_class = model_class or _class_of(config, folder)
        if is_artifact(checkpoint):
            check_expansion(read_artifact(checkpoint), is_allowed=False)
            return _load_artifact(folder, own_class, dense=dense, options=options)
        tensors, rest = _read_tensors(checkpoint)
    if not tensors and CONFIG_ENTRY not in config:
        raise TableError(
            f"{folder} holds no compressed tables.", hint="Load it with from_pretrained of transformers itself."
        )
    transformers = _import("transformers", folder)
    options = {"config": transformers.AutoConfig.from_pretrained(folder), **options}
    with _quiet_transformers():
        model, told = own_class.from_pretrained(None, state_dict=rest, output_loading_info=True, **options)
    _read_generation(model, folder)
    served = set(place_tables(model, tensors, dense=dense))
    lost = sorted({*told["missing_keys"]} - served)
    own = dict(model.named_parameters(remove_duplicate=False))
    kept = {id(own[name]) for name in served if name in own}
    if lost := [name for name in lost if name not in own or id(own[name]) not in kept]:
        raise TableError(f"{folder} lacks {len(lost)} of the tensors that the model needs: {named(lost)}.")
    if dense:
        _forget(model)
    return model


def _load_artifact(folder: Path, own_class: Any, *, dense: bool, options: dict[str, Any]) -> Any:
    """Load a folder that `approximate` wrote: all tensors lie in the artifact.

    Raises:
        TableError: options, which only transformers' own loader understands.
    """
    transformers = _import("transformers", folder)
    if options:
        raise TableError(
            f"{folder} was written by `embcompress approximate`, and is loaded without {named(sorted(options))}.",
            hint="Save the model with save_pretrained once; that folder is loaded with options.",
        )
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = own_class._from_config(config) if hasattr(own_class, "_from_config") else own_class.from_config(config)
    load_model(model, folder)
    if dense:
        with torch.device("meta"):
            plain = type(model)(config)
        model = apply_state_dict(plain, dense_state_dict(model))
        _forget(model)
    _read_generation(model, folder)
    return model.eval()


def _read_generation(model: Any, folder: Path) -> None:
    """Give a model what its folder says of how it generates, which transformers reads where it reads the weights."""
    if (folder / GENERATION_NAME).is_file() and model.can_generate():
        model.generation_config = _import("transformers", folder).GenerationConfig.from_pretrained(folder)


def _load_sentence_transformer(folder: Path, *, dense: bool, options: dict[str, Any]) -> Any:
    """Load a folder of sentence-transformers, of whose modules one or more hold compressed tables."""
    library = _import("sentence_transformers", folder)
    tensors: dict[str, Tensor] = {}
    with TemporaryDirectory(prefix="embcompress-") as name, _quiet_transformers():
        # Its loader takes no state dict: it gets a copy of the folder with dense tables.
        copy = Path(name).resolve() / "model"
        shutil.copytree(folder, copy)
        for module in json.loads((folder / MODULES_NAME).read_text(encoding="utf-8")):
            path = (copy / module["path"]).resolve()
            if not path.is_relative_to(copy):
                raise TableError(f"{MODULES_NAME} in {folder} names {module['path']!r}, which lies outside the folder.")
            tensors |= _write_dense(path)
        if not tensors:
            raise TableError(f"{folder} holds no compressed tables.", hint="Load it with SentenceTransformer(folder).")
        model = library.SentenceTransformer(str(copy), **options)
    if dense:
        _forget(model)
    else:
        place_tables(model, tensors)
    return model


def _read_tensors(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Read a folder's state dict: the tensors of compressed tables with their marks, and the others."""
    tensors = {stored.name: read_whole(checkpoint, stored) for stored in checkpoint.tensors}
    states = find_table_states(tensors)
    names = {*find_marks(tensors), *(state.prefix + name for state in states for name in state.names)}
    tables = {name: tensors.pop(name) for name in names}
    return tables, tensors


def _write_dense(folder: Path) -> dict[str, Tensor]:
    """Write the one safetensors file of a folder anew with dense tables, and return what they were multiplied out of.

    Raises:
        TableError: it is an artifact.
    """
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        return {}
    with open_checkpoint(path) as checkpoint:
        if is_artifact(checkpoint):
            raise TableError(
                f"{folder.name} holds an artifact, which sentence-transformers does not load.",
                hint="Load the original model, use embcompress.apply_to, and save it.",
            )
        tables, rest = _read_tensors(checkpoint)
    if tables:
        rest |= {state.mark: multiply_out(table_state(tables, state)) for state in find_table_states(tables)}
        entries = {
            Entry(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)): tensor
            for name, tensor in rest.items()
        }
        with SafetensorsWriter(path, list(entries), metadata=SHARD_METADATA) as writer:
            for entry in writer.entries:
                writer.write(entry, [tensor_bytes(entries[entry])])
            writer.finish(SHARD_METADATA)
            writer.commit()
    return tables


def _read_config(folder: Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
        CheckpointError: there is none, or it is no JSON object.
    """
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise CheckpointError(f"{folder} holds no config.json that can be read ({err}).") from err
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.json'} is no JSON object.")
    return config


def _class_of(config: dict[str, Any], folder: Path) -> Any:
    """Find the class that config.json names.

    Raises:
        TableError: it names none that transformers has.
    """
    transformers = _import("transformers", folder)
    names = config.get("architectures")
    found = getattr(transformers, str(names[0]), None) if isinstance(names, list) and names else None
    if found is None:
        raise TableError(
            f"config.json in {folder} names the architectures {names}, of which transformers has none.",
            hint="Name the class: from_pretrained(folder, model_class=...).",
        )
    return found


def _forget(model: nn.Module) -> None:
    """Take our entry out of the configurations of a model whose tables are dense again."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, CONFIG_ENTRY):
            delattr(config, CONFIG_ENTRY)


def _import(name: str, folder: Path) -> Any:
    """Import a library that models come from.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        package = name.replace("_", "-")
        raise CheckpointError(
            f"{folder} holds a model of {package}, which is not installed.", hint=f"pip install {package}"
        ) from err


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from reporting that tables have another size: they are put in place next."""
    logging = importlib.import_module("transformers").logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
