"""Examples below the help of each command, ready to be pasted, and the names that commands have elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "inspect": (("embcompress inspect model.pt", "tables, shapes, bytes, and what would be compressed"),),
        "approximate": (
            ("embcompress approximate model.pt --ratio 16", "tables 16 times smaller -> model-16x.safetensors"),
            ("embcompress approximate model.pt --max-error 5%", "the smallest file with errors of at most 5 %"),
            ("embcompress approximate model.pt --bases 16 -n", "checks and sizes only, nothing is written"),
            (
                "embcompress approximate model.pt --ratio 16 --fail-if 'neighbours.cosine.overlap < 80%'",
                "exit code 3 and no file where too few neighbours stay",
            ),
        ),
        "evaluate": (
            (
                "embcompress evaluate model.pt model-16x.safetensors --report page.html",
                "measure and check; report as a page",
            ),
            (
                "embcompress evaluate model.pkl model-16x.safetensors --triples test.tsv --known train.tsv",
                "link prediction before and after",
            ),
        ),
        "backfill": (
            (
                "embcompress backfill model.pt --base-labels old.tsv --labels new.tsv",
                "rows for the labels that are new",
            ),
            ("embcompress backfill model.pt --max-id 5000 --base-ids ids.txt", "the same by ids"),
        ),
        "reconstruct": (
            ("embcompress reconstruct model-16x.safetensors", "the dense checkpoint -> model-16x-dense.safetensors"),
            ("embcompress reconstruct model-16x.safetensors --to word2vec", "as word vectors"),
        ),
        "export": (
            ("embcompress export model.pt --to gguf:q4_0", "for llama.cpp -> model-q4_0.gguf"),
            (
                "embcompress export model-16x.safetensors --to torch:int8 --original model.pt",
                "errors against the original",
            ),
        ),
        "sweep": (
            ("embcompress sweep model.pt", "what every way leaves at every size"),
            ("embcompress sweep model.pt --max-error 5% --report sweep.html", "with curves, as a page"),
        ),
        "verify": (("embcompress verify model-16x.safetensors", "checksums, sizes, finite numbers, every row"),),
        "explain": (("embcompress explain bound", "what a word of a report means"),),
    }
)  # command -> lines to paste, each with what it does
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("compress", "quantize", "quantise", "encode", "factorize", "shrink", "pack"), "approximate"),
        **dict.fromkeys(("decompress", "decode", "restore", "densify", "expand", "unpack"), "reconstruct"),
        **dict.fromkeys(("compare", "measure", "diff", "score", "test", "benchmark"), "evaluate"),
        **dict.fromkeys(("check", "validate", "fsck"), "verify"),
        **dict.fromkeys(("list", "ls", "show", "info", "describe", "stat"), "inspect"),
        **dict.fromkeys(("grow", "extend", "append", "add", "resize"), "backfill"),
        **dict.fromkeys(("curve", "curves", "plot", "tune", "recommend", "search"), "sweep"),
        **dict.fromkeys(("convert", "serve"), "export"),
        **dict.fromkeys(("define", "glossary", "words", "what", "help"), "explain"),
    }
)  # what a command is called elsewhere -> its name here


def epilog_of(command: str) -> str:
    """Write the examples of a command for the end of its help: a line to paste, and below it what it does."""
    return "\n".join(["Examples:", *(f"  {line}\n      {note}" for line, note in EXAMPLES[command])])
