"""Formats that are recognised and not read, each with what to do instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Bytes from the start of a file that tell a format: a tar archive says so at byte 257, text in its first lines.
HEAD_BYTES = 4096

SAVE_AS = "safetensors.torch.save_file({'embedding.weight': %s}, 'vectors.safetensors')"
CONVERT = "Convert it: "
# DTensor and ShardedTensor.
SAVE_WHOLE = (
    "Save it whole, from all workers: torch.save(get_model_state_dict(model, options=StateDictOptions("
    "full_state_dict=True, cpu_offload=True)), path), both of torch.distributed.checkpoint.state_dict."
)
# torch.save before 1.6 writes this number first.
OLD_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
GENSIM_LINE = (
    "Convert it where you trust it: vectors = gensim.models.KeyedVectors.load(path).vectors; "
    + SAVE_AS % "torch.tensor(vectors)"
)

# First bytes -> what the file is, and what to do about it. The first that fits.
SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "is a git-lfs pointer, not the file itself",
        "Fetch the file with `git lfs pull`.",
    ),
    (
        OLD_TORCH,
        "was written by torch.save before torch 1.6, or in its old format",
        "Convert it: torch.save(torch.load(path, weights_only=True, map_location='cpu'), new_path)",
    ),
    (
        b"GGUF",
        "is a GGUF file",
        "Convert it with the package gguf: GGUFReader(path).tensors, and dequantize(data, type).",
    ),
    (b"\x89HDF", "is an HDF5 file", "Convert it: " + SAVE_AS % "torch.tensor(h5py.File(path)[NAME][:])"),
    (b"PAR1", "is a Parquet file", "Convert it: " + SAVE_AS % "torch.tensor(pandas.read_parquet(path).to_numpy())"),
    (b"ARROW1", "is an Arrow file", "Convert it: " + SAVE_AS % "torch.tensor(pandas.read_feather(path).to_numpy())"),
    (b"MATLAB 5.0", "is a MATLAB file", "Convert it: " + SAVE_AS % "torch.tensor(scipy.io.loadmat(path)[NAME])"),
    (b"SQLite format 3", "is an SQLite database", "Name the file that holds the tensors."),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Unpack it first: `unzstd`."),
    (b"<!doctype", "is an HTML page, probably an error page of the server", "Download the file again."),
    (b"<html", "is an HTML page, probably an error page of the server", "Download the file again."),
    (b"<?xml", "is an XML page, probably an error message of the server", "Download the file again."),
    (b"{", "is JSON, not tensors", "Name the file that holds the tensors."),
)

DISTRIBUTED_LINE = "Convert its folder: `python -m torch.distributed.checkpoint.format_utils dcp_to_torch %s model.pt`."
# Endings of files whose content tells nothing, or as much as another's.
ENDINGS: tuple[tuple[str, str, str], ...] = (
    (r"\.distcp", "is a part of a distributed checkpoint", DISTRIBUTED_LINE % "FOLDER"),
    (
        r"\.data-\d+-of-\d+|\.ckpt\.(index|meta)|\.index",
        "is a part of a TensorFlow checkpoint",
        "Convert it: " + SAVE_AS % "torch.tensor(tensorflow.train.load_checkpoint(prefix).get_tensor(NAME))",
    ),
    (r"\.pb|\.tflite", "is a TensorFlow graph", "Name the checkpoint with its variables."),
)

# Members of zip archives that torch.save did not write.
MEMBERS: tuple[tuple[str, str, str], ...] = (
    (
        r"model\.weights\.h5",
        "is a Keras model",
        "Unpack it, and convert its model.weights.h5: " + SAVE_AS % "torch.tensor(h5py.File(path)[NAME][:])",
    ),
)
# Endings of files that a folder may hold for us.
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl")
NAMED_MAX = 3


def tell_folder(path: Path) -> tuple[str, str]:
    """Tell what a folder holds, and what to do about it."""
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    except OSError:
        names = []
    if any(name.endswith(".distcp") for name in names):
        return "is a folder with a distributed checkpoint", DISTRIBUTED_LINE % path
    files = [str(path / name) for name in names if name.endswith(CHECKPOINTS)]
    if not files:
        return "is a folder", "Name a checkpoint file."
    more = f" or {len(files) - NAMED_MAX} more" if len(files) > NAMED_MAX else ""
    return "is a folder", f"Name the checkpoint file in it: {', '.join(files[:NAMED_MAX])}{more}."


def converting_line(name: str, value: str, *, loading: str, saving: str = "torch.save(t, 'converted.pt')") -> str:
    """Give the line that loads a state dict, puts another value in the place of one of its tensors, and saves it.

    Args:
        name: of the tensor.
        value: an expression, with %s where the tensor stands.
        loading: the expression that loads the state dict; empty where none gives it by its names.
        saving: the statement that saves `t`.
    """
    if not loading:
        return f"Load the file where you trust it, make floats of {name!r}, and save it again."
    place = f"t[{name!r}]"
    return f"{CONVERT}t = {loading}; {place} = {value.replace('%s', place)}; {saving}"


def tell_arrays(path: str, *, is_dict: bool, is_list: bool, are_rows: bool, are_ids: bool) -> str:
    """Give the line that makes tensors of the NumPy arrays in a file of torch.save.

    Args:
        path: of the file.
        is_dict: whether they are the values of a dict.
        is_list: whether they are the items of a list.
        are_rows: whether each is a vector as long as the others, so that together they are one table.
        are_ids: whether the keys are integers.
    """
    loading = f"torch.load({path!r}, weights_only=False)"
    if is_dict and are_rows:
        rows = "[t[key] for key in sorted(t)]" if are_ids else "list(t.values())"
        made = f"{{'embedding.weight': torch.tensor(numpy.stack({rows}))}}"
    elif is_dict or is_list:
        pairs = "t.items()" if is_dict else "enumerate(t)"
        made = f"{{str(key): torch.tensor(one) for key, one in {pairs} if isinstance(one, numpy.ndarray)}}"
    else:
        made = "{'embedding.weight': torch.tensor(t)}"
    return f"Convert it where you trust it: t = {loading}; torch.save({made}, 'converted.pt')"


def tell_archive(members: Iterable[str]) -> tuple[str, str]:
    """Tell what a zip archive is that torch.save did not write, and what to do about it."""
    for member in members:
        for pattern, what, hint in MEMBERS:
            if re.search(f"{pattern}$", member):
                return what, hint
    return (
        "is a zip archive without data.pkl, so torch.save did not write it",
        "If it is an archive of checkpoints, unpack it first.",
    )


def tell_ending(path: Path) -> tuple[str, str] | None:
    """Tell what a file is by its name alone; None where that tells nothing."""
    return next(((what, hint) for ending, what, hint in ENDINGS if re.search(f"({ending})$", path.name)), None)


def tell_unread(path: Path, head: bytes) -> tuple[str, str] | None:
    """Tell what a file is that no reader takes, and what to do about it; None where nothing tells.

    Args:
        path: of the file.
        head: its first HEAD_BYTES bytes.
    """
    # Servers write <!DOCTYPE in either case, some after an empty line.
    start = head.lstrip().lower()
    for signature, what, hint in SIGNATURES:
        if head.startswith(signature) or (signature[:1] in b"<{v" and start.startswith(signature.lower())):
            return what, hint
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _tell_pickle(head)
    if head[257:262] == b"ustar":
        return "is a tar archive", "Unpack it first: `tar -xf`."
    # The first fields of ONNX's ModelProto: the version of the format, then the producer's name or the graph.
    if re.match(rb"\x08[\x01-\x10][\x12:\x1a]", head):
        return (
            "is an ONNX model",
            "Convert it: onnx.numpy_helper.to_array() of each of onnx.load(path).graph.initializer.",
        )
    # A map of one to fifteen keys that are text.
    if re.match(rb"[\x81-\x8f][\xa1-\xbf\xd9][a-zA-Z]", head):
        return (
            "is a msgpack file, as Flax writes it",
            "Convert it: flax.serialization.msgpack_restore(open(path, 'rb').read()), then safetensors.flax.save_file.",
        )
    return tell_ending(path)


def _tell_pickle(head: bytes) -> tuple[str, str]:
    if b"numpy" in head:
        return (
            "is a pickle of NumPy arrays outside a zip archive",
            "Convert it where you trust it: "
            + SAVE_AS % "torch.tensor(numpy.stack(list(vectors.values())))"
            + " of a dict of one vector for each id, torch.tensor(array) of a matrix",
        )
    return (
        "is a pickle outside a zip archive (pickle.dump or joblib)",
        "Load it where you trust it and save its state_dict with torch.save or safetensors.",
    )
