"""Formats that are recognised and not read, each with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

SAVE_AS = "safetensors.torch.save_file({'embedding.weight': %s}, 'vectors.safetensors')"
CONVERT = "Convert it: "
# DTensor and ShardedTensor.
SAVE_WHOLE = (
    "Save it whole, from all workers: torch.save(get_model_state_dict(model, options=StateDictOptions("
    "full_state_dict=True, cpu_offload=True)), path), both of torch.distributed.checkpoint.state_dict."
)
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
    (b"PARE", "is an encrypted Parquet file", "Decrypt it first: pyarrow.parquet.read_table with its keys."),
    (
        b"FEA1",
        "is a Feather file of version 1",
        "Convert it: pyarrow.feather.write_feather(pyarrow.feather.read_table(path), new_path)",
    ),
    (b"MATLAB 5.0", "is a MATLAB file", "Convert it: " + SAVE_AS % "torch.tensor(scipy.io.loadmat(path)[NAME])"),
    (b"SQLite format 3", "is an SQLite database", "Name the file that holds the tensors."),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Unpack it first: `unzstd`."),
    (b"<!doctype", "is an HTML page, probably an error page of the server", "Download the file again."),
    (b"<html", "is an HTML page, probably an error page of the server", "Download the file again."),
    (b"<?xml", "is an XML page, probably an error message of the server", "Download the file again."),
    (b"{", "is JSON, not tensors", "Name the file that holds the tensors."),
)

# Endings of files whose content tells nothing, or as much as another's.
ENDINGS: tuple[tuple[str, str, str], ...] = (
    (r"\.distcp", "is a part of a distributed checkpoint", "Name the folder that it lies in."),
    (r"\.metadata", "is the index of a distributed checkpoint", "Name the folder that it lies in."),
    (
        r"\.data-\d+-of-\d+|\.ckpt\.(index|meta)|\.index",
        "is a part of a TensorFlow checkpoint",
        "Convert it: " + SAVE_AS % "torch.tensor(tensorflow.train.load_checkpoint(prefix).get_tensor(NAME))",
    ),
    (r"\.pb|\.tflite", "is a TensorFlow graph", "Name the checkpoint with its variables."),
)

# Endings of files that a folder may hold for us.
CHECKPOINTS = (
    ".safetensors",
    ".pt",
    ".pth",
    ".bin",
    ".ckpt",
    ".pkl",
    ".gguf",
    ".h5",
    ".hdf5",
    ".keras",
    ".parquet",
    ".arrow",
)
NAMED_MAX = 3


def tell_folder(path: Path) -> tuple[str, str]:
    """Tell what a folder holds, and what to do about it."""
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    except OSError:
        names = []
    if any(name.endswith(".distcp") for name in names):
        return "is a folder with parts of a distributed checkpoint and no .metadata", "Copy the folder whole."
    if ".metadata" in names:
        return "is a folder with the index of a distributed checkpoint and none of its parts", "Copy the folder whole."
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
    item = f"t[{name!r}]"
    return f"{CONVERT}t = {loading}; {item} = {value.replace('%s', item)}; {saving}"


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
    if head[257:262] == b"ustar":
        return _tell_tar(head)
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


def _tell_tar(head: bytes) -> tuple[str, str]:
    if re.match(rb"(sys_info|pickle|tensors|storages)\0", head):
        return (
            "was written by torch.save before torch 0.1.10",
            "Convert it where you trust it: torch.save(torch.load(path, weights_only=False), new_path)",
        )
    return "is a tar archive", "Unpack it first: `tar -xf`."
