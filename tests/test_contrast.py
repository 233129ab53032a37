from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from caspr_train.bundle import shape_of
from caspr_train.config import preset
from caspr_train.model import Caspr
from caspr_train.objective import TEMPERATURE, count_targets
from caspr_train.sequences import PAD, Batch
from tests.frames import packed, windows_of


@pytest.fixture(params=["pool", "gru", "transformer"])
def built(request):
    config = preset("default", encoder=request.param, contrast_weight=1.0)
    sequences, encoding, _ = packed(config, customers=80, longest=60)
    torch.manual_seed(0)
    model, windows = Caspr(config, shape_of(encoding)).eval(), windows_of(config, sequences, encoding)
    return model, windows.cut(torch.arange(80), windows.oldest_age() // 3)


def contrast(model, batch):
    return model(batch, torch.zeros_like(batch.valid), count_targets(batch, torch.zeros_like(batch.valid)))[1].contrast


def test_the_halves_of_windows_by_hand():
    kinds = torch.tensor([[0, 0, 0, 0, 7], [0, 0, 0, 3, 4], [0, 0, 5, 6, 7], [1, 2, 3, 4, 5]])
    batch = Batch(
        kinds[..., None],
        kinds[..., None].float(),
        torch.ones(4, 5),
        kinds > 0,
        torch.ones(4, 1, dtype=torch.int64),
        torch.ones(4, 1),
        future=torch.ones(4, 1),
    )
    older, newer = batch.halves()
    assert older.categories[..., 0].tolist() == [[0, 0, 0, 0, 7], [0, 0, 0, 0, 3], [0, 0, 0, 0, 5], [0, 0, 0, 1, 2]]
    assert newer.categories[..., 0].tolist() == [[0, 0, 0, 0, 7], [0, 0, 0, 0, 4], [0, 0, 0, 6, 7], [0, 0, 3, 4, 5]]
    for half in (older, newer):
        assert PAD == 0 and torch.equal(half.valid, half.categories[..., 0] > 0)
        torch.testing.assert_close(half.numbers[half.valid], half.categories[half.valid].float())
        assert half.numbers[~half.valid].isnan().all() and half.days_before.isnan().all() and half.future is None


def test_a_half_is_told_among_the_halves_of_all_customers_who_have_two(built):
    model, batch = built
    has = batch.valid.sum(1) > 1
    assert has.any() and not has.all()
    older, newer = (F.normalize(model.latent(half, hide_profile=True)[has]) for half in batch.halves())
    similar, own = older @ newer.t() / TEMPERATURE, torch.arange(int(has.sum()))
    expected = (F.cross_entropy(similar, own, reduction="sum") + F.cross_entropy(similar.t(), own, reduction="sum")) / 2
    torch.testing.assert_close(contrast(model, batch), expected.detach()[None], rtol=1e-4, atol=1e-4)
    assert count_targets(batch, torch.zeros_like(batch.valid)).contrast.tolist() == [has.sum()]


def test_neither_the_profile_nor_the_time_to_the_instant_gives_a_pair_away(built):
    model, batch = built
    before = contrast(model, batch)
    other = replace(
        batch,
        profile_categories=torch.ones_like(batch.profile_categories),
        profile_numbers=torch.randn_like(batch.profile_numbers),
        days_before=torch.randn_like(batch.days_before),
    )
    torch.testing.assert_close(contrast(model, other), before, rtol=0, atol=0)
    moved = replace(batch, categories=batch.categories.clamp(max=1))
    assert not torch.allclose(contrast(model, moved), before)


def test_its_gradient_is_finite_where_windows_of_one_activity_are_among_others(built):
    model, batch = built
    one = replace(batch, valid=torch.arange(batch.valid.shape[1]).expand_as(batch.valid) == batch.valid.shape[1] - 1)
    hide = torch.zeros_like(batch.valid)
    for some in (batch, one):
        model.zero_grad()
        loss, sums = model(some, hide, count_targets(some, hide))
        loss.backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters())
        assert (sums.contrast > 0) == (some is batch)
