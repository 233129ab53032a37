"""How a run is configured: one frozen dataclass, two presets, validated where it is built."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from caspr_train.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides what a run learns. Hardware (GPUs, processes, threads) is deliberately not in here."""

    preset: str

    # -- the sequence
    sequence_length: int = 15  # t: the latest activities that make a sequence (paper, section 5)
    windows: str = "latest"  # "latest": the t before the train cutoff; "random": the t before a random earlier instant
    number_transform: str = "identity"  # "identity", or "signed_log" = sign(x) log(1 + |x|), before standardising
    minimum_count: int = 1  # values seen less often at the train cutoff are coded UNK
    # An attribute with more values than this is predicted from its own input table and trained on a sample of them.
    sampled_softmax_above: int = 5000

    # -- the model (paper, section 5 and figure 2)
    # "transformer" (the paper); "pool": an event sees the two before it, any t is cheap; "gru": a control
    encoder: str = "transformer"
    hidden: int = 16
    feed_forward: int = 32
    encoder_layers: int = 6
    decoder_layers: int = 6
    heads: int = 8
    dropout: float = 0.1
    embedding_width: int = 16  # columns of the latent vector ν_E
    # The customer vector has, beside ν_E on its principal axes, columns with a meaning of their own: what the
    # future-window head expects, and the means of the window's numbers (see Caspr.embed).
    named_columns: bool = False

    # -- the objective
    masked_weight: float = 1.0  # recover masked events; 0 turns it off, and there is no decoder
    mask_share: float = 0.3
    next_event_weight: float = 0.0  # predict, from the customer vector alone, the first activity after the window
    # ... and of the horizon after it activity, count and spend, and in a second mean the content (sequences.Batch)
    future_window_weight: float = 0.0
    contrast_weight: float = 0.0  # tell which halves of windows are of one customer

    # -- the optimiser
    optimizer: str = "adam"  # "adam" or "adamw"
    learning_rate: float = 1e-3
    schedule: str = "constant"  # "constant", or "cosine" with a linear warm-up over the first twentieth
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    batch_size: int = 256  # sequences a step, over all processes together
    steps: int = 1000  # with epochs unset: as many whole epochs as make up this many steps
    # ... but no more than this: who sees a few hundred customers more often knows them by heart, and those whom a
    # learner is fitted on then look unlike those whom it scores
    most_epochs: int | None = None
    epochs: int | None = None

    gpu_precision: str = "bf16"  # of the forward pass on a GPU: "bf16" or "fp32"; a CPU always computes in fp32

    validation_share: float = 0.1  # customers held out of the fit; their loss is reported
    # So many validations in a row without a lower loss end the training, and the weights of the lowest are kept. None:
    # it goes on to its end, where the schedule has calmed the weights down, and these are kept.
    patience: int | None = None
    seed: int = 7

    def __post_init__(self) -> None:
        def expect(ok: bool, name: str, wanted: str) -> None:
            if not ok:
                raise UsageError(f"config: {name} is {getattr(self, name)!r}; expected {wanted}")

        for name in (
            "sequence_length",
            "hidden",
            "feed_forward",
            "encoder_layers",
            "decoder_layers",
            "heads",
            "embedding_width",
            "batch_size",
            "steps",
            "minimum_count",
            "sampled_softmax_above",
        ):
            expect(
                isinstance(getattr(self, name), int) and getattr(self, name) >= 1, name, "a whole number of 1 or more"
            )
        for name in ("epochs", "most_epochs", "patience"):
            expect(getattr(self, name) is None or getattr(self, name) >= 1, name, "a whole number of 1 or more")
        expect(isinstance(self.seed, int) and 0 <= self.seed < 2**32, "seed", "a whole number from 0 to 4294967295")
        expect(self.hidden % self.heads == 0, "hidden", f"a multiple of heads ({self.heads})")
        expect(self.encoder in ("transformer", "pool", "gru"), "encoder", "'transformer', 'pool' or 'gru'")
        expect(self.windows in ("latest", "random"), "windows", "'latest' or 'random'")
        expect(self.number_transform in ("identity", "signed_log"), "number_transform", "'identity' or 'signed_log'")
        expect(self.optimizer in ("adam", "adamw"), "optimizer", "'adam' or 'adamw'")
        expect(self.schedule in ("constant", "cosine"), "schedule", "'constant' or 'cosine'")
        expect(self.gpu_precision in ("bf16", "fp32"), "gpu_precision", "'bf16' or 'fp32'")
        expect(0 < self.mask_share < 1, "mask_share", "a share between 0 and 1")
        expect(0 <= self.dropout < 1, "dropout", "a share from 0 to below 1")
        expect(0 <= self.validation_share < 1, "validation_share", "a share from 0 to below 1")
        expect(self.learning_rate > 0, "learning_rate", "a positive number")
        if not (self.masked_weight or self.next_event_weight):
            raise UsageError(
                "config: masked_weight and next_event_weight are 0; expected one of them above 0, so that the "
                "attributes of an activity are learnt"
            )
        if self.windows == "latest" and (self.next_event_weight or self.future_window_weight):
            raise UsageError(
                "config: next_event_weight and future_window_weight need windows='random': after the latest window "
                "before the train cutoff nothing may be looked at"
            )

    def epochs_for(self, sequences: int) -> int:
        """Epochs over `sequences` training sequences: the configured number, or enough whole ones for `steps`, at most
        `most_epochs`."""
        enough = max(1, math.ceil(self.steps / self.steps_per_epoch(sequences)))
        return self.epochs or min(enough, self.most_epochs or enough)

    def steps_per_epoch(self, sequences: int) -> int:
        return max(1, math.ceil(sequences / self.batch_size))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


PRESETS = {
    # The paper's model and objective, as printed there (section 5; table of hyper-parameters).
    "paper": Config(preset="paper"),
    # What measured best (docs/RESEARCH.md): an event is compared with the two before it only, so a window may be long;
    # two objectives that look past the window's end but never past the train cutoff; and columns that a tree can use as
    # they are.
    "default": Config(
        preset="default",
        windows="random",
        number_transform="signed_log",
        minimum_count=2,
        encoder="pool",
        hidden=64,
        feed_forward=128,
        encoder_layers=2,
        decoder_layers=1,
        embedding_width=32,
        named_columns=True,
        masked_weight=0.0,
        next_event_weight=1.0,
        future_window_weight=1.0,
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="cosine",
        weight_decay=0.01,
        steps=1000,
        most_epochs=200,
    ),
}


def preset(name: str, **changes: Any) -> Config:
    """The preset `name` with `changes`; entries that are None keep the preset's value."""
    if name not in PRESETS:
        raise UsageError(f"--preset {name}: unknown; expected one of {', '.join(sorted(PRESETS))}")
    return replace(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})
