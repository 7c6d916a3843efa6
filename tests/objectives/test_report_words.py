from __future__ import annotations

from pathlib import Path

import pytest
import torch
from phantom_pairs import phantoms, rng, take
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from xraytk.errors import DataError, UsageError
from xraytk.models.text_encoder import TextConfig, TextEncoder, WordCodec
from xraytk.models.tokens import Vocabulary
from xraytk.objectives.words import WordHead, choose_reports, cover, hide_words, sentences, shuffled

EN = "The heart is normal. No effusion of 2.1 cm."
WORDS = Vocabulary.build({"en": [EN], "zh": ["心影不大。"]})


def codec() -> WordCodec:
    return WordCodec(WORDS, 20)


def test_words_are_counted_and_special_tokens_are_none() -> None:
    codes = codec().encode(["the heart frobs normal", "", "心影不大"], ["en", "en", "zh"])
    assert codes.words.tolist() == [[-1, 0, 1, -1, 2, -1], [-1] * 6, [-1, 0, 1, 2, 3, -1]]
    assert codes.real.sum(1).tolist() == [6, 2, 6]
    assert codes.present.tolist() == [True, False, True]
    assert codes.tokens[0, 0] != codes.tokens[2, 0]  # the first token says the language


def test_half_of_six_words_are_three_and_one_of_few() -> None:
    words = torch.tensor([[-1, 0, 1, 2, 3, 4, 5, -1], [-1, 0, -1, -1, -1, -1, -1, -1], [-1] * 8])
    for seed in range(20):
        hidden = hide_words(words, 0.5, rng(seed))
        assert hidden.sum(1).tolist() == [3, 1, 0]
        assert hide_words(words, 0.15, rng(seed)).sum(1).tolist() == [1, 1, 0]
        assert not hidden[words == -1].any()
    assert hide_words(torch.full((2, 3), -1), 0.5, rng()).sum() == 0


def test_a_word_is_hidden_whole() -> None:
    words = torch.tensor([[-1, 0, 0, 0, 1, 1, 2, 3, -1]])
    for seed in range(20):
        hidden = hide_words(words, 0.5, rng(seed))[0]
        by_word = {n: set(hidden[words[0] == n].tolist()) for n in range(4)}
        assert all(len(seen) == 1 for seen in by_word.values())
        assert sum(True in seen for seen in by_word.values()) == 2


def test_all_words_are_hidden_as_often() -> None:
    words = torch.arange(6)[None].repeat(4000, 1)
    share = hide_words(words, 0.5, rng()).float().mean(0)
    assert float((share - 0.5).abs().max()) < 0.03


def test_hidden_words_are_masked_or_mixed_as_bert_has_it() -> None:
    codes = codec().encode([EN] * 1000, ["en"] * 1000)
    hidden = hide_words(codes.words, 0.5, rng())
    shown = cover(codes, hidden, codec(), rng(), mixed=False)
    assert bool((shown[hidden] == codec().mask).all())
    assert torch.equal(shown[~hidden], codes.tokens[~hidden])
    shown = cover(codes, hidden, codec(), rng(), mixed=True)
    assert torch.equal(shown[~hidden], codes.tokens[~hidden])
    assert float((shown[hidden] == codec().mask).float().mean()) == pytest.approx(0.8, abs=0.03)
    kept = float((shown[hidden] == codes.tokens[hidden]).float().mean())
    assert kept == pytest.approx(0.1 + 0.1 / 15, abs=0.03)


def test_reports_are_cut_after_sentences_but_not_inside_numbers() -> None:
    assert sentences(EN) == ["The heart is normal.", "No effusion of 2.1 cm."]
    assert sentences("心影不大。两肺清晰；膈面光滑") == ["心影不大。", "两肺清晰；", "膈面光滑"]


def test_shuffling_keeps_one_to_all_sentences_each_once() -> None:
    text, seen = "A b. C d. E f.", set()
    for seed in range(200):
        parts = sentences(shuffled([text], ["en"], rng(seed))[0])
        assert set(parts) <= {"A b.", "C d.", "E f."}
        assert len(set(parts)) == len(parts) >= 1
        seen.add(tuple(parts))
    assert len(seen) == 3 + 6 + 6
    assert shuffled([""], ["en"], rng()) == [""]
    assert shuffled(["", "心。肺。"], ["en", "zh"], rng(1))[1] in {"心。", "肺。", "心。肺。", "肺。心。"}


def test_one_of_the_languages_is_drawn_of_those_there_are() -> None:
    batch = take(phantoms(), range(4))
    batch.reports = {"en": ["a", "b", "", ""], "zh": ["甲", "", "丙", " "]}
    drawn = [choose_reports(batch, ("en", "zh"), rng(seed)) for seed in range(50)]
    assert {texts[0] for texts, _ in drawn} == {"a", "甲"}
    assert {tuple(texts[1:]) for texts, _ in drawn} == {("b", "丙", "")}
    assert choose_reports(batch, ("zh",), rng())[0] == ["甲", "", "丙", ""]


def test_the_loss_of_words_is_a_mean_over_a_reports_hidden_ones_then_over_images() -> None:
    head = WordHead(4, 8)
    torch.nn.init.zeros_(head.tell.weight)
    torch.nn.init.zeros_(head.tell.bias)
    tokens, truth = torch.randn(2, 3, 4, requires_grad=True), torch.zeros(2, 3, dtype=torch.long)
    where = torch.tensor([[True, True, False], [False, False, False]])
    of_one = torch.tensor(8.0).log().item()  # the other image has none
    assert head(tokens, truth, where).item() == pytest.approx(of_one / 2)
    assert head(tokens, truth, where[[0, 0]]).item() == pytest.approx(of_one)
    none = head(tokens, truth, torch.zeros_like(where))
    none.backward()
    assert none.item() == 0
    assert not bool(tokens.grad.any())  # type: ignore[union-attr]
    assert all(p.grad is not None and not bool(p.grad.any()) for p in head.parameters())


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers model with pieces of words, as somebody else would save it."""
    folder = tmp_path_factory.mktemp("bert")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "heart", "##s", "is", "normal", "."]
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(pieces), **shape)).save_pretrained(folder)
    return folder


def test_a_transformers_model_brings_its_own_pieces(foreign: Path) -> None:
    text = TextEncoder(TextConfig(model=str(foreign), max_tokens=20), None)
    codes = text.encode(["hearts is normal", ""], ["en", "en"])
    assert codes.words.tolist() == [[-1, 0, 0, 1, 2, -1], [-1] * 6]
    assert codes.present.tolist() == [True, False]
    assert text.codec.mask == 4
    out = text(codes.tokens, codes.real)
    assert out.shape == (2, 6, 16)
    out.sum().backward()
    assert [n for n, p in text.named_parameters() if p.grad is None] == []


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot load the text model"):
        TextEncoder(TextConfig(model=str(tmp_path)), None)
    with pytest.raises(UsageError, match="neither vocabulary"):
        TextEncoder(TextConfig(), None)
    with pytest.raises(UsageError, match=r"text\.langs"):
        TextConfig(langs=("fr",))


def test_padding_changes_no_vector() -> None:
    torch.manual_seed(0)
    config = TextConfig(width=16, depth=1, heads=2, max_tokens=20, min_count=1)
    text = TextEncoder(config, lambda langs, least: WORDS).eval()
    short, both = text.encode(["heart"], ["en"]), text.encode(["heart", EN], ["en", "en"])
    alone, beside = text(short.tokens, short.real), text(both.tokens, both.real)
    torch.testing.assert_close(alone[0], beside[0, :3], rtol=1e-5, atol=1e-6)
