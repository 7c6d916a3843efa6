from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xraytk.errors import DataError, UsageError
from xraytk.models.attending import cross_attention
from xraytk.models.choosing import Draw
from xraytk.models.language import DecoderConfig, ReportDecoder
from xraytk.models.r2gen import MemoryConfig
from xraytk.models.search import SearchConfig
from xraytk.models.tokens import Vocabulary, join, split, units

EN = [
    "AP view. The x-ray shows a 2.1 cm nodule (right lung); no pneumothorax.",
    "No effusion? The AP view is clear.",
]
ZH = ["右肺见一枚约2.1 cm结节，未见气胸。", "心影不大，双侧膈肌光滑。"]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.build({"en": EN, "zh": ZH})


@pytest.fixture(params=["plain", "r2gen", "cmn"])
def decoder(vocabulary: Vocabulary, request: pytest.FixtureRequest) -> ReportDecoder:
    torch.manual_seed(0)
    sizes = MemoryConfig(rows=64, top_k=4)
    config = DecoderConfig(
        kind=request.param, width=32, depth=2, heads=4, max_tokens=12, min_count=1, memory=sizes
    )
    made = ReportDecoder(config, vocabulary, memory_width=24).eval()
    for weight in made.parameters():  # decided enough that beams differ
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return made


def seen_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    seen = torch.ones(3, 9, dtype=torch.bool)
    seen[1, 5:] = False
    return torch.randn(3, 9, 24, generator=torch.Generator().manual_seed(1)), seen


def test_words_and_numbers_stay_whole_and_characters_stand_alone() -> None:
    assert split("The x-ray shows 2.1 cm.", "en") == ["The", "x-ray", "shows", "2.1", "cm", "."]
    assert split("右肺结节2.1 cm,未见.", "zh") == [
        "右",
        "肺",
        "结",
        "节",
        "2.1",
        "cm",
        "，",
        "未",
        "见",
        "。",
    ]
    assert units("ＣＴ１２", "zh") == ["ct12"]
    assert split(" \n", "en") == []


def test_both_languages_come_back_as_they_were_written(vocabulary: Vocabulary) -> None:
    for text in EN:
        assert vocabulary.decode(vocabulary.encode(text, "en", 40), "en") == text
    assert vocabulary.decode(vocabulary.encode(ZH[1], "zh", 40), "zh") == ZH[1]


def test_a_unit_stands_apart_from_its_number() -> None:
    assert split("直径约12mm结节", "zh") == ["直", "径", "约", "12", "mm", "结", "节"]
    assert split("a 3.5cm mass, 2nd rib", "en") == ["a", "3.5", "cm", "mass", ",", "2nd", "rib"]


def test_capitals_are_written_where_the_training_reports_have_them() -> None:
    vocabulary = Vocabulary.build({"en": ["Findings: The heart. Impression: No nodule; no mass on AP view."]})
    text = "Impression: The AP view; no nodule. Findings: No mass."
    assert vocabulary.decode(vocabulary.encode(text, "en", 40), "en") == text


def test_sentence_case_and_spaces() -> None:
    assert join(list("a.(b)c?5%."), "en") == "A. (B) c? 5%."
    assert join(["约", "2.1", "cm", "结", "节", "。"], "zh") == "约2.1 cm结节。"


def test_a_report_starts_with_its_language_and_ends_with_an_end(vocabulary: Vocabulary) -> None:
    numbers = vocabulary.encode("clear .", "en", 40)
    assert numbers[0] == vocabulary.start("en") != vocabulary.start("zh")
    assert numbers[-1] == vocabulary.eos


def test_a_cut_report_is_not_taught_to_stop(vocabulary: Vocabulary) -> None:
    assert vocabulary.eos not in vocabulary.encode(EN[0], "en", 3)
    assert len(vocabulary.encode(EN[0], "en", 3)) == 4


def test_unknown_and_rare_words_become_unknown(vocabulary: Vocabulary) -> None:
    assert vocabulary.unk in vocabulary.encode("zebra", "en", 40)
    assert "nodule" not in Vocabulary.build({"en": EN}, min_count=2).tokens
    assert "view" in Vocabulary.build({"en": EN}, min_count=2).tokens


def test_a_vocabulary_is_the_same_after_writing_and_reading(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "tokenizer.json")
    again = Vocabulary.load(tmp_path / "tokenizer.json")
    assert (again.tokens, again.cased) == (vocabulary.tokens, vocabulary.cased)


def test_a_broken_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"format": 1, "tokens": ["<pad>"], "cased": {}, "ends": []}')
    with pytest.raises(DataError, match="not a whole vocabulary"):
        Vocabulary.load(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match="no report"):
        Vocabulary.build({"en": [" "]})


SEARCHES = [
    SearchConfig(),
    SearchConfig(beam=1, no_repeat=2),
    SearchConfig(beam=3, no_repeat=2, length_penalty=0.0),
    SearchConfig(beam=1, sample=True, top_p=0.9, top_k=9, temperature=1.2, seed=5),
]


def test_cached_decoding_equals_uncached_and_a_batch_its_images_alone(decoder: ReportDecoder) -> None:
    memory, seen = seen_tokens()
    keys = ["a", "b", "c"]
    found = []
    for search in SEARCHES:
        texts = decoder.write(memory, seen, "zh", search, keys)
        assert texts == decoder.write(memory, seen, "zh", replace(search, cached=False), keys)
        alone = [
            decoder.write(memory[i : i + 1], seen[i : i + 1], "zh", search, keys[i : i + 1]) for i in range(3)
        ]
        assert texts == [text for (text,) in alone]
        found.append(tuple(texts))
    assert decoder.write(memory[1:2, :5], seen[1:2, :5], "zh", SEARCHES[0]) == [found[0][1]]
    assert len(set(found)) == len(SEARCHES)


def test_what_is_kept_changes_no_score(decoder: ReportDecoder) -> None:
    memory, seen = seen_tokens()
    logits: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for cached, steps in logits.items():
        hook = decoder.writer.register_forward_hook(lambda _, __, out, to=steps: to.append(out.logits[:, -1]))
        decoder.write(memory, seen, "en", SearchConfig(cached=cached))
        hook.remove()
    kept, anew = torch.stack(logits[True]), torch.stack(logits[False])
    assert kept.shape == (13, 9, len(decoder.vocabulary))
    torch.testing.assert_close(kept, anew, atol=1e-4, rtol=1e-4)


def test_draws_depend_on_the_seed_and_follow_the_probabilities() -> None:
    scores = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).expand(1000, -1)
    keys = [str(i) for i in range(1000)]
    drawn = Draw(0, keys)(torch.empty(0), scores).argmax(-1)
    assert torch.bincount(drawn) / 1000 == pytest.approx([0.6, 0.3, 0.1], abs=0.05)
    assert not torch.equal(drawn, Draw(1, keys)(torch.empty(0), scores).argmax(-1))


def test_no_bigram_comes_twice_when_forbidden(decoder: ReportDecoder) -> None:
    memory, seen = seen_tokens()
    for text in decoder.write(memory, seen, "zh", SearchConfig(no_repeat=2)):
        pairs = list(zip(units(text, "zh"), units(text, "zh")[1:], strict=False))
        assert len(pairs) == len(set(pairs))


def test_the_next_token_does_not_see_the_future(decoder: ReportDecoder) -> None:
    memory, seen = seen_tokens()
    tokens = torch.randint(5, 20, (3, 8), generator=torch.Generator().manual_seed(2))
    changed = tokens.clone()
    changed[:, 5:] = 6
    before, after = decoder(tokens, memory, seen), decoder(changed, memory, seen)
    torch.testing.assert_close(before[:, :5], after[:, :5])


@pytest.mark.parametrize("width", [32, 128])
def test_a_new_decoder_looks_at_some_image_tokens_more_than_at_others(
    vocabulary: Vocabulary, width: int
) -> None:
    """Weights too small for the width look everywhere alike, and learn from hardly any one token."""
    torch.manual_seed(0)
    config = DecoderConfig(width=width, depth=2, heads=4, max_tokens=12, min_count=1)
    fresh = ReportDecoder(config, vocabulary, memory_width=24).eval()
    memory, seen = torch.randn(4, 100, 24), torch.ones(4, 100, dtype=torch.bool)
    found = cross_attention(fresh, torch.randint(5, 20, (4, 8)), memory, seen, heads=[0])  # (B, L, S)
    assert found.mean() == pytest.approx(1 / 100)
    assert 3 / 100 < found.amax(-1).mean() < 1 / 3


def test_hidden_image_tokens_change_nothing(decoder: ReportDecoder) -> None:
    memory, seen = seen_tokens()
    tokens = torch.full((3, 4), 6)
    other = torch.where(seen[..., None], memory, torch.full_like(memory, 9.0))
    torch.testing.assert_close(decoder(tokens, memory, seen), decoder(tokens, other, seen))


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match=r"decoder\.width"):
        DecoderConfig(width=30, heads=8)
    with pytest.raises(UsageError, match=r"search\.sample"):
        SearchConfig(sample=True)
    with pytest.raises(UsageError, match=r"search\.top_p"):
        SearchConfig(top_p=0)
    with pytest.raises(UsageError, match="top_k"):
        MemoryConfig(rows=9)
    with pytest.raises(UsageError, match="even"):
        DecoderConfig(kind="cmn", width=15, heads=3)


def test_the_blank_of_a_de_identified_report_is_one_word() -> None:
    for text, lang in (("Seen by ___ on ___.", "en"), ("患者___，___复查。", "zh")):
        words = split(text, lang)
        assert words.count("___") == 2
        assert join(words, lang) == text
