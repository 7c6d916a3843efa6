"""Laws of R2Gen's and R2GenCMN's parts, against loops written here."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xraytk.models.crossmodal import CrossModalMemory
from xraytk.models.layers import Attention, UnbiasedNorm, sinusoids
from xraytk.models.r2gen import MemoryConfig, MemoryWriter
from xraytk.models.relational import BIAS, ConditionalNorm, RelationalMemory


def writer(kind: str) -> MemoryWriter:
    torch.manual_seed(0)
    memory = MemoryConfig(rows=40, top_k=6)
    made = MemoryWriter(kind=kind, words=30, width=32, depth=2, heads=4, dropout=0.1, memory=memory)
    return made.eval()


def attention_by_loop(layer: Attention, asks: Tensor, known: Tensor) -> Tensor:
    """Multi-head attention of one sample, a head and a row at a time."""
    q, k, v = layer.query(asks), layer.key(known), layer.value(known)
    wide = q.shape[1] // layer.heads
    out = torch.zeros_like(q)
    for head in range(layer.heads):
        part = slice(head * wide, (head + 1) * wide)
        for row in range(len(q)):
            shares = ((k[:, part] @ q[row, part]) / math.sqrt(wide)).softmax(0)
            out[row, part] = shares @ v[:, part]
    return layer.out(out)


def test_the_relational_memory_is_its_recurrence() -> None:
    torch.manual_seed(1)
    rm = RelationalMemory(slots=3, width=16, heads=4, dropout=0.1).eval()
    words = torch.randn(2, 5, 16)
    told, last = rm(words, rm.start(words))
    for sample in range(2):
        memory = torch.zeros(3, 16)
        memory[range(3), range(3)] = 1
        for t in range(5):
            y = words[sample, t]
            candidate = memory + attention_by_loop(rm.attend, memory, torch.cat((memory, y[None])))
            first, _, second, _ = rm.mlp
            candidate = candidate + F.relu(second(F.relu(first(candidate))))
            gates = rm.gate_word(y) + rm.gate_memory(torch.tanh(memory))
            take, keep = gates[:, :16], gates[:, 16:]
            memory = torch.sigmoid(take) * torch.tanh(candidate) + torch.sigmoid(keep) * memory
            torch.testing.assert_close(told[sample, t], memory.flatten())
        torch.testing.assert_close(last[sample], memory)


def test_the_conditional_norm_with_zero_networks_is_the_unbiased_norm() -> None:
    norm, plain, x = ConditionalNorm(16, 48), UnbiasedNorm(16), torch.randn(2, 5, 16)
    told = torch.randn(2, 5, 48)
    biases = [p for name, p in norm.named_parameters() if "more" in name and name.endswith("bias")]
    assert len(biases) == 4
    assert all((bias == BIAS).all() for bias in biases)
    assert not torch.allclose(norm(x, told), plain(x))
    for parameter in (*norm.more_gain.parameters(), *norm.more_bias.parameters()):
        nn.init.zeros_(parameter)
    torch.testing.assert_close(norm(x, told), plain(x))


def test_the_unbiased_norm_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])  # mean 3, unbiased variance (4 + 1 + 0 + 9) / 3
    torch.testing.assert_close(UnbiasedNorm(4)(x), (x - 3) / (math.sqrt(14 / 3) + 1e-6))
    assert not torch.allclose(UnbiasedNorm(4)(x), F.layer_norm(x, (4,)), atol=0.1)


def test_positions_by_hand() -> None:
    found = sinusoids(2, 2, 4, torch.empty(0))
    rows = [[math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in (2, 3)]
    torch.testing.assert_close(found, torch.tensor(rows))


def test_the_cross_modal_memory_mixes_the_best_rows_alone() -> None:
    torch.manual_seed(2)
    memory = CrossModalMemory(rows=20, width=16, heads=4, top_k=3)
    nn.init.normal_(memory.table)
    x = torch.randn(1, 5, 16)
    q, k, v = memory.query(x[0]), memory.key(memory.table), memory.value(memory.table)
    wanted = torch.zeros(5, 16)
    for head in range(4):
        part = slice(head * 4, head * 4 + 4)
        for row in range(5):
            scores = k[:, part] @ q[row, part] / 2
            best = scores.argsort(descending=True)[:3]
            wanted[row, part] = scores[best].softmax(0) @ v[best, part]
    torch.testing.assert_close(memory(x)[0], memory.out(wanted))


def test_the_cross_modal_table_starts_small() -> None:
    table = CrossModalMemory(rows=2048, width=512, heads=8, top_k=32).table
    assert table.shape == (2048, 512)
    assert table.std().item() == pytest.approx(1 / 512, rel=0.01)


@pytest.mark.parametrize("kind", ["r2gen", "cmn"])
def test_word_after_word_with_a_cache_is_all_words_at_once(kind: str) -> None:
    made, words = writer(kind), torch.randint(30, (3, 7))
    seen = torch.ones(3, 9, dtype=torch.bool)
    seen[1, 5:] = False
    image = made.look(torch.randn(3, 9, 32), seen)
    given = {"encoder_hidden_states": image, "encoder_attention_mask": seen}
    whole = made(input_ids=words, **given).logits
    cache = made.cache(image)
    parts = [
        made(input_ids=words[:, i:j], past_key_values=cache, **given).logits for i, j in ((0, 3), (3, 4))
    ]
    order = torch.tensor([2, 0, 1])  # as beams change places; here whole images do
    cache.reorder_cache(order)
    cache.image = [(k[order], v[order]) for k, v in cache.image]
    given = {"encoder_hidden_states": image[order], "encoder_attention_mask": seen[order]}
    rest = made(input_ids=words[order, 4:], past_key_values=cache, **given).logits
    torch.testing.assert_close(torch.cat(parts, 1), whole[:, :4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rest, whole[order, 4:], atol=1e-5, rtol=1e-5)


def test_image_tokens_have_places_in_cmn_and_none_in_r2gen() -> None:
    x, order = torch.randn(1, 6, 32), torch.tensor([3, 1, 0, 5, 4, 2])
    seen = torch.ones(1, 6, dtype=torch.bool)
    for kind, same in (("r2gen", True), ("cmn", False)):
        made = writer(kind)
        assert torch.allclose(made.look(x, seen)[:, order], made.look(x[:, order], seen), atol=1e-5) == same


def test_words_are_scaled_and_dropped_out_twice() -> None:
    made = writer("r2gen")
    inputs: list[Tensor] = []
    assert made.relational is not None
    made.relational.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    made.blocks[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    given = {"encoder_hidden_states": torch.randn(1, 4, 32), "encoder_attention_mask": torch.ones(1, 4)}
    words = torch.tensor([[3, 4]])
    made(input_ids=words, **given)
    wanted = made.embed.weight[words] * math.sqrt(32) + sinusoids(0, 2, 32, torch.empty(0))
    torch.testing.assert_close(inputs[0], wanted)
    torch.testing.assert_close(inputs[1], wanted)
    made.train()(input_ids=words, **given)
    assert not torch.equal(inputs[2], inputs[3])


@pytest.mark.parametrize("kind", ["r2gen", "cmn"])
def test_half_precision_trains_and_decodes(kind: str) -> None:
    made, words = writer(kind), torch.randint(30, (2, 5))
    seen = torch.ones(2, 4, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        image = made.look(torch.randn(2, 4, 32), seen)
        given = {"encoder_hidden_states": image, "encoder_attention_mask": seen}
        whole = made(input_ids=words, **given).logits
        whole.float().square().mean().backward()
        cache = made.cache(image)
        parts = [made(input_ids=words[:, [t]], past_key_values=cache, **given).logits for t in range(5)]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=0.1, rtol=0.1)
