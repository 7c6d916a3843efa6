from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from xraytk.errors import UsageError
from xraytk.models import vocabularies
from xraytk.models.attending import cross_attention
from xraytk.models.language import DecoderConfig
from xraytk.models.layers import Attention
from xraytk.models.pieces import PieceVocabulary
from xraytk.models.r2gen import MemoryConfig, MemoryWriter
from xraytk.models.r2gen_words import R2GenVocabulary
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import VitConfig
from xraytk.models.vocabularies import DecoderVocabulary
from xraytk.records import Batch
from xraytk.tasks.attention import AttentionConfig, Term, TermMap, drawn, laid, map_terms, terms
from xraytk.tasks.reporting import ReportTask

MakeBatch = Callable[..., Batch]
Texts = dict[str, list[str]]
KINDS = ("plain", "r2gen", "cmn")


def made(texts: Texts, kind: str) -> ReportTask:
    torch.manual_seed(0)
    decoder = DecoderConfig(
        kind=kind,  # type: ignore[arg-type]
        width=32,
        depth=2,
        heads=4,
        max_tokens=20,
        min_count=1,
        memory=MemoryConfig(rows=64, top_k=8),
    )
    words = vocabularies.build("words", texts, ("en", "zh"), 1)
    return ReportTask(
        VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4), decoder, words, ("en", "zh")
    )


def asked(task: ReportTask, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    memory, seen = task.look(batch)
    tokens = [task.vocabulary.encode(text, "zh", 20)[:5] for text in batch.reports["zh"]]
    return torch.tensor(tokens), memory, seen


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_one_head_or_all_sum_to_one_and_leave_padding_out(
    make_batch: MakeBatch, texts: Texts, kind: str
) -> None:
    task, batch = made(texts, kind).eval(), make_batch(4)
    batch.valid[:, :, 16:] = False  # the right half of the frame is padding
    tokens, memory, seen = asked(task, batch)
    each = [cross_attention(task.decoder, tokens, memory, seen, layer=0, heads=[h]) for h in range(4)]
    mean = cross_attention(task.decoder, tokens, memory, seen, layer=0)
    for found in (*each, mean):
        assert found.shape == (4, 5, 17)
        torch.testing.assert_close(found.sum(-1), torch.ones(4, 5))
        assert not found[~seen[:, None].expand_as(found)].any()
    torch.testing.assert_close(mean, torch.stack(each).mean(0))
    last = cross_attention(task.decoder, tokens, memory, seen)
    torch.testing.assert_close(last, cross_attention(task.decoder, tokens, memory, seen, layer=1))
    assert not torch.allclose(last, mean)


@pytest.mark.parametrize("kind", KINDS)
def test_later_words_change_no_earlier_row_and_the_decoder_writes_as_before(
    make_batch: MakeBatch, texts: Texts, kind: str
) -> None:
    task, batch = made(texts, kind).eval(), make_batch(4)
    tokens, memory, seen = asked(task, batch)
    before = task.decoder(tokens, memory, seen)
    whole = cross_attention(task.decoder, tokens, memory, seen)
    torch.testing.assert_close(cross_attention(task.decoder, tokens[:, :3], memory, seen), whole[:, :3])
    assert torch.equal(task.decoder(tokens, memory, seen), before)


def test_the_weights_are_those_with_which_the_values_are_summed() -> None:
    torch.manual_seed(0)
    layer, x, image = Attention(8, 2, 0.0).eval(), torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[1, ..., 3:] = False
    known = layer.keys_values(image)
    summed = layer.out((layer.weights(x, known, mask) @ known[1]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(summed, layer(x, known, mask))


def test_a_layer_or_head_that_is_not_there_is_refused(make_batch: MakeBatch, texts: Texts) -> None:
    task, batch = made(texts, "plain"), make_batch(4)
    with pytest.raises(UsageError, match=r"maps\.layer is 2"):
        task.attend(batch, texts["zh"], "zh", AttentionConfig(layer=2))
    with pytest.raises(UsageError, match=r"maps\.heads names 4"):
        task.attend(batch, texts["zh"], "zh", AttentionConfig(heads=(0, 4)))
    with pytest.raises(UsageError, match=r"maps\.most is 0"):
        AttentionConfig(most=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_term_has_one_map_of_sum_one_over_the_patches_of_the_image(
    make_batch: MakeBatch, texts: Texts, kind: str
) -> None:
    task, batch = made(texts, kind).train(), make_batch(4)
    batch.valid[:, 24:] = False
    found = task.attend(
        batch, ["右侧胸腔积液，左肺结节。", "", "未见气胸。", "正常"], "zh", AttentionConfig()
    )
    assert [[one.term.words for one in maps] for maps in found] == [["胸腔积液", "结节"], [], ["气胸"], []]
    for one in found[0] + found[2]:
        assert one.grid.shape == (4, 4)
        assert one.grid.sum() == pytest.approx(1, abs=1e-5)
        assert not one.grid[3].any()
        assert one.valid.sum() == 12
    assert task.training
    if kind != "plain":
        assert isinstance(task.decoder.writer, MemoryWriter)


def test_present_terms_come_before_denied_ones_where_not_all_are_kept() -> None:
    text = "No pneumothorax. Possible edema. Left effusion."
    assert [t.words for t in terms(text, "en", 9)] == ["pneumothorax", "edema", "effusion"]
    assert [(t.words, t.state) for t in terms(text, "en", 2)] == [
        ("edema", "uncertain"),
        ("effusion", "present"),
    ]
    assert all(text[t.start : t.end] == t.words for t in terms(text, "en", 9))


@pytest.mark.parametrize(
    ("lang", "text", "places", "rows"),
    [
        ("zh", "左胸腔积液", [(i, i + 1) for i in range(5)], [1, 2, 3, 4]),
        ("en", "big effusion", [(0, 3), (4, 6), (6, 9), (9, 12)], [1, 2, 3]),  # pieces of a word
    ],
)
def test_the_map_of_a_term_is_the_mean_over_its_characters_or_pieces(
    lang: str, text: str, places: list[tuple[int, int]], rows: list[int]
) -> None:
    attention = np.eye(len(places), 6, dtype=np.float32).reshape(-1, 2, 3)
    valid = np.ones((2, 3), np.bool_)
    (found,) = map_terms(text, lang, places, attention, valid, 6)
    assert found.grid.ravel().tolist() == pytest.approx([(i in rows) / len(rows) for i in range(6)])
    assert found.peak == pytest.approx(6 / len(rows))
    assert map_terms(text, lang, places[:1], attention[:1], valid, 6) == []  # the term was cut off


TERM = Term("x", 0, 1, ("Edema",), "present")


def test_a_bright_patch_lies_on_the_image_where_the_frame_shows_it() -> None:
    """An image of 400 x 200 lies in columns 16 to 48 of a 64 px frame: patches 2 to 5 of 8."""
    grid, valid = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.bool_)
    valid[:, 2:6] = True
    grid[1, 4] = 1  # rows 8 to 16 and columns 32 to 40 of the frame
    heat = laid(TermMap(TERM, grid, valid), 64, "letterbox", (400, 200))
    assert heat.shape == (400, 200)
    rows, cols = np.nonzero(heat > 0.5 * heat.max())
    assert (rows.mean(), cols.mean()) == pytest.approx((74.5, 124.5), abs=1)  # centre of 50-100, 100-150
    assert heat.max() == pytest.approx(1, abs=0.15)
    assert not heat[150:].any()
    assert not heat[:, :50].any()


def test_stretched_images_are_stretched_back_and_padding_takes_nothing_from_the_edge() -> None:
    valid = np.ones((4, 4), np.bool_)
    valid[:, 2:] = False
    heat = laid(TermMap(TERM, np.where(valid, np.float32(1 / 8), 0), valid), 32, "letterbox", (64, 32))
    grid = np.zeros((4, 4), np.float32)
    grid[0, 3] = 1
    tall = laid(TermMap(TERM, grid, np.ones((4, 4), np.bool_)), (32, 32), "stretch", (100, 40))
    assert heat[:, :16].min() > 0.99
    assert tall.shape == (100, 40)
    assert np.unravel_index(tall.argmax(), tall.shape)[0] < 25
    assert np.unravel_index(tall.argmax(), tall.shape)[1] >= 30


def test_where_a_map_is_nought_the_image_keeps_its_greys() -> None:
    image = np.full((4, 4), 100, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    out = drawn(image, heat)
    assert out[1:].tolist() == np.full((3, 4, 3), 100).tolist()
    assert out[0, 0, 2] > 150 > out[0, 0, 0]


def tokenizer() -> PieceVocabulary:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = ["[UNK]", "left", "eff", "##usion", ".", "胸", "腔", "积", "液", "。"]
    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return PieceVocabulary(made)


@pytest.mark.parametrize(
    ("vocabulary", "lang", "text", "wanted"),
    [
        (Vocabulary.build({"en": ["Left effusion."]}), "en", "Left effusion.", ["Left", "effusion", "."]),
        (Vocabulary.build({"zh": ["胸腔积液"]}), "zh", "胸腔积液。", list("胸腔积液。")),
        (
            R2GenVocabulary.build(["left effusion"], 1, "iu"),
            "en",
            "left effusion .",
            ["left", "effusion", "."],
        ),
        (
            R2GenVocabulary.build(["left effusion"], 1, "iu"),
            "en",
            "Left effusion. OK",
            ["Left", "effusion", ".", "OK", ""],
        ),
        (tokenizer(), "en", "Left effusion.", ["Left", "eff", "usion", "."]),
        (tokenizer(), "zh", "胸腔积液。", list("胸腔积液。")),
    ],
)
def test_every_word_number_has_its_place_in_the_text(
    vocabulary: DecoderVocabulary, lang: str, text: str, wanted: list[str]
) -> None:
    places = vocabulary.places(text, lang, 20)
    assert [text[start:end] for start, end in places] == wanted
    assert len(places) == len([n for n in vocabulary.encode(text, lang, 20)[1:] if n != vocabulary.eos])
    assert len(vocabulary.places(text, lang, 2)) <= 2
