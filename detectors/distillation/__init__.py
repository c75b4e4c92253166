"""Distillation: a student that learned a frozen teacher's features on benign flows fails to follow it on others.

``stfpm``, ``rd4ad``, ``mmr`` and ``conmd`` (in ``conmd.py``) share one teacher: with the same training flows and seed
its weights are the same in all four, so that they differ in their mechanism alone.  ``teacher=random`` leaves it as it
was initialised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.shared.sequences import SequenceDetector, SequenceParams, packets_only
from janus_bench.contract import FitContext
from janus_bench.params import Count, Limit, Positive

Pool = Literal["max", "mean"]
CHECK: Mapping[str, object] = {"teacher_epochs": 1, "width": 8, "epochs": 2}


@dataclass(frozen=True)
class TeacherParams(SequenceParams):
    """Parameters that all share which learn from the teacher.

    teacher         ``ssl``: it learns to fill in hidden packets of the benign training flows; ``random``: it does not
    teacher_epochs  of AdamW at 1e-3, falling along a cosine; the best on validation flows is kept
    width           channels of the teacher's first scale; the others have two and four times as many
    """

    teacher: Literal["ssl", "random"] = "ssl"
    teacher_epochs: Count = 30
    width: Count = 32


@dataclass(frozen=True)
class StudentParams(TeacherParams):
    """Parameters of a student: those of the teacher and

    epochs, batch, lr  of its optimiser; the teacher's batches are of 128, whatever ``batch`` is
    pool               of the map over the flow's packets: its ``max``, as published, or its ``mean``
    """

    epochs: Count = 100
    batch: Count = 128
    lr: Positive = 1e-3
    pool: Pool = "max"


class TeacherDetector(SequenceDetector):
    """Trains and freezes the teacher, ``_model.teacher``, before whatever else is learned."""

    def _prepare(self, rows: NDArray[np.float32], ctx: FitContext) -> FitContext:
        from detectors.distillation.teacher import pretrain

        if self.params.teacher == "ssl":
            first = replace(ctx, progress=lambda done, text: ctx.progress(done / 3, f"teacher, {text}"))
            pretrain(self._model.teacher, rows, self._rows(ctx.validation), self.params.teacher_epochs, first)
        self._model.teacher.eval().requires_grad_(False)
        return replace(ctx, progress=lambda done, text: ctx.progress((1 + 2 * done) / 3, text))


class Distilled(TeacherDetector):
    """A student that follows the teacher's three maps."""

    def _maps(self, rows: Any) -> tuple[Any, Any]:
        """The teacher's maps of rows (b, 640), and the student's."""
        from detectors.shared.encoders import as_packets

        packets = as_packets(rows)
        return self._model.teacher(packets), self._model.student(packets).features

    def _phases(self) -> Any:
        from detectors.shared.training import Phase

        return [Phase(self._model.student.parameters(), lambda rows, _, generator: self._loss(rows, generator))]

    def _pooled(self, values: Any, taught: Any) -> Any:
        """Values (b, T) over the flow's packets, (b,)."""
        from detectors.shared.encoders import pooled

        return pooled(values, taught.masks[0][:, 0], self.params.pool)


@dataclass(frozen=True)
class STFPMParams(StudentParams):
    """Parameters of ``stfpm``: those of ``StudentParams``, by SGD with momentum 0.9."""

    name: ClassVar[str] = "stfpm"

    lr: Positive = 0.1


class STFPM(Distilled):
    """Score = log of the pooled product, over three scales, of ‖t̂ − ŝ‖², (n,) float64: teacher's and student's
    features, each normalised over its channels (Wang, Han, Ding, Huang, BMVC 2021).

    The student has the teacher's architecture and learns the sum over scales of the mean over packets; the weights of
    the epoch with the lowest mean map on the benign validation flows are kept.  ``adapted``: 1-D features of packets
    in place of ResNet-18's of images, a teacher that knows benign flows alone in place of ImageNet's, SGD at 0.1 (the
    code: 0.4), no blur.  Where one scale agrees exactly the product is 0 whatever the others say.
    """

    Params = STFPMParams
    capabilities = packets_only(
        "Wang, Han, Ding, Huang, BMVC 2021 (STFPM), arXiv 2103.04257",
        doubtful="a scale that agrees exactly hides the others",
        groups={"distillation"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"teacher_epochs": 10, "epochs": 20},
        "paper": {},
        "check": CHECK,
    }
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"stfpm-random": {"teacher": "random"}}

    def _build(self) -> Any:
        from detectors.distillation.students import Pair, ResidualCNN

        return Pair(self.params.width, ResidualCNN)

    def _schedule(self) -> Any:
        chosen: dict[str, Any] = {"patience": self.params.epochs, "optimiser": "sgd"}
        return replace(super()._schedule(), momentum=0.9, weight_decay=1e-4, **chosen)

    def _losses(self, rows: Any, generator: Any) -> Any:
        from detectors.distillation.students import mean_of_scales, squared_distances

        taught, learned = self._maps(rows)
        return mean_of_scales(squared_distances(taught, learned), taught.masks)

    def _product(self, rows: Any) -> tuple[Any, Any]:
        """The map (b, T), and the teacher's maps."""
        from detectors.distillation.students import squared_distances, upsampled

        taught, learned = self._maps(rows)
        return upsampled(squared_distances(taught, learned)).prod(dim=0), taught

    def _judge(self, rows: Any) -> Any:
        from detectors.shared.encoders import masked_mean

        product, taught = self._product(rows)
        return masked_mean(product, taught.masks[0][:, 0])

    def _evaluate(self, rows: Any) -> Any:
        from detectors.distillation.students import FLOOR

        return (self._pooled(*self._product(rows)) + FLOOR).log()


@dataclass(frozen=True)
class RD4ADParams(StudentParams):
    """Parameters of ``rd4ad``: those of ``StudentParams``, by Adam, and

    patience  epochs without a better loss on the benign validation flows after which training stops
    """

    name: ClassVar[str] = "rd4ad"

    patience: Count = 10


class RD4AD(Distilled):
    """Score = pooled Σ over three scales of 1 − cos(teacher, decoder) at each packet, (n,) float64 ≥ 0: a bottleneck
    and a decoder make the teacher's features again from its own (Deng & Li, CVPR 2022).

    The loss is the code's: one cosine a scale of the whole map, while the score is per position.  ``adapted``: 1-D
    features of packets in place of a wide ResNet's of images, layer normalisation, Adam at 1e-3 (the code: 5e-3 for
    batches of 16), early stopping on benign flows (the code: the last epoch), no blur.
    """

    Params = RD4ADParams
    capabilities = packets_only(
        "Deng & Li, CVPR 2022 (RD4AD), arXiv 2201.10703",
        doubtful="early stopping is ours; the code keeps the last epoch",
        groups={"distillation"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = STFPM.profiles
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"rd4ad-random": {"teacher": "random"}}

    def _build(self) -> Any:
        from detectors.distillation.students import Pair, Reverse

        return Pair(self.params.width, Reverse)

    def _maps(self, rows: Any) -> tuple[Any, Any]:
        from detectors.shared.encoders import as_packets

        taught = self._model.teacher(as_packets(rows))
        return taught, self._model.student(taught)

    def _schedule(self) -> Any:
        return replace(super()._schedule(), betas=(0.5, 0.999))

    def _losses(self, rows: Any, generator: Any) -> Any:
        return self._judge(rows)

    def _judge(self, rows: Any) -> Any:
        from detectors.distillation.students import flat_angles

        return flat_angles(*self._maps(rows))

    def _evaluate(self, rows: Any) -> Any:
        from detectors.distillation.students import angles, upsampled

        taught, learned = self._maps(rows)
        return self._pooled(upsampled(angles(taught, learned)).sum(dim=0), taught)


@dataclass(frozen=True)
class MMRParams(StudentParams):
    """Parameters of ``mmr``: those of ``StudentParams``, by AdamW, and

    tokens  width of a packet's token, of four heads
    layers  of the transformer
    hide    share of a flow's packets that are hidden from the student in training; none is when it scores
    """

    name: ClassVar[str] = "mmr"

    epochs: Count = 60
    tokens: Annotated[int, Limit("≥", 4)] = 128
    layers: Count = 4
    hide: Annotated[float, Limit("≥", 0), Limit("<", 1)] = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.tokens % 4 == 0, "tokens", "a multiple of its four heads")


class MMR(Distilled):
    """Score = pooled Σ over three scales of 1 − cos(teacher, student) at each packet, (n,) float64 ≥ 0; the student is
    a masked autoencoder of packets (Zhang et al., Computers in Industry 151, 2023).

    The rate rises over a quarter of the epochs and falls to a tenth after 60 % and again after 80 % of them, as in the
    code; the last epoch is kept.  ``adapted``: packets as tokens, a transformer from scratch in place of ImageNet's
    masked autoencoder, no blur.
    """

    Params = MMRParams
    capabilities = packets_only(
        "Zhang et al., Computers in Industry 151, 2023 (MMR), arXiv 2304.02216",
        doubtful="there is no pretrained masked autoencoder to start from",
        groups={"distillation"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"teacher_epochs": 10, "epochs": 15, "tokens": 64, "layers": 2},
        "paper": {},
        "check": {**CHECK, "epochs": 4, "batch": 64, "lr": 1e-2, "tokens": 8, "layers": 1},
    }
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"mmr-random": {"teacher": "random"}}

    def _build(self) -> Any:
        from detectors.distillation.students import MaskedStudent, Pair

        return Pair(self.params.width, lambda width: MaskedStudent(width, self.params.tokens, self.params.layers))

    def _schedule(self) -> Any:
        from detectors.shared.training import stepped, warm_up

        epochs = self.params.epochs
        rise, fall = warm_up(epochs // 4), stepped(3 * epochs // 5, 4 * epochs // 5)
        factors: dict[str, Any] = {"optimiser": "adamw", "lr_factor": lambda epoch: rise(epoch) * fall(epoch)}
        return replace(super()._schedule(), weight_decay=0.05, **factors)

    def _maps(self, rows: Any, generator: Any = None) -> tuple[Any, Any]:
        from detectors.distillation.students import drawn_mask
        from detectors.shared.encoders import as_packets

        packets = as_packets(rows)
        masked = None if generator is None else drawn_mask(packets, self.params.hide, generator)
        return self._model.teacher(packets), self._model.student(packets, masked)

    def _losses(self, rows: Any, generator: Any) -> Any:
        from detectors.distillation.students import angles, mean_of_scales

        taught, learned = self._maps(rows, generator)
        return mean_of_scales(angles(taught, learned), taught.masks)

    def _evaluate(self, rows: Any) -> Any:
        from detectors.distillation.students import angles, upsampled

        taught, learned = self._maps(rows)
        return self._pooled(upsampled(angles(taught, learned)).sum(dim=0), taught)
