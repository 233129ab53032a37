"""Attributes of very many values: what a sample of them teaches, and what it costs."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import Config, preset
from caspr_train.distributed import Processes, launch
from caspr_train.embedding import write_item_embeddings
from caspr_train.learner import NEGATIVES, Job, Learner, draws
from caspr_train.model import Caspr, Shape, tied
from caspr_train.model.tied import TiedHead, draw_negatives, log_frequency
from caspr_train.objective import count_targets, draw_mask, loss_sums, masked_events
from caspr_train.sequences import ALWAYS, MISSING, PAD, RESERVED, UNK, Batch, PackedSequences
from caspr_train.trainer import train, validate
from tests.frames import job_of, packed, training_folder, windows_of

SMALL = {"hidden": 32, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 4, "dropout": 0.0}
PRODUCT = 1  # its place among the categorical attributes of tests.frames, and of `shop`
CPU = torch.device("cpu")


def shop(config: Config, items: Tensor, values: int) -> tuple[PackedSequences, Job]:
    """Customers [n, t] who did nothing but buy `items`, every ten days; item codes are below `values`."""
    n, t = items.shape
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(RESERVED, RESERVED + 2, (n * t,), generator=generator)
    sequences = PackedSequences(
        categories=torch.stack([kinds, items.flatten()], dim=1).int(),
        numbers=torch.randn(n * t, 1, generator=generator).half(),
        age=(torch.arange(t, 0, -1) * 864_000).int().repeat(n),
        money=torch.full((n * t,), torch.nan),
        offsets=torch.arange(n + 1) * t,
        profile_age=torch.full((n,), ALWAYS, dtype=torch.int32),
        profile_categories=torch.zeros(n, 0, dtype=torch.int16),
        profile_numbers=torch.zeros(n, 0).half(),
    )
    shape = Shape([RESERVED + 2, values], 1, [], 0)
    return sequences, Job(config, shape, (0.0, 1.0), 30 * 86_400 if config.windows == "random" else 0)


@pytest.fixture(scope="module", params=[("paper", 10), ("default", 10), ("default", 1)])
def built(request) -> tuple[Caspr, Batch, Tensor]:
    """A model whose products are sampled and whose types are not, or both are; a batch and its mask."""
    name, above = request.param
    config = preset(name, sampled_softmax_above=above, minimum_count=1, dropout=0.0, masked_weight=1.0)
    sequences, encoding, _ = packed(config, customers=120, longest=40)
    torch.manual_seed(0)
    model, windows = Caspr(config, shape_of(encoding)), windows_of(config, sequences, encoding)
    batch = windows.cut(torch.arange(120), windows.random_instants(torch.Generator().manual_seed(3)))
    return model, batch, draw_mask(batch.valid, 0.3, torch.rand(batch.valid.shape))


def test_where_no_attribute_has_many_values_the_weights_are_those_of_a_plain_head():
    config = preset("default")
    _, encoding, _ = packed(config, customers=60)
    shape = shape_of(encoding)
    weights = Caspr(config, shape).state_dict()
    few, widths = shape.sequence_cardinalities, [math.ceil(math.sqrt(n)) for n in shape.sequence_cardinalities]
    assert [n for n in weights if "tied" in n] == [] and weights["category_head.weight"].shape == (sum(few), 64)
    tables = [weights[f"events.attributes.tables.{i}.weight"].shape for i in range(len(few))]
    assert tables == list(zip(few, widths, strict=True))
    at = Caspr(preset("default", sampled_softmax_above=max(few)), shape).state_dict()
    above = Caspr(preset("default", sampled_softmax_above=max(few) - 1), shape).state_dict()
    assert list(at) == list(weights) and "tied_heads.1.bias" in above


def test_negatives_are_as_frequent_as_they_are_expected_and_never_padding():
    values, count, times = 1000, 64, 4000
    drawn = torch.stack([draw_negatives(values, torch.Generator().manual_seed(i), count) for i in range(times)])
    assert drawn.shape == (times, count) and drawn.min() == PAD + 1 and drawn.max() == values - 1
    expected = log_frequency(torch.arange(1, values), values).exp()
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    found = torch.bincount(drawn.flatten(), minlength=values)[1:] / drawn.numel()
    assert (found - expected).abs().sum() < 0.07  # 0.05 if as many were drawn one by one
    torch.testing.assert_close(found[:20], expected[:20], rtol=0.05, atol=0)
    # Common ones come about as often as expected in every single draw.
    often = (drawn == 1).sum(1)
    assert often.min() >= math.floor(count * expected[0]) and often.max() <= math.ceil(count * expected[0])


def test_a_step_draws_the_same_negatives_whoever_works_on_it_and_another_step_others(built):
    model, config = built[0], built[0].config
    drawn = [model.draw_negatives(draws(config, step, NEGATIVES)) for step in (5, 6, 5)]
    assert list(drawn[0]) == (["1"] if config.sampled_softmax_above == 10 else ["0", "1"])
    assert all(torch.equal(drawn[0][i], drawn[2][i]) for i in drawn[0])
    assert not torch.equal(drawn[0]["1"], drawn[1]["1"])


@pytest.mark.parametrize("count", [32, 256])
def test_the_gradient_of_a_sample_is_on_average_that_of_all_values(count):
    torch.manual_seed(0)
    values, width, hidden, m = 400, 16, 16, 128
    head, table = TiedHead(hidden, values, width), torch.randn(values, width, requires_grad=True)
    with torch.no_grad():
        head.bias += 0.5 * torch.randn(values)  # what is learnt differs from what negatives are drawn by
        head.project.weight *= 3
        head.reserved.normal_()
    states, targets = torch.randn(m, hidden), draw_negatives(values, torch.Generator().manual_seed(5), m)
    targets[:3] = torch.tensor([PAD, UNK, MISSING])
    weights = [table, *head.parameters()]

    def loss_and_gradient(negatives: Tensor | None) -> tuple[float, Tensor]:
        loss = head(states, table, targets, negatives)
        return loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    exact, wanted = loss_and_gradient(None)
    sampled = [loss_and_gradient(draw_negatives(values, torch.Generator().manual_seed(i), count)) for i in range(400)]
    mean = torch.stack([gradient for _, gradient in sampled]).mean(0)
    one_by_one = sum(float((gradient - wanted).norm()) for _, gradient in sampled) / len(sampled)
    # What is left is that the logarithm of a mean is not the mean of logarithms; it falls with the count.
    assert float((mean - wanted).norm() / wanted.norm()) < {32: 0.25, 256: 0.07}[count]
    assert float((mean - wanted).norm()) < one_by_one / 2
    assert np.mean([loss for loss, _ in sampled]) == pytest.approx(exact, rel={32: 0.06, 256: 0.01}[count])


def test_negatives_that_are_the_target_itself_are_taken_out():
    torch.manual_seed(0)
    head, table, states = TiedHead(16, 50, 8), torch.randn(50, 8), torch.randn(2, 16)
    targets, negatives = torch.tensor([7, 9]), torch.tensor([7, 7, 7])
    alone = head(states[:1], table, targets[:1], negatives)
    assert alone.item() == 0  # nothing is left to tell it from
    assert head(states, table, targets, negatives) > 0.1


def test_without_negatives_the_loss_is_exact_whatever_its_pieces(built, monkeypatch):
    model, batch, hide = built
    values = model.shape.sequence_cardinalities[PRODUCT]
    embedding = model.latent(batch, hide)
    states = model.decode(batch, hide, embedding)
    head = model.tied_heads[str(PRODUCT)]
    codes = torch.cat([head.reserved, model.table(PRODUCT)[RESERVED:]])
    logits = (head.project(states[hide]) @ codes.t() + head.bias)[:, PAD + 1 :]
    targets = batch.categories[..., PRODUCT][hide]
    assert {MISSING, RESERVED} <= set(targets.tolist())
    expected = F.cross_entropy(logits, targets - (PAD + 1), reduction="sum")
    for most in (1, 7 * values, 2**23):
        monkeypatch.setattr(tied, "MOST_LOGITS", most)
        _, sums = model(batch, hide, count_targets(batch, hide))
        torch.testing.assert_close(sums.masked[PRODUCT], expected.detach(), rtol=1e-5, atol=1e-4)


def test_a_validation_draws_nothing_and_says_the_same_twice(monkeypatch):
    config = preset("default", sampled_softmax_above=10)
    sequences, encoding, _ = packed(config, customers=120)
    job, which = job_of(config, encoding), torch.arange(120)
    windows = job.windows(sequences)
    model = Learner(job, windows, CPU).model
    monkeypatch.setattr(TiedHead, "_sampled", None)
    seen = sequences.count_values(which >= 0, job.shape.sequence_cardinalities)
    assert validate(model, windows, which, job, seen) == validate(model, windows, which, job, seen)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_gpu_that_does_not_ask_how_many_are_masked_has_the_same_losses(built, sampled):
    model, batch, hide = built
    negatives = model.draw_negatives(torch.Generator().manual_seed(1)) if sampled else None
    embedding = model.latent(batch, hide)
    states = model.decode(batch, hide, embedding)
    compact, everywhere = (
        loss_sums(model, batch, masked_events(batch, hide, states, way), embedding, negatives).flat()
        for way in (True, False)
    )
    assert compact.isfinite().all() and compact[PRODUCT] > 0
    torch.testing.assert_close(compact, everywhere, rtol=1e-5, atol=1e-4)


def test_every_weight_has_a_finite_gradient(built):
    model, batch, hide = built
    model.zero_grad()
    loss, _ = model(batch, hide, count_targets(batch, hide), model.draw_negatives(torch.Generator().manual_seed(1)))
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name


def test_a_step_begun_from_its_weights_is_the_same_to_the_bit():
    items = draw_negatives(500, torch.Generator().manual_seed(0), 100 * 8).view(100, 8).flip(1)
    config = preset("paper", sampled_softmax_above=100, sequence_length=8, batch_size=100, **SMALL)
    sequences, job = shop(config, items, 500)
    through, resumed = (Learner(job, job.windows(sequences), CPU) for _ in range(2))
    for step in range(4):
        if step == 2:
            resumed.model.load_state_dict(through.model.state_dict())
            resumed.optimizer.load_state_dict(copy.deepcopy(through.optimizer.state_dict()))
        loss = through.step(step, 4, torch.arange(100))
        if step >= 2:
            assert torch.equal(resumed.step(step, 4, torch.arange(100)), loss)
    for name, weight in through.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def keep_weights(rank: int, count: int, device: torch.device, folder: Path, job: Job) -> None:
    model = train(rank, count, device, folder, job)
    safetensors.torch.save_file(model.state_dict(), folder / f"{rank}-of-{count}.safetensors")


def test_two_processes_end_with_identical_weights_and_near_those_of_one(tmp_path):
    config = preset("default", sampled_softmax_above=10, **SMALL, batch_size=101, epochs=2)
    job = training_folder(tmp_path, config, customers=300, longest=10)
    for count in (1, 2):
        launch(keep_weights, Processes(0, count), tmp_path, tmp_path, job)
    first, second, alone = (
        safetensors.torch.load_file(tmp_path / f"{name}.safetensors") for name in ("0-of-2", "1-of-2", "0-of-1")
    )
    assert "tied_heads.1.project.weight" in first
    for name in first:
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], alone[name], atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("loyal", [True, False])
def test_who_always_buys_the_same_is_found_among_thousands_of_items_and_chance_is_not(tmp_path, loyal):
    values, customers = 3000, 3000
    bought = np.random.default_rng(0).integers(RESERVED, values, (customers, 1 if loyal else 8))
    small = {**SMALL, "embedding_width": 32, "batch_size": 64, "learning_rate": 3e-3, "epochs": 6 if loyal else 2}
    config = preset("paper", sampled_softmax_above=500, sequence_length=8, **small)
    sequences, job = shop(config, torch.from_numpy(bought).expand(-1, 8).contiguous(), values)
    sequences.save(tmp_path / "packed", torch.arange(customers) % 10 == 0)
    model = train(0, 1, CPU, tmp_path, job)
    validation = json.loads((tmp_path / "metrics.json").read_text())["validation"]
    loss, entropy = validation["masked"][PRODUCT], math.log(values - RESERVED)
    # Not the entropy of what 300 held-out customers happened to buy, which is below that of what they choose from.
    assert entropy - 0.05 < validation["masked_baseline"][PRODUCT] < entropy + (0.7 if loyal else 0.2)
    assert loss < entropy / 4 if loyal else loss > entropy, f"{loss:.2f} against an entropy of {entropy:.2f}"
    # Nobody bought an unknown item: its code was drawn as a negative all the time, and adds nothing to an event still.
    assert not model.table(PRODUCT)[UNK].any() and model.tied_heads[str(PRODUCT)].reserved[UNK].any()


COSTS = """
import resource, sys, torch
from caspr_train.config import preset
from caspr_train.learner import Learner
from caspr_train.model.tied import draw_negatives
from caspr_train.trainer import validate
from tests.test_sampled import CPU, shop
values = 200_000
items = draw_negatives(values, torch.Generator().manual_seed(0), 256 * 15).flip(0).view(15, 256).t()
sequences, job = shop(preset("default", masked_weight=1.0), items, values)
assert sequences.categories.dtype == torch.int32 and items.max() > 2**15
windows = job.windows(sequences)
learner = Learner(job, windows, CPU)
for step in range(3):
    learner.step(step, 3, torch.arange(256), windows.random_instants(torch.Generator().manual_seed(step)))
seen = sequences.count_values(torch.arange(256) >= 0, job.shape.sequence_cardinalities)
seen = validate(learner.model, windows, torch.arange(256), job, seen)
weights = sum(weight.numel() for weight in learner.model.parameters())
print(weights, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, seen["masked"][1], seen["next"][1])
"""


def test_two_hundred_thousand_items_train_in_bounded_memory():
    done = subprocess.run([sys.executable, "-c", COSTS], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    weights, kilobytes, masked, following = map(float, done.stdout.split())
    assert weights < 200_000 * 65 + 200_000  # 64 columns and a bias; the rest of the model is small
    # Weights, gradients and two moments are 0.2 GiB, torch itself 0.2; a full softmax of one step alone would be 2.
    assert kilobytes < 1.1 * 2**20
    assert 0 < masked < math.log(200_000) and 0 < following < math.log(200_000)


def test_a_bundle_with_sampled_items_is_saved_loaded_and_gives_its_items(tmp_path):
    config = preset("default", sampled_softmax_above=10)
    _, encoding, _ = packed(config)
    torch.manual_seed(0)
    model = Caspr(config, shape_of(encoding))
    Bundle("0123456789ab", config, encoding, model.state_dict(), {}, {}).save(tmp_path / "bundle")
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.config.sampled_softmax_above == 10
    items = write_item_embeddings(tmp_path / "items.parquet", bundle, datetime(2026, 1, 1))
    table = pq.read_table(tmp_path / "items.parquet")
    values = encoding.vocabularies_["sequence.product"].values_
    assert items == len(values) and table["item"].to_pylist() == values
    vectors, bias = model.item_space(PRODUCT)
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), vectors[RESERVED:].numpy())
    np.testing.assert_array_equal(table["bias"].to_numpy(), bias[RESERVED:].numpy().astype(np.float64))


@pytest.mark.parametrize("above", [10, 5000])
def test_an_items_vector_and_bias_give_the_models_own_logits_of_the_next_item(above):
    config = preset("default", sampled_softmax_above=above)
    sequences, encoding, _ = packed(config)
    torch.manual_seed(0)
    model, windows = Caspr(config, shape_of(encoding)).eval(), windows_of(config, sequences, encoding)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)  # nothing is zero any more
        customers = model.embed(windows.cut(torch.arange(50)))
        vectors, bias = model.item_space(PRODUCT)
        logits = customers @ vectors.t() + bias
        assert vectors.shape == (model.shape.sequence_cardinalities[PRODUCT], model.width)
        states = model.next_event(customers[:, : config.embedding_width])
        if above == 10:
            head, targets = model.tied_heads[str(PRODUCT)], torch.arange(50) % 20 + RESERVED
            expected = head(states, model.table(PRODUCT), targets, None)
            torch.testing.assert_close(
                torch.nn.functional.cross_entropy(logits[:, PAD + 1 :], targets - 1, reduction="sum"), expected
            )
        else:
            expected = model.category_head(states).split(model.few, dim=-1)[PRODUCT]
            torch.testing.assert_close(logits, expected)


def test_without_a_next_event_an_item_is_its_input_and_has_no_bias():
    config = preset("paper")
    _, encoding, _ = packed(config)
    model = Caspr(config, shape_of(encoding))
    vectors, bias = model.item_space(PRODUCT)
    assert bias is None and vectors.equal(model.table(PRODUCT))
