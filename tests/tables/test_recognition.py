"""Names and shapes of real state dicts, and what recognition has to say about each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

import embcompress
from embcompress.tables.recognition import matches, rank_candidates, recognise
from tests.cases import for_each

NAMES = Path(embcompress.__file__).parents[1] / "tests" / "data" / "tensor_names.tsv"
BOTH = (True, False)

# Each family: a model's embedding tables, and tensors beside them that must be left alone.
Names = list[tuple[str, tuple[int, ...]]]

TABLES: dict[str, Names] = {
    "bert and its relatives": [
        ("bert.embeddings.word_embeddings.weight", (30522, 768)),
        ("bert.embeddings.position_embeddings.weight", (512, 768)),
        ("bert.embeddings.token_type_embeddings.weight", (2, 768)),
        ("embeddings.word_embeddings.weight", (30522, 384)),
        ("0.auto_model.embeddings.word_embeddings.weight", (30522, 384)),
        ("0.auto_model.embeddings.position_embeddings.weight", (512, 384)),
        ("roberta.embeddings.word_embeddings.weight", (50265, 768)),
        ("roberta.embeddings.position_embeddings.weight", (514, 768)),
        ("distilbert.embeddings.word_embeddings.weight", (30522, 768)),
        ("distilbert.embeddings.position_embeddings.weight", (512, 768)),
        ("albert.embeddings.word_embeddings.weight", (30000, 128)),
        ("albert.embeddings.token_type_embeddings.weight", (2, 128)),
        ("electra.embeddings.word_embeddings.weight", (30522, 128)),
        ("deberta.embeddings.word_embeddings.weight", (128100, 768)),
        ("deberta.encoder.rel_embeddings.weight", (512, 768)),
        ("mpnet.embeddings.word_embeddings.weight", (30527, 768)),
        ("bert.encoder.layer.0.attention.self.distance_embedding.weight", (1023, 64)),
        ("tapas.embeddings.token_type_embeddings_3.weight", (256, 768)),
        ("layoutlm.embeddings.x_position_embeddings.weight", (1024, 768)),
        ("luke.entity_embeddings.entity_embeddings.weight", (500000, 256)),
        ("model.embeddings.tok_embeddings.weight", (50368, 768)),
        ("canine.char_embeddings.HashBucketCodepointEmbedder_0.weight", (16384, 96)),
        ("bert.embedding.token.weight", (30522, 768)),
        ("bert.embedding.segment.weight", (3, 768)),
    ],
    "tensorflow and jax": [
        ("bert/embeddings/word_embeddings", (30522, 768)),
        ("bert/embeddings/position_embeddings", (512, 768)),
        ("tf_bert_model/bert/embeddings/word_embeddings/weight:0", (30522, 768)),
        ("embeddings/word_embeddings/kernel", (30522, 768)),
        ("params.wte.embedding", (50257, 768)),
        ("params/transformer/wpe/embedding", (1024, 768)),
        ("target/token_embedder/embedding", (32128, 768)),
        ("params/shared/embedding", (32128, 512)),
        ("user_embedding/embeddings:0", (943, 32)),
        ("params.Embed_0.embedding", (1000, 64)),
        ("transformer/embed/~/embeddings", (50257, 512)),
        ("transformer/word_embedding/lookup_table", (32000, 1024)),
    ],
    "decoders": [
        ("wte.weight", (50257, 768)),
        ("wpe.weight", (1024, 768)),
        ("transformer.wte.weight", (50400, 4096)),
        ("gpt_neox.embed_in.weight", (50432, 6144)),
        ("model.embed_tokens.weight", (32000, 4096)),
        ("tok_embeddings.weight", (32000, 4096)),
        ("transformer.word_embeddings.weight", (250880, 1024)),
        ("word_embeddings.weight", (250880, 1024)),
        ("model.decoder.embed_tokens.weight", (50272, 512)),
        ("model.decoder.embed_positions.weight", (2050, 1024)),
        ("backbone.embeddings.weight", (50280, 768)),
        ("backbone.embedding.weight", (50280, 768)),
        ("emb.weight", (50277, 768)),
        ("rwkv.embeddings.weight", (50277, 768)),
        ("transformer.embedding.word_embeddings.weight", (65024, 4096)),
        ("model.language_model.embedding.word_embeddings.weight", (50304, 1024)),
        ("model.language_model.embedding.position_embeddings.weight", (1024, 1024)),
        ("embedder.weight", (256128, 2048)),
        ("model.language_model.embed_tokens_per_layer.weight", (262144, 7680)),
        ("transformer.w.weight", (246534, 1280)),
        ("input_embeds_layer.weight", (129600, 1024)),
    ],
    "encoder-decoders": [
        ("shared.weight", (32128, 512)),
        ("shared.weight", (384, 1472)),
        ("model.shared.weight", (50265, 1024)),
        ("encoder.embed_tokens.weight", (32128, 512)),
        ("decoder.embed_tokens.weight", (32128, 512)),
        ("model.encoder.embed_positions.weight", (1026, 1024)),
        ("model.decoder.embed_positions.weight", (448, 384)),
        ("decoder.token_embedding.weight", (51865, 384)),
        ("decoder.positional_embedding", (448, 384)),
        ("encoder.positional_embedding", (1500, 384)),
        ("decoder.embed_tokens.0.weight", (2049, 1024)),
        ("encoder.embed_tokens.embeddings.0.0.weight", (20000, 1024)),
        ("encoder.embeddings.make_embedding.emb_luts.0.weight", (32000, 512)),
        ("reformer.embeddings.position_embeddings.weights.0", (64, 1, 256)),
    ],
    "xlm, xlnet, transformer-xl": [
        ("transformer.embeddings.weight", (64139, 1024)),
        ("transformer.position_embeddings.weight", (512, 1024)),
        ("transformer.lang_embeddings.weight", (15, 1024)),
        ("transformer.word_embedding.weight", (32000, 768)),
        ("transformer.word_emb.emb_layers.0.weight", (20000, 1024)),
    ],
    "vision and language": [
        ("text_model.embeddings.token_embedding.weight", (49408, 512)),
        ("text_model.embeddings.position_embedding.weight", (77, 512)),
        ("vision_model.embeddings.position_embedding.weight", (197, 768)),
        ("token_embedding.weight", (49408, 512)),
        ("positional_embedding", (77, 512)),
        ("visual.positional_embedding", (50, 768)),
        ("query_embed.weight", (100, 256)),
        ("refpoint_embed.weight", (300, 4)),
        ("model.query_position_embeddings.weight", (100, 256)),
        ("y_embedder.embedding_table.weight", (1001, 1152)),
        ("class_embedding.weight", (1000, 1280)),
        ("label_emb.weight", (1000, 1024)),
        ("quantize.embedding.weight", (16384, 256)),
        ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", (49408, 768)),
        ("model.image_pos_embed.column_embeddings.weight", (50, 512)),
    ],
    "speech": [
        ("embedding.weight", (148, 512)),
        ("encoder.src_word_emb.weight", (361, 256)),
        ("variance_adaptor.pitch_embedding.weight", (256, 256)),
        ("enc_p.emb.weight", (178, 192)),
        ("emb_g.weight", (109, 256)),
        ("speaker_embedding.weight", (1251, 128)),
        ("quantizer.vq.layers.0._codebook.embed", (1024, 128)),
        ("lm.emb.0.weight", (2049, 1024)),
    ],
    "word vectors and plain models": [
        ("embed.weight", (10000, 100)),
        ("embeddings.weight", (10000, 100)),
        ("encoder.embedding.weight", (10000, 100)),
        ("encoder.weight", (33278, 200)),
        ("word_emb.weight", (20000, 300)),
        ("char_emb.weight", (262, 16)),
        ("in_embed.weight", (20000, 100)),
        ("out_embed.weight", (20000, 100)),
        ("u_embeddings.weight", (20000, 100)),
        ("v_embeddings.weight", (20000, 100)),
        ("vectors", (20000, 300)),
        ("syn0", (20000, 300)),
        ("syn1neg", (20000, 300)),
        ("wordEmbedding.weight", (20000, 300)),
        ("text_field_embedder.token_embedder_tokens.weight", (20000, 100)),
        ("_token_embedder_characters._embedding._module.weight", (262, 16)),
        ("module.embedding.weight", (20000, 300)),
        ("_orig_mod.transformer.wte.weight", (50304, 768)),
        ("embed.parametrizations.weight.original", (20000, 300)),
        ("base_model.model.model.embed_tokens.base_layer.weight", (32000, 4096)),
        ("base_model.model.model.embed_tokens.modules_to_save.default.weight", (32000, 4096)),
        ("ema_model.token_emb.weight", (256, 512)),
    ],
    "pykeen": [
        ("entity_representations.0._embeddings.weight", (14541, 200)),
        ("entity_representations.1._embeddings.weight", (14541, 50)),
        ("relation_representations.0._embeddings.weight", (237, 40000)),
        ("relation_representations.2._embeddings.weight", (237, 16)),
        ("entity_embeddings._embeddings.weight", (14541, 200)),
        ("entity_representations.0.weight", (14541, 30)),
        ("entity_representations.0.weight._embeddings.weight", (14541, 30)),
        ("entity_representations.0.bases.1._embeddings.weight", (2000, 64)),
        ("entity_representations.0.base._embeddings.weight", (14541, 64)),
        ("entity_representations.0.combined.entity_representations._embeddings.weight", (14541, 200)),
        ("entity_representations.0.token_representations.0.vocabulary._embeddings.weight", (500, 64)),
    ],
    "other knowledge graph libraries": [
        ("ent_embeddings.weight", (14541, 200)),
        ("rel_embeddings.weight", (237, 200)),
        ("ent_re_embeddings.weight", (14541, 200)),
        ("ent_im_embeddings.weight", (14541, 200)),
        ("rel_matrices.weight", (237, 2500)),
        ("transfer_matrix.weight", (237, 2500)),
        ("norm_vector.weight", (237, 200)),
        ("ent_transfer.weight", (14541, 200)),
        ("_entity_embedder._embeddings.weight", (14541, 128)),
        ("_base_model._relation_embedder._embeddings.weight", (474, 128)),
        ("node_emb.weight", (14541, 50)),
        ("node_emb_im.weight", (14541, 50)),
        ("rel_emb.weight", (237, 50)),
        ("entity_embedding", (14541, 2000)),
        ("relation_embedding", (237, 1000)),
        ("emb_e.weight", (14541, 200)),
        ("emb_rel.weight", (474, 200)),
        ("re_ent_emb.weight", (14541, 50)),
        ("E.weight", (14541, 200)),
        ("entity.weight", (14541, 200)),
        ("rel.weight", (474, 200)),
        ("lhs.weight", (14541, 2000)),
        ("arr_0", (14541, 200)),
        ("init_embed", (14541, 100)),
        ("embeddings.0.weight", (14541, 2000)),
        ("embeds.user.weight", (6040, 64)),
        ("embed_layer.node_embeds.author.weight", (6040, 64)),
    ],
    "graphs and molecules": [
        ("embedding.weight", (169343, 128)),
        ("atom_encoder.atom_embedding_list.0.weight", (119, 300)),
        ("gnn.x_embedding1.weight", (120, 300)),
        ("gnns.0.edge_embedding1.weight", (6, 300)),
    ],
    "recommenders": [
        ("user_factors.weight", (943, 20)),
        ("item_factors.weight", (1682, 20)),
        ("user_factors", (943, 20)),
        ("user_embedding.weight", (943, 64)),
        ("item_emb.weight", (3417, 50)),
        ("pos_emb.weight", (200, 50)),
        ("P.weight", (943, 30)),
        ("Q.weight", (1682, 30)),
        ("emb_l.0.weight", (1460, 16)),
        ("ebc.embedding_bags.t_cat_0.weight", (40000, 128)),
        ("model.sparse_arch.embedding_bag_collection.embedding_bags.t_cat_25.weight", (40000, 128)),
        ("embedding_dict.user_id.weight", (6040, 8)),
        ("embedding_dict.C1.weight", (6040, 8)),
        ("embed_user_GMF.weight", (6040, 32)),
        ("embed_item_MLP.weight", (3706, 128)),
        ("user_mlp_embedding.weight", (6040, 64)),
        ("embedding_user.weight", (29858, 64)),
        ("embedding_item.weight", (40981, 64)),
        ("token_embedding_table.embedding.weight", (9000, 10)),
        ("bert.embedding.position.pe.weight", (100, 256)),
        ("movieEmbedding.weight", (3706, 50)),
        ("embeds.3.weight", (120, 12)),
        ("category_embeddings.weight", (120, 32)),
        ("relation_norm_embedding.weight", (12, 64)),
        ("item_matrix.weight", (3706, 64)),
    ],
}

OTHERS: dict[str, Names] = {
    "bert and its relatives": [
        ("bert.embeddings.LayerNorm.weight", (768,)),
        ("bert.encoder.layer.0.attention.self.query.weight", (768, 768)),
        ("bert.encoder.layer.0.intermediate.dense.weight", (3072, 768)),
        ("bert.pooler.dense.weight", (768, 768)),
        ("cls.predictions.decoder.weight", (30522, 768)),
        ("cls.predictions.transform.dense.weight", (768, 768)),
        ("cls.seq_relationship.weight", (2, 768)),
        ("classifier.weight", (3, 768)),
        ("distilbert.transformer.layer.0.ffn.lin1.weight", (3072, 768)),
        ("albert.encoder.embedding_hidden_mapping_in.weight", (768, 128)),
        ("electra.embeddings_project.weight", (256, 128)),
        ("deberta.embeddings.embed_proj.weight", (768, 128)),
        ("deberta.encoder.layer.0.attention.self.pos_proj.weight", (768, 768)),
        ("deberta.encoder.conv.conv.weight", (1024, 1024, 3)),
        ("mpnet.encoder.relative_attention_bias.weight", (32, 12)),
        ("luke.entity_embeddings.entity_embedding_dense.weight", (768, 256)),
        ("fnet.embeddings.projection.weight", (768, 768)),
        ("2.linear.weight", (256, 384)),
        ("embeddings.embedding_transformation.weight", (512, 384)),
        ("markuplm.embeddings.xpath_embeddings.xpath_unitseq2_embeddings.weight", (768, 1600)),
        ("roc_bert.embeddings.map_inputs_layer.weight", (768, 2048)),
        ("prophetnet.decoder.layers.0.self_attn.relative_pos_embeddings.weight", (512, 1024)),
        ("ibert.embeddings.word_embeddings.weight_integer", (30522, 768)),
        ("canine.projection.conv.weight", (768, 1536, 4)),
    ],
    "tensorflow and jax": [
        ("bert/embeddings/LayerNorm/gamma", (768,)),
        ("bert/embeddings/word_embeddings/adam_m", (30522, 768)),
        ("bert/encoder/layer_0/attention/self/query/kernel", (768, 768)),
        ("params/embedding/kernel", (16, 16, 3, 768)),
        ("Transformer/posembed_input/pos_embedding", (1, 197, 768)),
        ("encoder/relpos_bias/rel_embedding", (8, 32)),
        ("dense/kernel:0", (128, 64)),
        ("model/embed/embeddings/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE", (1000, 64)),
    ],
    "decoders": [
        ("transformer.h.0.attn.c_attn.weight", (768, 2304)),
        ("transformer.h.0.mlp.c_fc.weight", (768, 3072)),
        ("transformer.ln_f.weight", (768,)),
        ("lm_head.weight", (50257, 768)),
        ("embed_out.weight", (50432, 6144)),
        ("output.weight", (32000, 4096)),
        ("head.weight", (50277, 768)),
        ("model.layers.0.self_attn.q_proj.weight", (4096, 4096)),
        ("model.layers.0.mlp.gate_proj.weight", (11008, 4096)),
        ("model.norm.weight", (4096,)),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (64,)),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", (1, 1, 2048, 128)),
        ("rotary_emb.sin_cached", (2048, 128)),
        ("word_embeddings_layernorm.weight", (1024,)),
        ("transformer.h.0.self_attention.query_key_value.weight", (3072, 1024)),
        ("model.decoder.project_in.weight", (1024, 512)),
        ("model.decoder.project_out.weight", (512, 1024)),
        ("backbone.layers.0.mixer.in_proj.weight", (3072, 768)),
        ("backbone.layers.0.mixer.A_log", (1536, 16)),
        ("backbone.layers.0.mixer.conv1d.weight", (1536, 1, 4)),
        ("blocks.0.att.key.weight", (768, 768)),
        ("blocks.0.ln0.weight", (768,)),
        ("model.language_model.output_layer.weight", (50304, 1024)),
        ("layers.0.feed_forward.w1.weight", (11008, 4096)),
        ("layers.0.attention.wq.weight", (4096, 4096)),
        ("model.vision_embed_tokens.weight", (4096, 2700)),
        ("model.language_model.per_layer_model_projection.weight", (7680, 2048)),
        ("base_model.model.model.embed_tokens.lora_embedding_A.default", (8, 32000)),
        ("base_model.model.model.embed_tokens.lora_embedding_B.default", (4096, 8)),
        ("model.embed_tokens.scales", (32000, 64)),
    ],
    "encoder-decoders": [
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, 8)),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", (512, 512)),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", (2048, 512)),
        ("final_logits_bias", (1, 50265)),
        ("model.encoder.conv1.weight", (384, 80, 3)),
        ("model.encoder.layernorm_embedding.weight", (1024,)),
        ("encoder.embed_tokens.embeddings.1.1.weight", (1024, 256)),
        ("decoder.embeddings.make_embedding.pe.pe", (5000, 1, 512)),
        ("decoder.output_projection.weight", (32000, 512)),
        ("generator.weight", (32000, 512)),
    ],
    "xlm, xlnet, transformer-xl": [
        ("pred_layer.proj.weight", (64139, 1024)),
        ("transformer.layer.0.rel_attn.q", (768, 12, 64)),
        ("transformer.layer.0.rel_attn.r_w_bias", (12, 64)),
        ("transformer.mask_emb", (1, 1, 768)),
        ("transformer.word_emb.emb_projs.1", (1024, 256)),
        ("crit.out_layers.0.weight", (20000, 1024)),
        ("transformer.pos_emb.inv_freq", (512,)),
    ],
    "vision and language": [
        ("vision_model.embeddings.class_embedding", (768,)),
        ("vision_model.embeddings.patch_embedding.weight", (768, 3, 16, 16)),
        ("vit.embeddings.patch_embeddings.projection.weight", (768, 3, 16, 16)),
        ("patch_embed.proj.weight", (768, 3, 16, 16)),
        ("to_patch_embedding.1.weight", (1024, 3072)),
        ("cls_token", (1, 1, 768)),
        ("pos_embed", (1, 197, 768)),
        ("vit.embeddings.position_embeddings", (1, 197, 768)),
        ("text_projection", (512, 512)),
        ("visual.proj", (768, 512)),
        ("visual.conv1.weight", (768, 3, 32, 32)),
        ("layers.0.blocks.0.attn.relative_position_bias_table", (169, 3)),
        ("layers.0.blocks.0.attn.relative_position_index", (49, 49)),
        ("class_embed.weight", (92, 256)),
        ("bbox_embed.layers.0.weight", (256, 256)),
        ("time_embedding.linear_1.weight", (1280, 320)),
        ("time_embed.0.weight", (1280, 320)),
        ("label_emb.0.0.weight", (1280, 2816)),
        ("add_embedding.linear_1.weight", (1280, 2816)),
        ("input_blocks.1.0.emb_layers.1.weight", (320, 1280)),
        ("down_blocks.0.resnets.0.time_emb_proj.weight", (320, 1280)),
        ("context_embedder.weight", (1536, 4096)),
        ("x_embedder.weight", (3072, 64)),
        ("x_embedder.proj.weight", (1152, 4, 2, 2)),
        ("t_embedder.mlp.0.weight", (1152, 256)),
        ("prompt_encoder.no_mask_embed.weight", (1, 256)),
        ("img_embeddings.img_linear.weight", (768, 2048)),
        ("embed_state.weight", (128, 11)),
        ("embed_return.weight", (128, 1)),
        ("conv_embed.weight", (64, 3, 7, 7)),
        ("decoder_embed.weight", (512, 1024)),
        ("condition_embedder.weight", (512, 1024)),
        ("time_embed.weight", (1280, 320)),
        ("enc_out_class_embed.0.weight", (2, 256)),
        ("predictor.embeddings.predictor_embeddings.weight", (384, 1024)),
        ("predictor.embeddings.mask_tokens", (10, 1, 1, 384)),
    ],
    "speech": [
        ("wav2vec2.encoder.pos_conv_embed.conv.weight_v", (768, 48, 128)),
        ("wav2vec2.masked_spec_embed", (768,)),
        ("quantizer.vq.layers.0._codebook.embed_avg", (1024, 128)),
        ("quantizer.vq.layers.0._codebook.cluster_size", (1024,)),
        ("encoder.lstm.weight_ih_l0", (1024, 512)),
        ("acoustic_decoder.embed.weight", (1024, 1024, 7)),
        ("backbone.embed.weight", (512, 100, 7)),
        ("quantizer.acoustic_residual_vector_quantizer.layers.0.codebook.embed_sum", (2048, 256)),
    ],
    "word vectors and plain models": [
        ("lstm.weight_ih_l0", (400, 100)),
        ("lstm.weight_hh_l0", (400, 100)),
        ("decoder.weight", (33278, 200)),
        ("encoder.weight", (64, 784)),
        ("fc.weight", (10, 512)),
        ("layers.0.weight", (512, 512)),
        ("0.weight", (512, 512)),
        ("weight", (512, 512)),
        ("bn1.running_mean", (64,)),
        ("conv1.weight", (64, 3, 7, 7)),
        ("_token_embedder_characters._encoder._module.conv_layer_0.weight", (100, 16, 5)),
        ("embed_norm.weight", (1, 512)),
        ("embedding.bias", (20000, 2)),
        ("embedding_transform.weight", (512, 300)),
        ("embed2hidden.weight", (512, 300)),
        ("hidden_to_embedding.weight", (300, 512)),
        ("optimizer.state.0.exp_avg", (20000, 300)),
        ("optimizer.embedding.weight.exp_avg", (20000, 300)),
        ("embedding.weight_mask", (20000, 300)),
        ("shared.0.weight", (512, 300)),
        ("shared.weight", (64, 32)),
        ("V.weight", (256, 256)),
        ("member.weight", (20000, 300)),
        ("assembler.weight", (20000, 300)),
    ],
    "pykeen": [
        ("interaction.core_tensor", (200, 200, 200)),
        ("interaction.hidden_layer.weight", (200, 10368)),
        ("entity_representations.0.bases._embeddings.weight", (3, 200)),
        ("entity_representations.0.base._embeddings.weight", (3, 200)),
        ("entity_representations.0.regularizer.regularization_term", ()),
        ("entity_representations.0._embeddings.regularizer.weight", (2, 2)),
        ("entity_representations.0.combined.layers.0.w_loop", (200, 200)),
        ("entity_representations.0.aggregation.1.weight", (64, 192)),
        ("entity_representations.0.assignment", (14541, 2)),
    ],
    "other knowledge graph libraries": [
        ("W", (200, 200, 200)),
        ("arr_1", (200, 200)),
        ("bh.weight", (14541, 1)),
        ("modulus", (1, 1)),
        ("conv1.w_loop", (100, 200)),
    ],
    "graphs and molecules": [
        ("convs.0.lin_l.weight", (256, 128)),
        ("gnns.0.mlp.0.weight", (600, 300)),
        ("emb.lin.weight", (128, 384)),
    ],
    "recommenders": [
        ("user_biases.weight", (943, 1)),
        ("linear_model.embedding_dict.user_id.weight", (6040, 1)),
        ("first_order_linear.token_embedding_table.embedding.weight", (9000, 1)),
        ("bot_l.0.weight", (512, 13)),
        ("top_l.0.weight", (512, 367)),
        ("dnn.linears.0.weight", (256, 221)),
        ("MLP_layers.1.weight", (128, 256)),
        ("predict_layer.weight", (1, 64)),
        ("attention_layers.0.in_proj_weight", (150, 50)),
        ("attention_layernorms.0.weight", (50,)),
        ("forward_layers.0.conv1.weight", (50, 50, 1)),
        ("model.dense_arch.model._mlp.0._linear.weight", (512, 13)),
    ],
}


def wrong_verdicts(names: Names, *, is_table: bool) -> list[str]:
    """List the names whose verdict differs, with the reason given."""
    verdicts = [(name, recognise((name,), shape=shape, dtype="float32")) for name, shape in names]
    return [f"{name}: {verdict.reason}" for name, verdict in verdicts if verdict.is_table is not is_table]


@pytest.mark.parametrize("family", TABLES)
def test_recognise_finds_tables_of(family: str) -> None:
    """Every embedding table of a family is recognised."""
    assert wrong_verdicts(TABLES[family], is_table=True) == []


@pytest.mark.parametrize("family", OTHERS)
def test_recognise_leaves_others_of(family: str) -> None:
    """Nothing else of a family is taken for a table."""
    assert wrong_verdicts(OTHERS[family], is_table=False) == []


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "reason"),
    [
        ("transformer.wte.weight", (50257, 768), "float32", "named like a token embedding (wte)"),
        (
            "entity_representations.0._embeddings.weight",
            (14541, 200),
            "complex64",
            "named like an entity embedding (entity_representations.0._embeddings)",
        ),
        ("emb_l.0.weight", (1460, 16), "bfloat16", "named like an embedding (emb_l)"),
        ("model.layers.0.self_attn.q_proj.weight", (64, 64), "float16", "named like a linear layer (q_proj)"),
        ("features.weight", (640, 64), "float64", "not named like an embedding table (features)"),
        ("0.weight", (640, 64), "float32", "no name to go by"),
        ("embedding.weight", (64,), "float32", "1-D"),
        ("embedding.weight", (), "float32", "a single number"),
        ("embedding.weight", (1, 64), "float32", "1 row"),
        ("embedding.weight", (0, 64), "float32", "0 rows"),
        ("embedding.weight", (64, 1), "float32", "1 column: nothing to save"),
        ("embedding.weight", (64, 8), "int8", "integers (int8)"),
        ("embedding.weight", (64, 8), "bool", "truth values (bool)"),
    ],
)
def test_recognise_says_why(name: str, shape: tuple[int, ...], dtype: str, reason: str) -> None:
    """The reason names the word that decided, or the shape or dtype that rules a table out."""
    assert recognise((name,), shape=shape, dtype=dtype).reason == reason


@for_each(
    ("name", "kind"),
    [
        ("transformer.wpe.weight", "position embedding"),
        ("bert.embeddings.token_type_embeddings.weight", "segment embedding"),
        ("bert.embeddings.word_embeddings.weight", "token embedding"),
        ("my_embedding.weight", "embedding"),
        ("a position embedding.conv.weight", ""),
    ],
)
def test_recognise_tells_the_kind_of_a_table(name: str, kind: str) -> None:
    """The kind is that of the words of the name; what is no table has none, whatever its name holds."""
    assert recognise((name,), shape=(512, 64), dtype="float32").kind == kind


@pytest.mark.pykeen
@pytest.mark.parametrize("model", ["DistMultLiteral", "ComplExLiteral"])
def test_recognise_leaves_the_literals_of_pykeen(model: str) -> None:
    """Of the models with literals the entities and relations are tables, and the literals, which are data, are not."""
    import pykeen.models
    from pykeen.triples import TriplesNumericLiteralsFactory

    rows = [[f"e{index}", "r" if index % 2 else "s", f"e{index + 1}"] for index in range(20)]
    literals = [[f"e{index}", f"l{index % 3}", "1.5"] for index in range(20)]
    factory = TriplesNumericLiteralsFactory.from_labeled_triples(
        triples=numpy.array(rows), numeric_triples=numpy.array(literals)
    )
    state = getattr(pykeen.models, model)(triples_factory=factory, embedding_dim=8).state_dict()
    names = [name for name, values in state.items() if recognise((name,), shape=values.shape, dtype="float32").is_table]
    assert names == [
        "entity_representations.0.base.0._embeddings.weight",
        "relation_representations.0._embeddings.weight",
    ]


@pytest.mark.parametrize(
    ("name", "is_table"),
    [
        ("entity_representations.0.base.0._embeddings.weight", True),
        ("entity_representations.0.base.1._embeddings.weight", False),
        ("model.entity_representations.0.base.2._embeddings.weight", False),
        ("entity_representations.0.base._embeddings.weight", True),
        ("entity_representations.0.bases.1._embeddings.weight", True),
        ("entity_representations.0.combination.gate.projection.0.weight", False),
        ("entity_representations.0.combination.combination.projection.0.weight", False),
        ("entity_representations.0.combination.real_combination.projection.0.weight", False),
    ],
)
def test_recognise_tells_literals_by_their_place(name: str, is_table: bool) -> None:
    """Of a combination only the first base is a table; one base, and the parts of a backfill, are tables."""
    assert recognise((name,), shape=(1000, 8), dtype="float32").is_table is is_table


def test_recognise_takes_a_head_tied_to_a_table() -> None:
    """One name of a table among the tied names is enough, in whatever order."""
    for names in (("lm_head.weight", "transformer.wte.weight"), ("transformer.wte.weight", "lm_head.weight")):
        verdict = recognise(names, shape=(50257, 768), dtype="float32")
        assert verdict.is_table
        assert verdict.reason == "named like a token embedding (wte)"


@dataclass(frozen=True)
class Tensor:
    """What rank_candidates looks at."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


def test_rank_candidates_puts_the_most_table_like_first() -> None:
    """Unrefused and long come before wide, before refused; what cannot be a table is not listed."""
    tensors = [
        Tensor("lm_head.weight", (50000, 64)),
        Tensor("small", (1000, 8)),
        Tensor("wide", (100, 9000)),
        Tensor("large", (20000, 64)),
        Tensor("ids", (20000, 64), "int64"),
        Tensor("scale", (20000,)),
    ]
    assert [tensor.name for tensor in rank_candidates(tensors)] == ["large", "small", "wide", "lm_head.weight"]
    assert [tensor.name for tensor in rank_candidates(tensors, count=1)] == ["large"]


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "a.b.weight", True),
        ("ent*", "entity.0.weight", True),
        ("*.weight", "entity.bias", False),
        ("entity", "entity.weight", False),
        ("Entity.weight", "entity.weight", False),
        ("e[0-9].weight", "e1.weight", True),
        ("a[0].weight", "a[0].weight", True),
    ],
)
def test_matches_globs_the_whole_name(pattern: str, name: str, fits: bool) -> None:
    """A pattern fits a whole name, case counts, `*` crosses dots, and a name with brackets fits itself."""
    assert matches([pattern], [name]) is fits
    assert matches(["nothing", pattern], ["other", name]) is fits


def test_rank_candidates_takes_names_without_words() -> None:
    """The only key of nn.Sequential(nn.Embedding), `0.weight`, has no word to go by and is a candidate all the same."""
    tensor = SimpleNamespace(name="0.weight", shape=(640, 64), dtype="float32")
    assert rank_candidates([tensor]) == [tensor]


def test_recognise_knows_the_names_of_public_frameworks() -> None:
    """Recall is at least 95 % and precision at least 99 % over the names in tests/data/tensor_names.tsv."""
    lines = NAMES.read_text(encoding="utf-8").splitlines()[1:]
    outcomes: dict[tuple[bool, bool], list[str]] = {(is_table, is_taken): [] for is_table in BOTH for is_taken in BOTH}
    for line in lines:
        name, sides, _, embedding = line.split("\t")
        shape = tuple(int(side) for side in sides.split("x") if side)
        outcomes[embedding == "yes", recognise((name,), shape=shape, dtype="float32").is_table].append(name)
    taken, missed, wrong = outcomes[True, True], outcomes[True, False], outcomes[False, True]
    recall, precision = len(taken) / (len(taken) + len(missed)), len(taken) / (len(taken) + len(wrong))
    print(f"{len(lines)} names: recall {recall:.3f}, precision {precision:.3f}; missed {missed}, wrong {wrong}")  # noqa: T201 - with -s
    assert len(lines) >= 120
    assert recall >= 0.95, missed
    assert precision >= 0.99, wrong


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_recognise_sees_through_wrappers(wrapper: str) -> None:
    """In front of a public name, or anywhere in it, a wrapper of torch changes neither the verdict nor its reason."""
    for line in NAMES.read_text(encoding="utf-8").splitlines()[1:]:
        name, sides, *_ = line.split("\t")
        shape = tuple(int(side) for side in sides.split("x") if side)
        parts = name.split(".")
        expected = recognise((name,), shape=shape, dtype="float32")
        for index in range(len(parts)):
            wrapped = ".".join([*parts[:index], wrapper, *parts[index:]])
            assert recognise((wrapped,), shape=shape, dtype="float32") == expected, wrapped


def test_recognise_sees_through_parallel_modules() -> None:
    """In front of a public name, the `module` of DataParallel and of DeepSpeed changes nothing."""
    for line in NAMES.read_text(encoding="utf-8").splitlines()[1:]:
        name, sides, *_ = line.split("\t")
        shape = tuple(int(side) for side in sides.split("x") if side)
        for prefix in ("module.", "module._orig_mod.", "model.module."):
            expected = recognise((name,), shape=shape, dtype="float32").is_table
            assert recognise((prefix + name,), shape=shape, dtype="float32").is_table == expected, prefix + name
