"""What the model is asked to do: masked recovery (paper, section 5), next event, future window, contrastive slices.

Every loss is a sum over valid targets here and is divided by the count of the whole step, over all processes and
micro-batches, only when the parts are put together: the gradient is then the same for any number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from caspr_train.config import Config
from caspr_train.sequences import FUTURE_TARGETS, HORIZON_SHARES, PAD, Batch

if TYPE_CHECKING:
    from caspr_train.model import Caspr

FUTURES = len(HORIZON_SHARES) * len(FUTURE_TARGETS)
# Of cosines of slices; that of SimCLR and of many after it.
TEMPERATURE = 0.1
LOOKS_AHEAD = "an objective that looks past the window needs windows with horizon_seconds above 0"


@dataclass
class LossSums:
    """Sums of losses: masked [c + n] and next [c + n] in the order of the attributes; future [FUTURES], the
    targets of the first horizon first; contrast [1]; and content [horizons x contents] as in Batch, or [0]."""

    masked: Tensor
    next: Tensor
    future: Tensor
    contrast: Tensor
    content: Tensor

    def detach(self) -> LossSums:
        return LossSums(*(getattr(self, field.name).detach() for field in fields(self)))

    def flat(self) -> Tensor:
        return torch.cat([getattr(self, field.name) for field in fields(self)])


class Denominators(LossSums):
    """Counts of valid targets, in the same places as the sums."""

    @classmethod
    def from_flat(cls, flat: Tensor, per_event: int) -> Denominators:
        """`per_event`: c + n."""
        known = [per_event, per_event, FUTURES, 1]
        return cls(*flat.split([*known, len(flat) - sum(known)]))


def draw_mask(valid: Tensor, share: float, noise: Tensor) -> Tensor:
    """Masked events [b, t] bool: each valid one with probability `share`, at least one in every window.

    `noise` [b, t] is uniform on [0, 1), drawn by the caller for all places whatever is valid, so that the masks of a
    step depend on (seed, epoch, step) alone. At least one, because a window without a masked event teaches nothing.
    """
    hide = valid & (noise < share)
    lowest = noise.masked_fill(~valid, 2.0).argmin(dim=1, keepdim=True)
    fallback = torch.zeros_like(hide).scatter(1, lowest, True) & ~hide.any(dim=1, keepdim=True)
    return hide | (fallback & valid)


def count_targets(batch: Batch, hide: Tensor) -> Denominators:
    """How many valid targets this batch holds, in the places of LossSums."""
    categories = batch.categories.shape[-1]
    numbers = (~batch.numbers.isnan() & hide[..., None]).sum((0, 1))
    masked = torch.cat([hide.sum().expand(categories), numbers]).double()
    pairs = has_slices(batch).sum().double()[None]
    if batch.next_categories is None or batch.next_numbers is None or batch.future is None:
        return Denominators(masked, torch.zeros_like(masked), masked.new_zeros(FUTURES), pairs, masked.new_zeros(0))
    following = torch.cat(
        [(batch.next_categories != PAD).sum(0).double(), (~batch.next_numbers.isnan()).sum(0).double()]
    )
    future = (~batch.future.isnan()).sum(0).flatten().double()
    content = masked.new_zeros(0) if batch.content is None else (~batch.content.isnan()).sum(0).flatten().double()
    return Denominators(masked, following, future, pairs, content)


def masked_events(batch: Batch, hide: Tensor, states: Tensor, compact: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What is asked of the decoder: its states [m, hidden] at masked events, and their categories and numbers.

    Compact, m is the number of masked events. To know it is to wait for a GPU, so there m is b t, with PAD and NaN,
    which no loss counts, at all other places.
    """
    if compact:
        at = hide.nonzero(as_tuple=True)
        return states[at], batch.categories[at], batch.numbers[at]
    shown = ~hide[..., None]
    categories = batch.categories.masked_fill(shown, PAD)
    numbers = batch.numbers.masked_fill(shown, torch.nan)
    return states.flatten(0, 1), categories.flatten(0, 1), numbers.flatten(0, 1)


def loss_sums(
    model: Caspr,
    batch: Batch,
    asked: tuple[Tensor, Tensor, Tensor] | None,
    embedding: Tensor,
    negatives: dict[str, Tensor] | None = None,
) -> LossSums:
    """`asked`: as masked_events gives it, None: nothing is masked; `embedding`: ν_E; `negatives`: as
    Caspr.draw_negatives, None: exact."""
    nothing = embedding.new_zeros(batch.categories.shape[-1] + batch.numbers.shape[-1], dtype=torch.float32)
    masked = nothing if asked is None else _event_losses(model, *asked, negatives)
    following = nothing
    if model.next_event is not None:
        assert batch.next_categories is not None and batch.next_numbers is not None, LOOKS_AHEAD
        following = _event_losses(
            model, model.next_event(embedding), batch.next_categories, batch.next_numbers, negatives
        )
    future = masked.new_zeros(FUTURES)
    if model.future_head is not None:
        assert batch.future is not None, LOOKS_AHEAD
        amounts = (batch.future[..., 2:] - model.future_mean) / model.future_scale
        target = torch.cat([batch.future[..., :2], amounts], dim=-1)
        future = _future_losses(model.future_head(embedding).float().view_as(target), target)
    contrast = _contrast_loss(model, batch) if model.config.contrast_weight else masked.new_zeros(1)
    content = masked.new_zeros(0 if batch.content is None else batch.content[0].numel())
    if model.content_head is not None:
        assert batch.content is not None, LOOKS_AHEAD
        target = (batch.content - model.content_mean) / model.content_scale
        error = model.content_head(embedding).float().view_as(target) - target.nan_to_num()
        content = (error.square() * ~target.isnan()).sum(0).flatten()
    return LossSums(masked, following, future, contrast, content)


def has_slices(batch: Batch) -> Tensor:
    """Which windows [b] have two activities or more, and so an older and a newer half."""
    return batch.valid.sum(1) > 1


def _contrast_loss(model: Caspr, batch: Batch) -> Tensor:
    """The sum [1] over customers of how well one half of the window is told to belong to the other half of the same
    customer, among those of all customers of `batch` with two halves: cross-entropy of cosines, both ways, halved.

    Babaev et al. (2022), CoLES, https://arxiv.org/abs/2002.08232, with the loss of SimCLR. The windows are drawn at
    random instants and their halves are thereby random slices of the history. Neither the profile nor the time to the
    instant goes in, which would give the pairs away. The others of a piece are what a pair is told from: at most 256
    on a CPU, and so the loss, unlike the others, depends on how a step was cut.
    """
    has = has_slices(batch)
    older, newer = (F.normalize(model.latent(half, hide_profile=True).float(), dim=1) for half in batch.halves())
    similar = older @ newer.t() / TEMPERATURE
    own = torch.arange(len(has), device=has.device)
    loss = similar.new_zeros(len(has))
    for cosines in (similar, similar.t()):
        # finite, so that nothing times nothing is nothing
        loss = loss + F.cross_entropy(cosines.masked_fill(~has, -1e4), own, reduction="none") / 2
    return (loss * has).sum()[None]


def weighted(sums: LossSums, denominators: Denominators, config: Config) -> Tensor:
    """One scalar: each objective is the mean over its attributes, each attribute the mean over its valid targets."""
    return (
        config.masked_weight * (sums.masked / denominators.masked.clamp(min=1)).mean()
        + config.next_event_weight * (sums.next / denominators.next.clamp(min=1)).mean()
        + config.future_window_weight * (sums.future / denominators.future.clamp(min=1)).mean()
        + config.future_window_weight * _mean(sums.content / denominators.content.clamp(min=1))
        + config.contrast_weight * (sums.contrast / denominators.contrast.clamp(min=1)).mean()
    ).float()


def _mean(losses: Tensor) -> Tensor:
    return losses.sum() / max(1, len(losses))


def _event_losses(
    model: Caspr, rows: Tensor, categories: Tensor, numbers: Tensor, negatives: dict[str, Tensor] | None
) -> Tensor:
    """Sums [c + n] of cross-entropy (PAD ignored) and squared error (NaN ignored) of events predicted from `rows`."""
    logits = iter(model.category_head(rows).float().split(model.few, dim=-1) if model.category_head else ())
    losses = []
    for i, targets in enumerate(categories.unbind(1)):
        if (name := str(i)) in model.tied_heads:
            drawn = None if negatives is None else negatives[name]
            losses.append(model.tied_heads[name](rows, model.table(i), targets, drawn))
        else:
            losses.append(F.cross_entropy(next(logits), targets, ignore_index=PAD, reduction="sum"))
    known = ~numbers.isnan()
    error = (model.number_head(rows).float() - numbers.nan_to_num()).square() * known
    return torch.cat([torch.stack(losses), error.sum(0)])


def _future_losses(predicted: Tensor, target: Tensor) -> Tensor:
    """Sums [FUTURES]: binary cross-entropy of the two questions, squared error of the two amounts; NaN is not known."""
    known = ~target.isnan()
    target = target.nan_to_num()
    asked = F.binary_cross_entropy_with_logits(predicted[..., :2], target[..., :2], reduction="none")
    amount = (predicted[..., 2:] - target[..., 2:]).square()
    return (torch.cat([asked, amount], dim=-1) * known).sum(0).flatten()
