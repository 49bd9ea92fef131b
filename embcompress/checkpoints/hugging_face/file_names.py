"""The files of a Hugging Face folder, told by their names: weights, their index, and what belongs to the model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

# Between a subfolder and the name of a tensor in it. No folder has one in its name, so that no two are taken for one.
SEPARATOR = "/"

# Stems of files of weights; of two the first counts: a model beside its adapter is the model.
STEMS = ("model", "pytorch_model", "diffusion_pytorch_model", "adapter_model")
INDEX = re.compile(r"(?P<file>.+)\.index(\.[\w-]+)?\.json")  # the name of a variant stands between the two
NUMBERED = re.compile(r"(?P<before>.+)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<ending>\.\w+)")
OTHER_FRAMEWORKS = re.compile(r".+\.(h5|msgpack|onnx|gguf|ot|mlmodel|tflite)")
# What training leaves beside a model.
TRAINING = re.compile(r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|trainer_state)([._-].*)?")
# The names of files of weights by their family, the preferred one first.
FAMILIES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("safetensors", re.compile(r".+\.safetensors")),
    ("torch", re.compile(r"(.*pytorch_model.*|adapter_model.*)\.bin|consolidated\.\d+\.pth")),
)
# sentence-transformers numbers the subfolders of modules: 1_Dense; below a router they are query_0_StaticEmbedding.
MODULE_FOLDER = re.compile(r"\d{1,2}_[A-Z][A-Za-z]+")
ROUTED_FOLDER = re.compile(r"\w+_\d{1,2}_[A-Z][A-Za-z]+")
MODULES = "modules.json"  # its list of them
COMPANION = re.compile(
    r"(.+_)?config\.json|config_.+\.json|modules\.json|(.+_)?tokenizer.*|special_tokens_map\.json|added_tokens\.json"
    r"|vocab.*|merges\.txt|.+\.model|.+\.tiktoken|chat_template.*|(README|LICEN[CS]E|NOTICE)(\..+)?"
)


@dataclass(frozen=True)
class Weights:
    """The files that hold the weights of one folder: an index that names them, or their own names."""

    index: str = ""
    names: tuple[str, ...] = ()


def choose_weights(names: Collection[str]) -> Weights | None:
    """Choose the weights among the names of the files of one folder; None where there are none.

    In this order: model.safetensors, its index, the same of the other STEMS, any other index of safetensors files, all
    safetensors files together; then the same for files of torch.save.
    """
    for family, pattern in FAMILIES:
        files = [name for name in weights_among(names) if pattern.fullmatch(name)]
        # That of a variant has the longer name.
        indices = sorted(
            (name for name in names if family_of_index(name) == family), key=lambda name: (len(name), name)
        )
        for stem in STEMS:
            single = next((name for name in files if name.rpartition(".")[0] == stem), "")
            index = next((name for name in indices if name.partition(".")[0] == stem), "")
            if single or index:
                return Weights(names=(single,)) if single else Weights(index)
        if indices or files:
            return Weights(indices[0]) if indices else Weights(names=tuple(files))
    return None


def weights_among(names: Iterable[str]) -> list[str]:
    """List the files of weights in their order: not what training leaves, and none of another framework."""
    return sorted(
        name
        for name in names
        if any(pattern.fullmatch(name) for _, pattern in FAMILIES) and not TRAINING.fullmatch(name)
    )


def family_of_index(name: str) -> str:
    """Tell the family of the files that an index names; empty of a file that is no index, or another framework's.

    Example:
        >>> family_of_index("pytorch_model.bin.index.json"), family_of_index("tf_model.h5.index.json")
        ('torch', '')
    """
    match = INDEX.fullmatch(name)
    if match is None or OTHER_FRAMEWORKS.fullmatch(match["file"]):
        return ""
    return "torch" if match["file"].endswith((".bin", ".pt", ".pth")) else "safetensors"


def missing_number(names: Iterable[str]) -> str:
    """Name the first file that is missing of files numbered `-00001-of-00003`; empty where none is.

    Example:
        >>> missing_number(["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"])
        'model-00002-of-00003.safetensors'
    """
    known = set(names)
    sets = {(m["before"], len(m["number"]), m["count"], m["ending"]) for m in map(NUMBERED.fullmatch, known) if m}
    for before, width, count, ending in sorted(sets):
        for number in range(1, int(count) + 1):
            name = f"{before}-{number:0{width}}-of-{count}{ending}"
            if name not in known:
                return name
    return ""


def is_companion(name: str) -> bool:
    """Tell whether a file belongs to the model beside its weights: configuration, tokenizer, vocabulary, licence."""
    is_weights = OTHER_FRAMEWORKS.fullmatch(name) or weights_among([name])
    return COMPANION.fullmatch(name) is not None and not is_weights and INDEX.fullmatch(name) is None


def is_module_folder(name: str, *, has_list: bool) -> bool:
    """Tell whether a subfolder is that of a module of sentence-transformers, by its name.

    Args:
        name: of the subfolder.
        has_list: whether MODULES lies beside it, so that there may be a router.
    """
    return MODULE_FOLDER.fullmatch(name) is not None or (has_list and ROUTED_FOLDER.fullmatch(name) is not None)
