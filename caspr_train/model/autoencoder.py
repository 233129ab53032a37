"""CASPR: encoder, customer vector, decoder (paper, section 5, figures 1 and 2). Knows torch and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from caspr_train.config import Config
from caspr_train.model.blocks import DecoderBlock, visible_to_decoder
from caspr_train.model.dropout import RandomBits
from caspr_train.model.encoders import PoolEncoder, RecurrentEncoder, TransformerEncoder
from caspr_train.model.events import AttributeVector, EventEmbedding, summary, summary_width, table_width
from caspr_train.model.tied import TiedHead, draw_negatives
from caspr_train.objective import FUTURES, Denominators, LossSums, loss_sums, masked_events, weighted
from caspr_train.sequences import HORIZON_SHARES, RESERVED, Batch, counted


@dataclass(frozen=True)
class Shape:
    """The sizes that the data decides; with a Config they fix every weight's shape."""

    sequence_cardinalities: list[int]
    sequence_numbers: int  # with seconds_since_previous, without the time to the instant
    profile_cardinalities: list[int]
    profile_numbers: int


class Caspr(nn.Module):
    """Encoder-decoder around one latent vector a customer, ν_E.

    `embed` is what downstream tasks use, `width` how many columns it has. `forward` returns the loss itself, so that
    under DDP the only way to train is through the wrapper whose hooks average the gradients.
    """

    # Mean and scale of the future's two amounts, set once before training (see set_future_scale).
    future_mean: Tensor
    future_scale: Tensor
    # ... and of its content.
    content_mean: Tensor
    content_scale: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        hidden, width = config.hidden, config.embedding_width
        self.dropout_bits = RandomBits()
        block = (hidden, config.heads, config.feed_forward, config.dropout, self.dropout_bits)
        # + 1: the time to the window's instant is an input, but no target (it would give away its neighbours' gaps).
        cardinalities, many = shape.sequence_cardinalities, config.sampled_softmax_above
        self.events = EventEmbedding(cardinalities, shape.sequence_numbers + 1, many, config.sequence_length, hidden)
        self.encoder = (
            PoolEncoder(config, self.dropout_bits)
            if config.encoder == "pool"
            else RecurrentEncoder(config)
            if config.encoder == "gru"
            else TransformerEncoder(config, self.dropout_bits)
        )
        self.profile = AttributeVector(shape.profile_cardinalities, shape.profile_numbers, many)
        pooled = self.encoder.width + self.profile.width
        if config.encoder == "pool":
            pooled += summary_width(cardinalities, shape.sequence_numbers + 1)
        self.customer = nn.Sequential(nn.Linear(pooled, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width))
        decoder_layers = config.decoder_layers if config.masked_weight else 0
        self.decoder = nn.ModuleList(DecoderBlock(*block, width) for _ in range(decoder_layers))
        # One matrix product for the logits of all categorical attributes of few values, one for all numbers.
        self.few = [n for n in cardinalities if n <= many]
        self.category_head = nn.Linear(hidden, sum(self.few)) if self.few else None
        self.number_head = nn.Linear(hidden, shape.sequence_numbers)
        # Linear, so that an item's logit is a product with the customer vector (see item_space).
        self.next_event = nn.Linear(width, hidden) if config.next_event_weight else None
        self.future_head = (
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, FUTURES))
            if config.future_window_weight
            else None
        )
        contents = shape.sequence_numbers + sum(n - RESERVED for _, n in counted(cardinalities))
        self.content_head = nn.Linear(width, len(HORIZON_SHARES) * contents) if config.future_window_weight else None
        # The attributes of many values, by their place among all.
        self.tied_heads = nn.ModuleDict(
            {str(i): TiedHead(hidden, n, table_width(n, many)) for i, n in enumerate(cardinalities) if n > many}
        )
        self.register_buffer("future_mean", torch.zeros(len(HORIZON_SHARES), 2))
        self.register_buffer("future_scale", torch.ones(len(HORIZON_SHARES), 2))
        self.register_buffer("content_mean", torch.zeros(len(HORIZON_SHARES), contents))
        self.register_buffer("content_scale", torch.ones(len(HORIZON_SHARES), contents))
        self.width = width
        if config.named_columns:
            self.width += FUTURES * (self.future_head is not None) + 2 * (shape.sequence_numbers + 1)

    def embed(self, batch: Batch) -> Tensor:
        """The customer vectors [b, width]: ν_E, and with `named_columns` beside it the answers of the future-window
        head (log-odds, and standardised amounts) and the mean over the window of each number and of whether it is
        missing.

        A tree looks at one column at a time: what is spread over all of ν_E it finds with many labels only.
        """
        latent = self.latent(batch)
        if not self.config.named_columns:
            return latent
        numbers = torch.cat([batch.numbers, batch.days_before[..., None]], dim=-1)
        columns = torch.cat([numbers.nan_to_num(), numbers.isnan().to(numbers.dtype)], dim=-1)
        means = (columns * batch.valid[..., None]).sum(1) / batch.valid.sum(1, keepdim=True)
        return torch.cat([latent, *([self.future_head(latent)] if self.future_head else []), means], dim=-1)

    def latent(self, batch: Batch, hide: Tensor | None = None, hide_profile: bool = False) -> Tensor:
        """ν_E [b, embedding_width]; `hide` [b, t] masks events as in training, `hide_profile` the profile alike."""
        pooled = [self.encoder(self._events(batch, hide), batch.valid)]
        if self.config.encoder == "pool":
            pooled.append(summary(batch, hide, self.shape.sequence_cardinalities))
        profile = self.profile(batch.profile_categories, batch.profile_numbers)
        pooled.append(torch.zeros_like(profile) if hide_profile else profile)
        return self.customer(torch.cat(pooled, dim=-1))

    def decode(self, batch: Batch, hide: Tensor, embedding: Tensor) -> Tensor:
        """States [b, t, hidden] from the masked events before each place and the customer vector."""
        x = self._events(batch, hide)
        visible = visible_to_decoder(batch.valid)
        for block in self.decoder:
            x = block(x, visible, embedding)
        return x

    def forward(
        self, batch: Batch, hide: Tensor, denominators: Denominators, negatives: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, LossSums]:
        """The loss of this batch's share of a step, a scalar, and its parts for the log (detached).

        `hide` [b, t] marks the masked events, a subset of `batch.valid`. `denominators` are the counts of valid
        targets of the whole step over all processes: the shares of a step then add up to the loss of the step.
        `negatives` are those of the step, as `draw_negatives` gives them; without them the loss is exact.
        """
        asked = None
        if self.config.masked_weight:
            embedding = self.latent(batch, hide)
            states = self.decode(batch, hide, embedding)
            asked = masked_events(batch, hide, states, compact=not hide.is_cuda)
        else:
            embedding = self.latent(batch)
        sums = loss_sums(self, batch, asked, embedding, negatives)
        return weighted(sums, denominators, self.config), sums.detach()

    def draw_negatives(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Codes [k] that all events of a step are told apart from, for each of `tied_heads`."""
        return {i: draw_negatives(self.shape.sequence_cardinalities[int(i)], generator) for i in self.tied_heads}

    @property
    def per_event(self) -> int:
        """How many attributes of an activity are predicted."""
        return len(self.shape.sequence_cardinalities) + self.shape.sequence_numbers

    def set_future_scale(self, future: Tensor, content: Tensor) -> None:
        """Standardise the amounts of the future windows by these targets [n, horizons, targets] and [n, horizons,
        contents], NaN = not known."""
        known = ~content.isnan()
        count = known.sum(0).clamp(min=1)
        mean = content.nan_to_num().sum(0) / count
        deviation = (((content - mean).nan_to_num() * known).square().sum(0) / count).sqrt()
        self.content_mean.copy_(mean)
        # What hardly ever happens is worth no more than what does.
        self.content_scale.copy_(torch.where(deviation > 1e-2, deviation, 1.0))
        for place, amounts in enumerate(future[..., 2:].unbind(1)):
            known = amounts[~amounts.isnan().any(dim=1)]
            if len(known) > 1:
                self.future_mean[place] = known.mean(0)
                self.future_scale[place] = known.std(0).clamp(min=1e-3)

    @torch.no_grad()
    def turn_to_axes(self, latent: Tensor) -> None:
        """Turn ν_E to the principal axes of these [n, embedding_width], the longest first, with their mean as zero.

        What reads ν_E is linear in it and turns back: nothing that the model says changes but ν_E itself.
        """
        latent = latent.double().cpu()
        mean = latent.mean(0)
        _, axes = torch.linalg.eigh((latent - mean).t() @ (latent - mean))
        axes = axes.flip(1)  # columns
        # A direction and its opposite are equally good: let its largest part be positive.
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        readers = [block.get_submodule("value") for block in self.decoder]
        heads = (self.next_event, self.future_head and self.future_head[0], self.content_head)
        readers += [head for head in heads if head is not None]
        for linear in (*readers, last := self.customer[-1]):
            assert isinstance(linear, nn.Linear)
            weight, bias = linear.weight.double().cpu(), linear.bias.double().cpu()
            if linear is last:
                weight, bias = axes.t() @ weight, axes.t() @ (bias - mean)
            else:
                weight, bias = weight @ axes, bias + weight @ mean
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)

    def table(self, attribute: int) -> Tensor:
        """The weight [cardinality, table_width] that embeds the sequence's categorical attribute `attribute`."""
        return self.events.attributes.tables[attribute].get_parameter("weight")

    @torch.no_grad()
    def item_space(self, attribute: int) -> tuple[Tensor, Tensor | None]:
        """Vectors [cardinality, width] and biases [cardinality] of the values of a categorical attribute: vectors @
        customer vector + biases are the logits of the next activity's value. Columns beside ν_E count 0.

        Without the next-event objective no value has a place among the customers: its row of `table`, and no bias.
        """
        if self.next_event is None:
            return self.table(attribute).detach(), None
        if (name := str(attribute)) in self.tied_heads:
            head = self.tied_heads[name]
            assert isinstance(head, TiedHead)
            weight, bias = head.linear(self.table(attribute))
        else:
            assert self.category_head is not None, "it holds the attributes of few values"
            cardinalities = self.shape.sequence_cardinalities
            start = sum(n for n in cardinalities[:attribute] if n <= self.config.sampled_softmax_above)
            values = slice(start, start + cardinalities[attribute])
            weight, bias = self.category_head.weight[values], self.category_head.bias[values]
        vectors = weight @ self.next_event.weight
        vectors = torch.cat([vectors, vectors.new_zeros(len(vectors), self.width - vectors.shape[1])], dim=1)
        return vectors, weight @ self.next_event.bias + bias

    def _events(self, batch: Batch, hide: Tensor | None) -> Tensor:
        numbers = torch.cat([batch.numbers, batch.days_before[..., None]], dim=-1)
        return self.events(batch.categories, numbers, hide)
