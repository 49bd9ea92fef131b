"""Checkpoints on the Hugging Face hub, `hf://org/name@revision/subfolder`, through the cache of huggingface_hub."""

from __future__ import annotations

import glob
import importlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.hugging_face.file_names import MODULES, choose_weights, is_companion, is_module_folder
from embcompress.checkpoints.hugging_face.folder_files import read_index
from embcompress.checkpoints.links import is_plain
from embcompress.exceptions import CheckpointError, UnknownFormatError

SCHEME = "hf:/"  # and one more /, which a Path takes away
ADDRESS = re.compile(
    r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+|[\w.-]+(?=@|$))(@(?P<revision>refs/[\w.-]+/[\w.-]+|[^/]+))?(/(?P<part>.+))?"
)
INSTALL = "pip install 'embcompress[hub]'"


@dataclass(frozen=True)
class HubAddress:
    """A model on the hub, or a part of one.

    Attributes:
        repo: `org/name`.
        revision: a branch, a tag or a commit; None: the main branch.
        part: a folder or a file in it; empty: all of it.
    """

    repo: str
    revision: str | None = None
    part: str = ""

    @property
    def name(self) -> str:
        """The name of the model alone."""
        return self.repo.rpartition("/")[2]

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"hf://{self.repo}{revision}{'/' if self.part else ''}{self.part}"


def parse_address(path: str | Path) -> HubAddress | None:
    """Read an address on the hub; None of anything else, also of a file that is there under such a path.

    Raises:
        CheckpointError: it begins like one, and is none.

    Example:
        >>> parse_address("hf://org/name@v1.0/1_Dense")
        HubAddress(repo='org/name', revision='v1.0', part='1_Dense')
    """
    text = str(path)
    if not text.startswith(SCHEME) or (isinstance(path, Path) and path.exists()):
        return None
    match = ADDRESS.fullmatch(text.rstrip("/"))
    revision = None if match is None or match["revision"] is None else unquote(match["revision"])
    if match is None or not all(part is None or is_plain(part) for part in (match["repo"], revision, match["part"])):
        raise CheckpointError(
            f"{text} is no address of a model on the Hugging Face hub.",
            hint="It is written hf://org/name, hf://org/name@revision or hf://org/name@revision/subfolder.",
        )
    return HubAddress(match["repo"], revision, match["part"] or "")


def download(address: HubAddress) -> Path:
    """Bring the weights of a model, its configuration and its tokenizer into the cache; return where they are.

    What is there already is not fetched again. Where the hub is not reached, or HF_HUB_OFFLINE is set, the cache is all
    there is.

    Raises:
        CheckpointError: huggingface_hub is not installed; there is no such model, revision or part; it may not be read;
            it cannot be fetched.
        UnknownFormatError: it holds no weights that are read.
    """
    hub = _import_hub(address)
    try:
        folder = _fetch(hub, address)
    except hub.errors.GatedRepoError as err:
        raise CheckpointError(
            f"{address} is open only to those whom its owners let in.",
            hint=f"Ask for access at https://huggingface.co/{address.repo}, then log in with `hf auth login`.",
        ) from err
    except hub.errors.RepositoryNotFoundError as err:
        raise CheckpointError(
            f"there is no model {address.repo!r} on the Hugging Face hub, or this user may not see it.",
            hint="Check the name; log in with `hf auth login` for a private one.",
        ) from err
    except hub.errors.RevisionNotFoundError as err:
        raise CheckpointError(
            f"the model {address.repo!r} has no revision {address.revision!r}.",
            hint=f"https://huggingface.co/{address.repo}/tree/main lists its branches and tags.",
        ) from err
    except ValueError as err:
        raise CheckpointError(f"{address} cannot be: {_reason(err)}.", hint="Check the name.") from err
    # What its HTTP client raises need not be an OSError.
    except (hub.errors.HTTPError, OSError) as err:
        raise CheckpointError(
            f"{address} cannot be fetched: {_reason(err)}.", hint="Try again: what is there is not fetched again."
        ) from err
    path = folder / address.part
    if not path.exists():
        raise CheckpointError(
            f"{address.repo} has no {address.part!r}, or it holds nothing that is read.",
            hint=f"https://huggingface.co/{address.repo}/tree/main lists its files.",
        )
    return path


def _import_hub(address: HubAddress) -> ModuleType:
    try:
        hub = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.errors")
    except ImportError as err:
        raise CheckpointError(f"{address} needs huggingface_hub, which is not installed.", hint=INSTALL) from err
    return hub


def _fetch(hub: ModuleType, address: HubAddress) -> Path:
    """Fetch what is read of a model, and return the folder of its snapshot."""
    try:
        names: list[str] = hub.HfApi().list_repo_files(address.repo, revision=address.revision)
    except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError):
        raise
    except (hub.errors.HTTPError, OSError) as err:
        return _find_cached(hub, address, _reason(err))
    wanted = choose_files(names, address)
    folder = _snapshot(hub, address, wanted)
    shards = list(_list_shards(folder, wanted))
    return _snapshot(hub, address, [*wanted, *shards]) if shards else folder


def _find_cached(hub: ModuleType, address: HubAddress, why: str) -> Path:
    """Find the folder of a snapshot in the cache alone, of whatever it holds.

    Raises:
        CheckpointError: there is none; tells why the hub was not asked.
    """
    try:
        # No pattern, since a new version misses every file that one fits.
        return _snapshot(hub, address, [], is_local=True)
    except hub.errors.LocalEntryNotFoundError as err:
        raise CheckpointError(
            f"{address} is not in the cache of huggingface_hub, and the hub was not reached: {why}.",
            hint="Check the connection and HF_HUB_OFFLINE, or HF_HUB_CACHE if the cache lies elsewhere.",
        ) from err


def _snapshot(hub: ModuleType, address: HubAddress, names: Sequence[str], *, is_local: bool = False) -> Path:
    patterns = [glob.escape(name) for name in names]
    arguments: dict[str, Any] = {"revision": address.revision, "allow_patterns": patterns, "local_files_only": is_local}
    return Path(hub.snapshot_download(address.repo, **arguments))


def choose_files(names: Sequence[str], address: HubAddress) -> list[str]:
    """Choose what is fetched first: of the part, and of its modules, weights or their index, and companions.

    Raises:
        UnknownFormatError: there are no weights that are read.
    """
    if address.part in names:
        return [address.part]
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        folders.setdefault(folder, []).append(file)
    has_list = MODULES in folders.get(address.part, [])
    chosen, has_weights = [], False
    for folder, files in folders.items():
        inner = os.path.relpath(folder or ".", address.part or ".")
        if inner != "." and not is_module_folder(inner, has_list=has_list):
            continue
        weights = choose_weights(files)
        has_weights = has_weights or weights is not None
        picked = [file for file in files if is_companion(file)]
        if weights is not None:
            picked += [weights.index] if weights.index else weights.names
        chosen += [f"{folder}/{file}" if folder else file for file in picked]
    if not has_weights:
        raise UnknownFormatError(
            f"{address} holds no weights that are read: no .safetensors file, no pytorch_model.bin, no index of such.",
            hint=f"https://huggingface.co/{address.repo}/tree/main lists its files; name a folder or a file behind it.",
        )
    return chosen


def _list_shards(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """List the files that the indices among some files name, from the folder of the snapshot on."""
    for name in names:
        subfolder, _, file = name.rpartition("/")
        if choose_weights([file]) is not None and file.endswith(".json"):
            with Files(folder / name) as files:
                shards = sorted(set(read_index(folder / name, files).values()))
            yield from (f"{subfolder}/{shard}" if subfolder else shard for shard in shards)


def _reason(err: BaseException) -> str:
    """Take the first line of what a library says, without its full stop."""
    lines = str(err).splitlines()
    return lines[0].rstrip(".") if lines else type(err).__name__
