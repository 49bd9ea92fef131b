"""Names and sizes in sentences, and mistyped names that lead to what was meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from embcompress.text import NAMED_MAX, did_you_mean, human_bytes, named, quoted, suggest_file, suggest_names
from tests.command_line import run

WORDS = Path(__file__).parent.parent / "sample_checkpoints" / "words" / "model.pt"


@pytest.mark.parametrize(
    ("wanted", "names", "meant"),
    [
        ("kylov", ["dense", "gram", "krylov"], "krylov"),
        ("QR", ["dense", "qr"], "qr"),
        ("norm", ["uniform", "normalize"], "normalize"),
        ("--base", ["--bases", "--max-size", "--seed"], "--bases"),
        ("xyz", ["dense", "gram"], ""),
        ("", ["dense"], ""),
        ("a", [], ""),
    ],
)
def test_did_you_mean_finds_one_name(wanted: str, names: list[str], meant: str) -> None:
    """A typing error, another case and a beginning lead to the name; nonsense leads nowhere."""
    assert did_you_mean(wanted, names) == (f"Did you mean {meant}?" if meant else "")


def test_suggest_names_finds_what_was_meant() -> None:
    """A part of a name, a typing error and another case lead to the name; nonsense leads nowhere."""
    names = ["entity_representations.0._embeddings.weight", "relation_representations.0._embeddings.weight", "x.bias"]
    assert suggest_names("entity_representations", names) == names[:1]
    assert suggest_names("*relation_reprsentations*", names)[0] == names[1]
    assert suggest_names("Entity_Representations.*", names)[0] == names[0]
    assert suggest_names("zzzz", names) == []
    assert suggest_names("*", names) == []


def test_suggest_file_asks_for_the_file_beside() -> None:
    """The stem counts more than the ending; a folder that is not there is told."""
    assert suggest_file(WORDS.with_name("modle.bin")) == f"Did you mean {WORDS}?"
    assert suggest_file(WORDS.with_name("zzzz")) == "Check the path."
    assert suggest_file(Path("/nowhere/model.pt")) == "The folder /nowhere does not exist or cannot be listed."


MISTYPED = {
    "command": (["aproximate", WORDS], 2, "Did you mean approximate?"),
    "option": (["approximate", WORDS, "--base", 8], 2, "Did you mean --bases?"),
    "option of another command": (["sweep", WORDS, "--bases", 8], 2, "No such option: --bases."),
    "table": (["approximate", WORDS, "--bases", 8, "--table", "embeding*"], 1, "--table embedding.weight"),
    "file": (["approximate", WORDS.with_name("modle.pt"), "--bases", 8], 1, f"Did you mean {WORDS}?"),
    "solver": (["approximate", WORDS, "--bases", 8, "--solver", "kylov"], 2, "Did you mean krylov?"),
    "effort": (["approximate", WORDS, "--ratio", 8, "--effort", "fst"], 2, "Did you mean fast?"),
    "effort of a sweep": (["sweep", WORDS, "--effort", "bst"], 2, "Did you mean best?"),
    "dtype": (["approximate", WORDS, "--bases", 8, "--dtype", "flot16"], 2, "Did you mean float16?"),
    "method": (["backfill", WORDS, "--max-id", 9, "--method", "gausian"], 2, "Did you mean gaussian?"),
    "constrainer": (["backfill", WORDS, "--max-id", 9, "--constrainer", "clmp"], 2, "Did you mean clamp?"),
    "labels": (
        ["approximate", WORDS, "--bases", 8, "--labels", WORDS.with_name("vocabluary.txt")], 1,
        f"Did you mean {WORDS.with_name('vocabulary.txt')}?",
    ),
    "row weights": (["approximate", WORDS, "--bases", 8, "--row-weights", "nope/x"], 1, "The folder nope does not"),
    "base ids": (["backfill", WORDS, "--max-id", 9, "--base-ids", WORDS.with_name("modle.pt")], 1, f"mean {WORDS}?"),
    "base labels": (
        ["backfill", WORDS, "--base-labels", WORDS.with_name("vocab.txt"), "--labels", WORDS.with_name("x")], 1,
        f"Did you mean {WORDS.with_name('vocabulary.txt')}?",
    ),
    "fill": (
        ["backfill", WORDS, "--base-labels", WORDS.with_name("vocabulary.txt"), "--labels",
         WORDS.with_name("vocabulary.txt"), "--fill", WORDS.with_name("modle.pt")], 1, f"Did you mean {WORDS}?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("args", "code", "hint"), MISTYPED.values(), ids=MISTYPED)
def test_command_line_asks_what_was_meant(args: list[object], code: int, hint: str) -> None:
    """Whatever is mistyped, the error's hint names what is there."""
    outcome = run(*args)
    assert (outcome.code, outcome.out) == (code, "")
    assert hint in outcome.err
    assert "Possible options" not in outcome.err


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "0"), (NAMED_MAX, "0, 1, 2, 3, 4"), (NAMED_MAX + 1, "0, 1, 2, 3, 4 and 1 more")],
)
def test_named_stops_after_a_few(count: int, expected: str) -> None:
    """The first few are named, and the others counted."""
    assert named(range(count)) == expected


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (999_499, "999 kB"), (999_500, "1 MB"),
        (5 * 10**12, "5 TB"), (10**18, "1e+03 PB"),
    ],
)  # fmt: skip
def test_human_bytes_rounds_to_three_digits(count: int, text: str) -> None:
    """Decimal units, three digits, and never 1000 of one that has a next."""
    assert human_bytes(count) == text


def test_quoted_survives_a_shell() -> None:
    """Names with blanks, quotes and dollars come back from a shell's parser as they were."""
    for name in ("plain", "a b", "it's", '$HOME `x` "y"', "ü\n"):
        assert shlex.split(quoted(name)) == [name]
