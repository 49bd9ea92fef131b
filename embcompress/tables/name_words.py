"""The words in the names of tensors that show embedding tables, and those that show anything else."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class LiteralOwner:
    """Owners that are tables though no word of them says embedding; a vague name needs the shape of a table too."""

    names: str  # a pattern for the whole owner, or for `parent.owner`
    kind: str
    rows_min: int = 2
    aspect_min: float = 0  # least rows / dim


def words_pattern(alternatives: str) -> str:
    """Make a pattern that finds one of these among the words of a component, which `_` parts."""
    return rf"(?:^|_)(?:{alternatives})(?:_|$)"


# Looked for in every component: what lies below these is never a table of the model itself.
REFUSED_ANYWHERE = (
    (r"optim|optimizers?|(.+_)?optimizer_(states?|slots?|weights)|optimizer_slot", "an optimizer's state"),
    (r"exp_avg.*|momentum_buffer|adam(_[mv])?|adagrad|square_avg|accumulator", "an optimizer's state"),
    (r"grads?", "a gradient"),
    (r"(.+_)?lora(_.+)?", "a LoRA factor"),  # already low rank
    (r"(.+_)?regularizers?", "a regularizer"),
    (r"(.+_)?(rotary|rope)(_.+)?", "a rotary cache"),
    # T5's relative_attention_bias and Swin's relative_position_bias_table are looked up, but hold one number per head,
    # added to the logits: a few kB, where an error changes every attention.
    (r"(.+_)?(relpos|rel_pos|attn|attention|position)_bias(_.+)?", "an attention bias"),
)

# What the rows of a table of something are called, behind its name: user_factors, entity_vec, word2vec.
ROWS_OF = r"(_?(vec(tor)?s?|factors?|latents?|matri(x|ces)|mats?|tables?|repr(esentation)?s?|preferences?))"

# Looked up before REFUSED: whole names, so that a word in them does not mislead.
LITERALS = (
    LiteralOwner(r"wte|tok|syn|syn1(neg)?|vocab|token_types", "token embedding"),
    LiteralOwner(r"wpe|(position|pos)\.pe|pos(ition(al)?)?_encodings?", "position embedding"),
    LiteralOwner(r"vectors|(.+_)?lookup(_tables?)?|luts?|words?_to_vec|word2vec|glove|fast_?text", "embedding"),
    LiteralOwner(rf"(tokens?|words?|chars?|subwords?){ROWS_OF}", "token embedding"),
    LiteralOwner(
        rf"(docs?|documents?|topics?|nodes?|speakers?|movies?|products?|category|tags?){ROWS_OF}", "embedding"
    ),
    # Of skip-gram models, the one that looks up and the one that predicts.
    LiteralOwner(r"(in(put)?|out(put)?|context|center|target|[iouv])_?(vectors|vecs)", "embedding"),
    LiteralOwner(r"(.+_)?codebook", "codebook"),
    LiteralOwner(
        r"(entity|relation)_representations?", "representation"
    ),  # PyKEEN's LowRank: its weights, a row per id
    LiteralOwner(
        rf"entity|entities|ent|lhs|rhs|ent_transfer|ent_proj_vect|(entity|ent){ROWS_OF}|init_ent", "entity embedding"
    ),
    LiteralOwner(
        rf"relations?|(init_)?rel|rel_transfer|rel_proj_vect|rel_(diag|phase)|(relation|rel){ROWS_OF}",
        "relation embedding",
    ),
    # TransR and TransH of OpenKE, TorchKGE, KGAT, RecBole.
    LiteralOwner(r"transfer_matrix|norm_vect(or)?|trans_[mw]", "relation embedding"),
    LiteralOwner(r"(in|out)_degree_encoder", "embedding"),  # Graphormer
    # Of Graphormer too, a row for each value of each of nine features; others make atoms of a few by a dense layer.
    LiteralOwner(r"atom_encoder", "embedding", rows_min=1000),
    LiteralOwner(rf"users?{ROWS_OF}?", "user embedding"),
    LiteralOwner(rf"items?{ROWS_OF}?", "item embedding"),
    # T5, BART, Marian. 256: no vocabulary is smaller than the bytes; the trunks of multi-task networks often are.
    LiteralOwner(r"shared", "token embedding", rows_min=256),
    # The table is the encoder of torch's word_language_model and fastai, w of CTRL, P and Q, pu and qi, W and H of
    # matrix factorisations, E of TuckER, wi, wj and wo of word2vec and GloVe, Wy of GRU4Rec, lt of Poincare embeddings,
    # D of paragraph vectors, arr_0 of numpy.savez. Dense layers have these names too, but are not many times longer
    # than wide.
    LiteralOwner(
        r"encoder|[dehpqruvw]|pu|qi|w(_?in|_?out|[ijoy])|lt|arr|[ui]_weights?", "embedding", rows_min=500, aspect_min=8
    ),
    LiteralOwner(
        r"(?!(.+_)?(scales?|zeros?|bias|mask|rope|sin|cos|rout(er|ing)|gates?)_)[^.]+_tables?",
        "embedding",
        rows_min=500,
        aspect_min=8,
    ),
)

SCALE_KIND = "a quantisation scale"
# Looked for in the owner; the first that fits names the reason.
REFUSED = (
    (words_pattern(r"bias|biases|beta"), "a bias"),
    (words_pattern(r"\w*norm(?!_emb)|ln\d*|bn\d*|gamma|running_(mean|var)"), "a norm"),
    (words_pattern(r"conv\w*|\w+conv|patch(es)?(?!.*pos)"), "a convolution"),  # ViT's patch embeddings are convolutions
    (r"^weight_[ih]h", "a recurrent layer"),
    (words_pattern(r"(\w+_)?mask$|inv_freq|(cos|sin)_cached"), "a mask or a cache"),
    (words_pattern(r"scales?|zeros|zero_point|absmax|weight_integer"), SCALE_KIND),
    (r"emb\w*_(avg|sum|ema)$|ema_(w|emb\w*)$", "a running average"),  # of a VQ codebook
    (r"^embed_out$|(?:^|out_)(class|bbox|mask)_embed$", "a classifier"),  # GPT-NeoX's head; DETR's heads
    (words_pattern(r"head$|classifier|logits|pooler|lm_head|scorer?"), "a classifier"),
    (r"^(decoder|outputs?|output_layer|predictions|generator)$", "a classifier"),
    # Of Fuyu, Decision Transformer, MAE, diffusion models, ProphetNet, V-JEPA 2, MarkupLM.
    (r"^(vision_embed_tokens|embed_(state|action)|decoder_embed|image_embeds|emb_layers)$", "a linear layer"),
    (r"(?:^|_)((x|context|condition)_embedder|time_embed)$", "a linear layer"),
    (r"^(speaker_embeds_layer|att(en|n|ention)?_embedding)$", "a linear layer"),  # of SpeechT5, AutoInt
    (r"^(relative_pos_embeddings|predictor_embeddings|xpath_unitseq2_\w+)$", "a linear layer"),
    (r"^(cls|mask|register)\w*_tokens?$", "a vector put into every input"),
    (r"[a-z]2(?!vec)[a-z]|" + words_pattern("to"), "a linear layer"),  # embed2hidden, hidden_to_embedding
    (words_pattern(r"proj\w*|linears?|lin|dense|fc\d*|ffn?|transform(ation)?|map(per|ping)?"), "a linear layer"),
    (r"^(layers?|blocks?)$", "a layer"),
    (r"^(?!.*(user|item)).*" + words_pattern("mlp"), "a linear layer"),  # NCF: embed_user_MLP is a table
    (r"^([qkvow]|query|key|value|w?qkv|w[qkvo]|query_key_value|c_attn|(self_)?att(n|ention)?)$", "an attention layer"),
)

# The same for `parent.owner`. Of iTransformer, PatchTST and TimesNet, and what the Informer makes of times as floats.
REFUSED_PAIRS = re.compile(r"(enc|dec|patch)_embedding\.value_embedding|temporal_embedding\.embed")

EMBEDDING_WORD = re.compile(r"embed|(?:^|_)w?emb(?:s|d)?(?:_|$)")  # not member, not assembler
CONTAINER = re.compile(
    r"emb(?:ed|edding|edder)?s$|emb\w*_(?:bags?|dict|list|tables?|collection)$|embed(?:ding)?_layers$|^tables$"
)

# Which kind, from the words of the owner or of the nearest component above it; the first that fits.
ROW_ROLES = (
    ("segment", {"segment", "seg", "type", "lang", "language"}),
    ("position", {"position", "positions", "positional", "pos", "distance", "posembed"}),
    ("relation", {"relation", "relations", "rel", "edge", "bond"}),
    ("entity", {"entity", "entities", "ent", "node", "atom"}),
    ("user", {"user", "users"}),
    ("item", {"item", "items", "movie", "product"}),
    ("token", {"token", "tokens", "tok", "word", "words", "char", "chars", "codepoint", "vocab", "vocabulary"}),
    ("class", {"class", "label", "labels", "category"}),
)

# Stand between a table and its name.
WRAPPERS = re.compile(
    r"weights?|kernel|data|vars|(\w+_)?module|orig_mod|weight_orig|original(_module)?|parametrizations"  # torch
    r"|default|base_layer|modules_to_save|attributes|variable_value"  # PEFT, TensorFlow
    r"|list|weight_[qr]|shard"  # Merlin's list columns, DLRM's quotients and remainders, parts of n-gram tables
)


# Modules that hold another, whose name a model has without them too: torch.compile's, FSDP's and DeepSpeed's. (Of
# DataParallel's `module`, other models have one.)
OUTER_MODULES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
