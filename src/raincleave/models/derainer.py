"""The one model API: a derainer is a generator of stages."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import currentframe
from itertools import islice
from threading import Lock
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, overload

import PIL.Image
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from raincleave.building import is_ours, unfit
from raincleave.errors import ConfigError
from raincleave.inference.engine import apply, middle, settle
from raincleave.inference.images import Image, Kind, to_tensor
from raincleave.inference.memory import bytes_per_pixel, keeping_memory, told_if_full
from raincleave.inference.precision import (
    Precision,
    computing_in,
    dtype_of,
    same_values,
    widened,
)
from raincleave.inference.tiling import Network, Reach
from raincleave.losses import LOSSES, stage_losses
from raincleave.metrics import DerainPSNR, DerainSSIM
from raincleave.models.pretrained import Pretrained

Supervision = Literal["single", "recursive"]
LossName = Literal["ssim", "mse", "mse_log_ssim", "ssim_l1", "ssim_psnr"]
Batch = dict[str, Any]
"""``{"rainy": (B, 3, H, W), "clean": (B, 3, H, W), "name": list[str]}``, float32 RGB in [0, 1]."""
R = TypeVar("R")
_MAKING = Lock()
"""Of a network for another runtime: the threads that want it first wait for one export of it."""


class Stage(NamedTuple):
    """What one stage of a network estimates."""

    background: Tensor
    """The derained image, (B, 3, H, W), about [0, 1]; not clamped."""
    rain: Tensor | None = None
    """The rain layer, (B, 3, H, W), where the network estimates it."""


class Derainer(Pretrained):
    """Base of every network here. An architecture writes ``__init__`` and ``unroll``, nothing else.

    Images are RGB in [0, 1]. A model's configuration is its constructor's arguments, JSON scalars
    or lists, kept in ``hparams`` and written into every file of weights.

    Args:
        supervision: which stages the loss sees: ``"single"``, the last one, or ``"recursive"``,
            all with the family's published weights. None is what the paper settled on.
        loss: ``"ssim"`` (negative SSIM), ``"mse"``, ``"mse_log_ssim"``, ``"ssim_l1"`` or
            ``"ssim_psnr"``. None is the paper's.
        checkpoint_stages: recompute each stage in the backward pass instead of keeping its
            activations, so that training memory grows with one stage, not with their number.
    """

    size_multiple: ClassVar[int] = 1
    """Height and width the network works in are multiples of this; it pads and crops by itself."""
    short_halo: ClassVar[int | None] = None
    """Halo in pixels, measured by ``examples/halo.py``, whose tiles change no pixel by a quarter of
    an 8-bit level; None where none was measured."""
    fast_columns: ClassVar[int] = 1
    """Multiple of which the width is best in fast precision, where `widened` makes it one. Only for
    networks of convolutions and what leaves zeros zero."""
    published_supervision: ClassVar[Supervision] = "single"
    published_loss: ClassVar[LossName] = "ssim"
    published_decay: ClassVar[float] = 0.2
    """What the papers multiply the learning rate with at 30, 50 and 80 % of the training."""
    stages_run: int | None = None
    """How many stages the last `derain` was told, or with ``stages="auto"`` decided, to run; None
    for all."""

    def __init__(
        self,
        supervision: Supervision | None = None,
        loss: LossName | None = None,
        checkpoint_stages: bool = False,
    ) -> None:
        super().__init__()
        self.supervision = supervision or self.published_supervision
        self.loss_name = loss or self.published_loss
        if self.loss_name not in LOSSES:
            raise ConfigError(f"there is no loss {loss!r}; choose one of {', '.join(LOSSES)}.")
        self.checkpoint_stages = checkpoint_stages
        self.val_psnr, self.val_ssim, self.input_psnr = DerainPSNR(), DerainSSIM(), DerainPSNR()

    # Inference

    def unroll(self, rainy: Tensor) -> Iterator[Stage]:
        """Yield the stages one after the other; whoever drains it keeps what they need.

        Args:
            rainy: (B, 3, H, W), RGB in [0, 1], any height and width.

        Yields:
            (B, 3, H, W) each, the estimates after 1, 2 … T stages.

        Examples:
            >>> from raincleave import BRN
            >>> rainy = torch.rand(1, 3, 17, 33)
            >>> [(s.background.shape, s.rain is not None) for s in BRN(stages=2).unroll(rainy)]
            [(torch.Size([1, 3, 17, 33]), True), (torch.Size([1, 3, 17, 33]), True)]
        """
        raise NotImplementedError

    def forward(self, rainy: Tensor, stages: int | None = None) -> Tensor:
        """The background of the last stage, or of stage ``stages``; only one is in memory.

        Args:
            rainy: (B, 3, H, W), RGB in [0, 1].
            stages: stop after this many stages, from 1 up.

        Returns:
            (B, 3, H, W), about [0, 1]; not clamped.

        Raises:
            ConfigError: the network has fewer stages.
        """
        if stages is not None and stages < 1:
            raise ConfigError(f"stages must be 1 or more, not {stages}.")
        done = 0
        for stage in islice(self.unroll(rainy), stages):
            done += 1
            background = stage.background
        if stages is not None and done < stages:
            raise ConfigError(f"this {type(self).__name__} has {done} stages, not {stages}.")
        return background

    def receptive_radius(self, stages: int | None = None) -> int | None:
        """How far each pixel of the result sees, in pixels; None, the default, is unknown.

        An architecture that tells it can derain images larger than memory, in tiles.

        Args:
            stages: of the first so many stages.
        """
        return None

    @overload
    def derain(
        self,
        image: str | os.PathLike[str],
        *,
        stages: Literal["auto"] | int | None = None,
        precision: Precision = "32",
        tile: Literal["auto"] | int | None = "auto",
        halo: Literal["exact"] | int | None = None,
        ensemble: Literal[1, 2, 4] = 1,
        backend: Literal["torch", "onnxruntime", "openvino"] = "torch",
        compile: bool = False,
    ) -> PIL.Image.Image: ...

    @overload
    def derain(
        self,
        image: Kind,
        *,
        stages: Literal["auto"] | int | None = None,
        precision: Precision = "32",
        tile: Literal["auto"] | int | None = "auto",
        halo: Literal["exact"] | int | None = None,
        ensemble: Literal[1, 2, 4] = 1,
        backend: Literal["torch", "onnxruntime", "openvino"] = "torch",
        compile: bool = False,
    ) -> Kind: ...

    @told_if_full()
    @torch.inference_mode()
    def derain(
        self,
        image: Image,
        *,
        stages: Literal["auto"] | int | None = None,
        precision: Precision = "32",
        tile: Literal["auto"] | int | None = "auto",
        halo: Literal["exact"] | int | None = None,
        ensemble: Literal[1, 2, 4] = 1,
        backend: Literal["torch", "onnxruntime", "openvino"] = "torch",
        compile: bool = False,
    ) -> Image:
        """Remove the rain from any image; the same kind comes out.

        Args:
            image: a path or PIL image (→ PIL image), an array (H, W), (H, W, 3) or (H, W, 4), or a
                tensor (C, H, W) or (B, C, H, W); 8 or 16 bit, or floats in [0, 1]. An alpha channel
                is kept as it is.
            stages: stop after this many stages: faster, and less thorough. ``"auto"`` stops where
                the middle of the image changes no more; `stages_run` tells how many that were.
            precision: ``"32"`` is float32, on newer NVIDIA GPUs by TF32 where PyTorch's settings
                allow it, as they do unasked; ``"fast"`` computes the features in half precision
                where the hardware does so natively, and moves single pixels by some 8-bit levels,
                by more where the rain is far from what the network has learned.
            tile: ``"auto"`` cuts the image into tiles where memory asks for it, None never does; a
                number is the side of a tile in pixels.
            halo: how many pixels around a tile the network sees too: ``"exact"``, all that have
                an influence, so that tiles change nothing; None, the fewer that were measured to
                change no pixel by a quarter of an 8-bit level; or a number.
            ensemble: 2 averages over the image and its mirror image, twice the work; 4 also over
                both upside down, four times the work.
            backend: what computes; ``"onnxruntime"`` and ``"openvino"``, extras, work in float32 on
                the CPU.
            compile: let ``torch.compile`` make code of the network at the first call, which takes
                a minute; for ``precision="32"``.

        Returns:
            The derained image, of the kind, size, depth, range and device of the input.

        Raises:
            ImageError: the image cannot be read, is no image by its shape, type or range, or does
                not fit into memory.
            ConfigError: an option makes no sense.
        """
        if not (stages in (None, "auto") or type(stages) is int):
            raise ConfigError(f"stages is a number from 1 up, 'auto' or None, not {stages!r}.")
        rainy, restore = to_tensor(image)
        like = next(self.parameters())
        half = dtype_of(precision, like.device) if like.dtype == torch.float32 else None
        # Also where fast is float32: what works must not depend on the processor.
        if precision == "fast" and (compile or backend != "torch"):
            raise ConfigError("precision 'fast' is for the torch backend, and not compiled.")

        def placed(piece: Tensor) -> Tensor:
            return piece.to(like.device, like.dtype, memory_format=torch.channels_last)

        # Left alone where it is right: another thread may be deraining with it.
        training = [part for part in self.modules() if part.training]
        if training:
            self.eval()
        # What a training computes in half precision would move single pixels far.
        exact = torch.autocast(like.device.type, enabled=False)
        try:
            with exact, keeping_memory(like.device), computing_in(half):
                if stages == "auto":
                    stages = settle(s.background for s in self.unroll(placed(middle(rainy))))
                self.stages_run = stages
                forward = self._forward(stages, backend, compile)
                reach = Reach(
                    self.receptive_radius(stages),
                    self.short_halo,
                    self.size_multiple,
                    partial(self._pixel_bytes, (stages, half, backend, compile)),
                )

                def run(piece: Tensor) -> Tensor:
                    with widened(placed(piece), self.fast_columns) as wide:
                        return forward(wide)[..., : piece.shape[3]]

                clean = apply(
                    run,
                    rainy,
                    reach,
                    like.device,
                    tile=tile,
                    halo=halo,
                    ensemble=ensemble,
                )
        finally:
            for part in training:
                part.training = True
        del rainy  # large images leave little memory
        return restore(clean)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: not what was compiled or exported of this one."""
        state: dict[str, Any] = super().__getstate__()
        return {k: v for k, v in state.items() if k not in ("_made_forwards", "_bytes_of_ways")}

    def _forward(
        self,
        stages: int | None,
        backend: Literal["torch", "onnxruntime", "openvino"],
        compile: bool,
    ) -> Network:
        """`forward` up to a stage, compiled or on another runtime; made once while it fits."""
        if backend == "torch" and not compile:
            return partial(self, stages=stages)
        with _MAKING:
            # Past the attributes that Lightning and PyTorch know of.
            made: dict[Any, tuple[list[Tensor], Network]] = self.__dict__.get("_made_forwards", {})
            key = (stages, backend, compile)
            # A compiled network follows its weights, an exported one does not.
            weights = [*self.parameters(), *self.buffers()] if backend != "torch" else []
            if key not in made or not all(map(same_values, made[key][0], weights)):
                if backend != "torch":
                    from raincleave.export import backend as on_backend  # upwards, hence here

                    network = on_backend(self, backend, stages)
                else:
                    network = torch.compile(partial(self.forward, stages=stages), dynamic=True)
                # Set anew: tracing puts a model's attributes back to copies.
                exported = [weight.detach().clone() for weight in weights]
                made = self.__dict__["_made_forwards"] = {**made, key: (exported, network)}
            return made[key][1]

    def _pixel_bytes(self, way: tuple[Any, ...], network: Network) -> int:
        """`bytes_per_pixel` of the network run in a way, measured once."""
        known: dict[Any, int] = self.__dict__.setdefault("_bytes_of_ways", {})
        if way not in known:
            stages, _, backend, _ = way
            like = next(self.parameters())
            # Another runtime takes about as much, but where nobody can count it.
            own = backend == "torch"
            known[way] = bytes_per_pixel(network if own else lambda x: self(x.to(like), stages))
        return known[way]

    def run_stage(self, stage: Callable[..., R], *arguments: Any) -> R:
        """Call one stage's computation, recomputing it in the backward pass where that is asked."""
        if self.checkpoint_stages and self.training and torch.is_grad_enabled():
            return checkpoint(stage, *arguments, use_reentrant=False)
        return stage(*arguments)

    # Training

    def stage_weights(self, count: int) -> list[float]:
        """λ_t, the weight of each stage's loss; BRN, section IV-A: 0.5 each and 1.5 for the last.

        Args:
            count: number of stages T.

        Examples:
            >>> from raincleave import SRN
            >>> SRN(supervision="recursive").stage_weights(3)
            [0.5, 0.5, 1.5]
        """
        if self.supervision == "single":
            return [0.0] * (count - 1) + [1.0]
        return [0.5] * (count - 1) + [1.5]

    def losses(self, stages: Sequence[Stage], batch: Batch) -> Tensor:
        """(T,), the loss of each stage's background, not yet weighted."""
        backgrounds = [stage.background for stage in stages]
        return stage_losses(LOSSES[self.loss_name], backgrounds, batch["clean"])

    def training_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """The stage-wise supervised loss; logs it, each stage's own, and each stage's PSNR."""
        stages = list(self.unroll(batch["rainy"]))
        weights = self.stage_weights(len(stages))
        losses = self.losses(stages, batch)
        loss = (losses * losses.new_tensor(weights)).sum()
        with torch.no_grad():
            errors = torch.stack(
                [(s.background.float() - batch["clean"]).square().mean((1, 2, 3)) for s in stages]
            )
            psnr = -10 * errors.clamp(min=1e-10).log10().mean(1)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/psnr", psnr[-1], prog_bar=True)
        for t in range(len(stages)):
            self.log(f"train/loss_{t + 1}", losses[t].detach())
            self.log(f"train/psnr_{t + 1}", psnr[t])
        return loss

    def _score(self, batch: Batch, prefix: str) -> None:
        clean = batch["clean"]
        background = self(batch["rainy"])
        self.val_psnr(background, clean)
        self.val_ssim(background, clean)
        self.input_psnr(batch["rainy"], clean)
        self.log(f"{prefix}/psnr", self.val_psnr, on_step=False, on_epoch=True, prog_bar=True)
        self.log(f"{prefix}/ssim", self.val_ssim, on_step=False, on_epoch=True)
        # A network that has learned to change nothing is known by it.
        self.log(f"{prefix}/input_psnr", self.input_psnr, on_step=False, on_epoch=True)

    def validation_step(self, batch: Batch, batch_idx: int = 0) -> None:
        """Logs ``val/psnr``, ``val/ssim`` and the rainy images' ``val/input_psnr`` (csdwren)."""
        self._score(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int = 0) -> None:
        """Logs ``test/psnr``, ``test/ssim`` and ``test/input_psnr``, as in validation."""
        self._score(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """The derained batch, (B, 3, H, W), clamped to [0, 1]."""
        return self(batch["rainy"]).clamp(0, 1)

    def save_hyperparameters(self, *args: Any, frame: Any = None, **kwargs: Any) -> None:
        """As Lightning's; a network of ours refuses arguments that it has no meaning for.

        Raises:
            ConfigError: with the first of them.
        """
        super().save_hyperparameters(*args, frame=frame or currentframe().f_back, **kwargs)  # type: ignore[union-attr]
        if is_ours(type(self)):
            for key, value, instead in unfit(type(self), self._arguments()):
                raise ConfigError(f"{type(self).__name__} has no {key}={value!r}; {instead}.")

    def on_fit_start(self) -> None:
        """Forget what is known of the weights: a card must not claim it of others."""
        self.card = None

    def on_train_start(self) -> None:
        """Let Lightning clip the gradients of a fused optimiser, where that is asked for.

        It refuses since such a one undoes a GradScaler's scale itself, later; told that it does
        not, Lightning does so before it clips.
        """
        if self.trainer.gradient_clip_val:
            for optimizer in self.trainer.optimizers:
                optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]

    def published_optimizer(self) -> torch.optim.Optimizer:
        """The paper's optimiser; Adam at 1e-3 in all of them but ResGuideNet."""
        return torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def configure_optimizers(self) -> Any:
        """The paper's optimiser, decayed at 30, 50 and 80 % of the steps.

        The Lightning CLI's ``--optimizer`` and ``--lr_scheduler`` replace it.
        """
        from raincleave.training.schedule import PublishedDecay  # upwards, hence here

        optimizer = self.published_optimizer()
        total = self.trainer.estimated_stepping_batches
        scheduler = PublishedDecay(optimizer, total, self.published_decay)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
