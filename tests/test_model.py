from dataclasses import replace

import pytest
import torch
from torch import nn

from caspr_train import learner
from caspr_train.bundle import shape_of
from caspr_train.config import preset
from caspr_train.errors import UsageError
from caspr_train.model import Caspr, Shape
from caspr_train.model.attention import _ShortAttention
from caspr_train.model.blocks import DecoderBlock, EncoderBlock, visible_to_decoder, visible_to_encoder
from caspr_train.model.dropout import Dropout, RandomBits
from caspr_train.model.events import summary, summary_width
from caspr_train.objective import FUTURES, Denominators, count_targets, draw_mask, loss_sums, masked_events
from caspr_train.sequences import Batch, counted
from tests.frames import packed, windows_of


def random_valid(b: int, t: int) -> torch.Tensor:
    lengths = torch.randint(1, t + 1, (b,))
    return torch.arange(t).expand(b, t) >= t - lengths[:, None]


def test_the_encoder_block_is_torchs():
    torch.manual_seed(0)
    ours, theirs = (
        EncoderBlock(16, 4, 32, 0.0, RandomBits()),
        nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True),
    )
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.attention.qkv.weight,
            "self_attn.in_proj_bias": ours.attention.qkv.bias,
            "self_attn.out_proj.weight": ours.attention.out.weight,
            "self_attn.out_proj.bias": ours.attention.out.bias,
            "linear1.weight": ours.feed_forward[0].weight,
            "linear1.bias": ours.feed_forward[0].bias,
            "linear2.weight": ours.feed_forward[3].weight,
            "linear2.bias": ours.feed_forward[3].bias,
            "norm1.weight": ours.norm_attention.weight,
            "norm1.bias": ours.norm_attention.bias,
            "norm2.weight": ours.norm_feed_forward.weight,
            "norm2.bias": ours.norm_feed_forward.bias,
        }
    )
    x, valid = torch.randn(9, 15, 16), random_valid(9, 15)
    expected = theirs(x, src_key_padding_mask=~valid)
    torch.testing.assert_close(ours(x, visible_to_encoder(valid))[valid], expected[valid], atol=1e-5, rtol=1e-5)


def test_the_decoder_block_is_torchs_with_a_memory_of_one():
    torch.manual_seed(0)
    ours, theirs = (
        DecoderBlock(16, 4, 32, 0.0, RandomBits(), 16),
        nn.TransformerDecoderLayer(16, 4, 32, 0.0, batch_first=True),
    )
    state = theirs.state_dict()
    state.update(
        {
            "self_attn.in_proj_weight": ours.attention.qkv.weight,
            "self_attn.in_proj_bias": ours.attention.qkv.bias,
            "self_attn.out_proj.weight": ours.attention.out.weight,
            "self_attn.out_proj.bias": ours.attention.out.bias,
            "multihead_attn.out_proj.weight": ours.out.weight,
            "multihead_attn.out_proj.bias": ours.out.bias,
            "linear1.weight": ours.feed_forward[0].weight,
            "linear1.bias": ours.feed_forward[0].bias,
            "linear2.weight": ours.feed_forward[3].weight,
            "linear2.bias": ours.feed_forward[3].bias,
        }
    )
    state["multihead_attn.in_proj_weight"][32:] = ours.value.weight.detach()
    state["multihead_attn.in_proj_bias"][32:] = ours.value.bias.detach()
    theirs.load_state_dict(state)
    x, memory = torch.randn(9, 15, 16), torch.randn(9, 16)
    expected = theirs(x, memory[:, None], tgt_mask=nn.Transformer.generate_square_subsequent_mask(15))
    everything = visible_to_decoder(torch.ones(9, 15, dtype=torch.bool))
    torch.testing.assert_close(ours(x, everything, memory), expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module", params=[("paper", {}), ("default", {"masked_weight": 1.0})], ids=["paper", "default"])
def built(request):
    name, changes = request.param
    config = preset(name, **changes)
    sequences, encoding, _ = packed(config, customers=120, longest=60)
    torch.manual_seed(0)
    return Caspr(config, shape_of(encoding)).eval(), windows_of(config, sequences, encoding), sequences


def test_an_embedding_depends_neither_on_the_batch_nor_on_padding(built):
    model, windows, sequences = built
    together = model.embed(windows.cut(torch.arange(len(sequences))))
    alone = torch.cat([model.embed(windows.cut(torch.tensor([i]))) for i in range(len(sequences))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    batch = windows.cut(torch.arange(len(sequences)))
    assert not batch.valid.all(), "the test needs padding"
    padding = ~batch.valid
    batch.categories[padding] = torch.randint(1, 4, batch.categories[padding].shape)
    batch.numbers[padding] = torch.randn_like(batch.numbers[padding])
    batch.days_before[padding] = 5.0
    torch.testing.assert_close(model.embed(batch), together, atol=1e-6, rtol=1e-6)


def test_a_masked_event_is_gone_whatever_it_was(built):
    model, windows, sequences = built
    batch = windows.cut(torch.arange(len(sequences)))
    hide = draw_mask(batch.valid, 0.3, torch.rand(batch.valid.shape))
    before = model.latent(batch, hide), model.decode(batch, hide, model.latent(batch, hide))[hide]
    batch.categories[hide] = 1
    batch.numbers[hide] = 9.0
    batch.days_before[hide] = -3.0
    after = model.latent(batch, hide), model.decode(batch, hide, model.latent(batch, hide))[hide]
    torch.testing.assert_close(before, after)


def test_the_decoder_sees_no_later_event(built):
    model, windows, sequences = built
    batch = windows.cut(torch.arange(len(sequences)))
    nothing = torch.zeros_like(batch.valid)
    embedding = model.latent(batch)
    before = model.decode(batch, nothing, embedding)
    batch.numbers[:, 10:] += 1.0
    after = model.decode(batch, nothing, embedding)
    torch.testing.assert_close(before[:, :10][batch.valid[:, :10]], after[:, :10][batch.valid[:, :10]])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_the_embedding_at_an_instant_sees_nothing_at_or_after_it(built):
    model, windows, sequences = built
    which, instant = torch.arange(len(sequences)), windows.oldest_age() // 2
    before = model.embed(windows.cut(which, instant))
    owner = torch.repeat_interleave(which, sequences.offsets.diff())
    late = sequences.age.long() <= instant[owner]
    assert 0 < late.sum() < len(late)
    sequences = replace(
        sequences,
        categories=torch.where(late[:, None], 1, sequences.categories),
        numbers=torch.where(late[:, None], 9.0, sequences.numbers),
        money=torch.where(late, 1e6, sequences.money),
    )
    poisoned = replace(windows, sequences=sequences)
    torch.testing.assert_close(model.embed(poisoned.cut(which, instant)), before, atol=0, rtol=0)
    assert not torch.allclose(model.embed(poisoned.cut(which)), model.embed(windows.cut(which)))


def test_no_gradient_is_nan_and_every_weight_has_one(built):
    model, windows, sequences = built
    batch = windows.cut(torch.arange(len(sequences)), windows.oldest_age() // 2)
    hide = draw_mask(batch.valid, 0.3, torch.rand(batch.valid.shape))
    model.zero_grad()
    loss, _ = model(batch, hide, count_targets(batch, hide))
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
    assert sum(float(w.grad.abs().sum()) > 0 for w in model.parameters()) == sum(1 for _ in model.parameters())


def test_the_shares_of_a_step_add_up_to_its_loss(built):
    model, windows, sequences = built
    which, hides = torch.arange(len(sequences)), torch.rand(len(sequences), model.config.sequence_length)
    instant = windows.oldest_age() * 3 // 4
    whole = windows.cut(which, instant)
    hide = draw_mask(whole.valid, 0.3, hides)
    counts = count_targets(whole, hide)
    expected, _ = model(whole, hide, counts)
    looks_ahead = model.future_head is not None
    assert (
        counts.masked.min() > 0 and (counts.next.min() > 0) == looks_ahead and (counts.future.min() > 0) == looks_ahead
    )
    parts, counted = [], 0
    for part in (slice(0, 17), slice(17, 90), slice(90, None)):
        batch = windows.cut(which[part], instant[part])
        hidden = draw_mask(batch.valid, 0.3, hides[part])
        counted = counted + count_targets(batch, hidden).flat()
        parts.append(model(batch, hidden, counts)[0])
    torch.testing.assert_close(sum(parts), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(counted, Denominators.flat(counts))


def test_pieces_without_their_padding_have_the_loss_and_the_gradients_of_the_whole(built, monkeypatch):
    monkeypatch.setattr(learner, "WORTH_A_PIECE", 30)
    model, windows, sequences = built
    batch = windows.cut(torch.arange(len(sequences)), windows.random_instants(torch.Generator().manual_seed(1)))
    hide = draw_mask(batch.valid, 0.3, torch.rand(batch.valid.shape, generator=torch.Generator().manual_seed(2)))
    counts = count_targets(batch, hide)
    pieces = learner.cut_up(batch, hide)
    assert len({piece.valid.shape[1] for piece, _ in pieces}) > 2 and all(hidden.any() for _, hidden in pieces)

    def loss_and_gradients(parts):
        model.zero_grad()
        loss = sum(model(*part, counts)[0] for part in parts)
        loss.backward()
        return loss.detach(), {name: weight.grad.clone() for name, weight in model.named_parameters()}

    whole, cut = loss_and_gradients([(batch, hide)]), loss_and_gradients(pieces)
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-6)


def test_a_gpu_that_does_not_ask_how_many_are_masked_has_the_same_losses(built):
    model, windows, sequences = built
    which = torch.arange(len(sequences))
    batch = windows.cut(which, windows.random_instants(torch.Generator().manual_seed(3)))
    hide = draw_mask(batch.valid, 0.3, torch.rand(batch.valid.shape))
    embedding = model.latent(batch, hide)
    states = model.decode(batch, hide, embedding)
    compact, everywhere = (
        loss_sums(model, batch, masked_events(batch, hide, states, way), embedding).flat() for way in (True, False)
    )
    assert compact.isfinite().all() and compact[0] > 0
    torch.testing.assert_close(compact, everywhere, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("encoder", ["pool", "gru", "transformer"])
def test_without_masked_recovery_every_encoder_learns_ignores_padding_and_can_be_turned(encoder):
    config = preset("default", encoder=encoder, sequence_length=9)
    sequences, encoding, _ = packed(config, customers=80, longest=60)
    torch.manual_seed(0)
    model, windows = Caspr(config, shape_of(encoding)).eval(), windows_of(config, sequences, encoding)
    batch = windows.cut(torch.arange(80), windows.oldest_age() // 2)
    hide = torch.zeros_like(batch.valid)
    assert not model.decoder and not batch.valid.all()
    loss, _ = model(batch, hide, count_targets(batch, hide))
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name

    before, latent = model.embed(batch).detach(), model.latent(batch).detach()
    padding = ~batch.valid
    batch.categories[padding] = 1
    batch.numbers[padding], batch.days_before[padding] = 3.0, 5.0
    torch.testing.assert_close(model.embed(batch), before, atol=1e-5, rtol=1e-5)

    model.turn_to_axes(latent)
    turned, width = model.embed(batch).detach(), config.embedding_width
    torch.testing.assert_close(turned[:, width:], before[:, width:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(batch, hide, count_targets(batch, hide))[0], loss, atol=1e-4, rtol=1e-4)
    far = torch.cdist(latent.double(), latent.double())
    torch.testing.assert_close(torch.cdist(*[turned[:, :width].double()] * 2), far, atol=1e-3, rtol=1e-3)
    spread = turned[:, :width].var(0)
    assert (spread.diff() <= 1e-6).all() and turned[:, :width].mean(0).abs().max() < 1e-4
    between = torch.cov(turned[:, :width].t()).fill_diagonal_(0)
    assert between.abs().max() < 1e-4


def test_the_default_sees_what_only_the_order_of_events_says():
    """Kinds 3, 4 and 5 right after each other somewhere among random ones: neither counts nor places tell it."""
    generator = torch.Generator().manual_seed(0)

    def windows(count, t=20):
        kinds = torch.randint(3, 6, (count, t), generator=generator)
        there = ((kinds[:, :-2] == 3) & (kinds[:, 1:-1] == 4) & (kinds[:, 2:] == 5)).any(1)
        valid = torch.ones(count, t, dtype=torch.bool)
        profile = torch.zeros(count, 0, dtype=torch.int64), torch.zeros(count, 0)
        return Batch(kinds[..., None], torch.zeros(count, t, 1), torch.zeros(count, t), valid, *profile), there

    torch.manual_seed(0)
    model, head = Caspr(preset("default", sequence_length=20), Shape([6], 1, [], 0)), nn.Linear(32, 1)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(150):
        batch, there = windows(256)
        loss = nn.functional.binary_cross_entropy_with_logits(head(model.latent(batch))[:, 0], there.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch, there = windows(2000)
    right = (head(model.eval().latent(batch))[:, 0] > 0) == there
    assert 0.4 < there.float().mean() < 0.6 and right.float().mean() > 0.95


def test_the_vector_says_what_the_future_head_expects_and_the_means_of_the_numbers():
    config = preset("default", sequence_length=9)
    sequences, encoding, _ = packed(config, customers=40)
    model, windows = Caspr(config, shape_of(encoding)).eval(), windows_of(config, sequences, encoding)
    batch = windows.cut(torch.arange(40))
    vectors, latent = model.embed(batch), model.latent(batch)
    numbers = batch.numbers.shape[-1] + 1
    assert vectors.shape[1] == model.width == 32 + FUTURES + 2 * numbers
    torch.testing.assert_close(vectors[:, 32 : 32 + FUTURES], model.future_head(latent))
    for i in range(40):
        there = torch.cat([batch.numbers[i], batch.days_before[i, :, None]], dim=1)[batch.valid[i]]
        expected = torch.cat([there.nan_to_num().mean(0), there.isnan().float().mean(0)])
        torch.testing.assert_close(vectors[i, 32 + FUTURES :], expected)


def test_the_summary_is_what_counting_finds_without_what_is_masked():
    config = preset("default", sequence_length=9)
    sequences, encoding, _ = packed(config, customers=40)
    batch = windows_of(config, sequences, encoding).cut(torch.arange(40))
    hide = draw_mask(batch.valid, 0.3, torch.rand(batch.valid.shape))
    cardinalities = encoding.cardinalities("sequence")
    found = summary(batch, hide, cardinalities)
    assert found.shape[1] == summary_width(cardinalities, batch.numbers.shape[-1] + 1)
    for i in range(40):
        shown = batch.valid[i] & ~hide[i]
        numbers = torch.cat([batch.numbers[i], batch.days_before[i, :, None]], dim=1)[shown]
        counts = [
            torch.bincount(batch.categories[i, shown, place], minlength=n)[1:] for place, n in counted(cardinalities)
        ]
        expected = [
            numbers.nanmean(0).nan_to_num(),
            *(one.float().log1p() for one in ((~numbers.isnan()).sum(0), *counts)),
        ]
        torch.testing.assert_close(found[i], torch.cat(expected))


@pytest.mark.parametrize("columns", [1, 2, 8])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_on_a_cpu_is_that_of_torch_with_its_gradients(columns, causal):
    torch.manual_seed(0)
    heads, b, t = 4, 7, 15
    valid = random_valid(b, t)
    visible = visible_to_decoder(valid) if causal else visible_to_encoder(valid)
    qkv = torch.randn(b, t, 3 * heads * columns, requires_grad=True)
    ours = _ShortAttention.apply(qkv, visible, heads)
    q, k, v = qkv.view(b, t, 3, heads, columns).permute(2, 0, 3, 1, 4)
    theirs = nn.functional.scaled_dot_product_attention(q, k, v, visible[:, None]).transpose(1, 2).reshape(b, t, -1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    above = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, qkv, above)[0], torch.autograd.grad(theirs, qkv, above)[0], atol=1e-5, rtol=1e-4
    )


def test_dropout_drops_its_share_keeps_the_mean_and_repeats_itself():
    bits = RandomBits()
    dropout = Dropout(0.1, bits)
    bits.seed(7, 3)
    x = torch.ones(1000, 1001, requires_grad=True)  # no multiple of the four numbers in a word
    first = dropout(x)
    assert (first == 0).double().mean().item() == pytest.approx(0.1, abs=0.002)
    assert first.detach().mean().item() == pytest.approx(1.0, abs=0.002)
    first.sum().backward()
    assert torch.equal(x.grad, first)
    bits.seed(7, 3)
    assert torch.equal(dropout(x), first) and not torch.equal(dropout(x), first)
    assert dropout.eval()(x) is x


def test_a_mask_hides_its_share_never_padding_and_always_something():
    torch.manual_seed(0)
    valid = random_valid(4000, 15)
    hide = draw_mask(valid, 0.3, torch.rand(4000, 15))
    assert not (hide & ~valid).any() and hide.any(dim=1).all()
    long = valid.all(dim=1)
    assert abs(float(hide[long].float().mean()) - 0.3) < 0.02


def test_the_core_imports_neither_a_database_nor_dbt_nor_arrow():
    import subprocess
    import sys

    code = (
        "import sys, caspr_train.model, caspr_train.objective, caspr_train.sequences; "
        "sys.exit(any(m in sys.modules for m in ('duckdb', 'dbt', 'pandas', 'pyarrow', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected a whole number of 1 or more"),
        ({"hidden": 30}, "hidden is 30; expected a multiple of heads"),
        ({"sampled_softmax_above": 0}, "sampled_softmax_above is 0; expected a whole number of 1 or more"),
        ({"mask_share": 1.5}, "mask_share is 1.5; expected a share between 0 and 1"),
        ({"windows": "latest"}, "need windows='random'"),
        ({"encoder": "lstm"}, "encoder is 'lstm'; expected 'transformer', 'pool' or 'gru'"),
        ({"next_event_weight": 0.0}, "masked_weight and next_event_weight are 0"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(changes, message):
    with pytest.raises(UsageError, match=message):
        preset("default", **changes)
    with pytest.raises(UsageError, match="--preset huge: unknown; expected one of default, paper"):
        preset("huge")
