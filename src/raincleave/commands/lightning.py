"""``raincleave fit | validate | test | predict``: the Lightning CLI over our models and data."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from raincleave.building import is_ours
from raincleave.commands.lightning_arguments import RUNS, check_name, prepared, recipes, told
from raincleave.commands.lightning_weights import check_fit, start_from
from raincleave.data import datamodules, noise  # noqa: F401 - short names are for what is imported
from raincleave.data.base import RainDataModule
from raincleave.errors import ConfigError, RaincleaveError
from raincleave.inference.memory import keeping_memory
from raincleave.models import Derainer
from raincleave.training import (
    AtomicCheckpoints,
    BestCheckpoint,
    CurvesInText,
    ExportWeights,
    ImageStrip,
    LastCheckpoint,
    Opening,
    StopOnNaN,
    WarmupCosine,
    WarmupEMA,
    WriteImages,
    bar_or_lines,
    compile_stages,
    native_precision,
)

__all__ = ["RaincleaveCLI", "WarmupEMA", "main"]  # callbacks have short names if imported

_NOISE = (
    "💡",
    "TPU available",
    "You are using the plain ModelCheckpoint",
    "Loading `train_dataloader` to estimate",
)
_UNTRUE_HERE = (
    ".*is not supported by the model summary.*",
    ".*does not have many workers.*",
    ".*configure_optimizers` will be overridden.*",  # that is what --optimizer is for
    ".*ended before the epoch ended and your dataloader is not resumable.*",  # the sampler is
    ".*is smaller than the logging interval.*",
    ".*treespec, LeafSpec.*",
    ".*Using `DistributedSampler` with the dataloaders.*",  # ours hands no image out twice
    ".*callbacks used to create the checkpoint need to be provided.*",  # only fit needs them
    ".*in eval mode at the start of training.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    # Opening says that nothing is held out, where that is so.
    ".*Total length of `DataLoader` across ranks is zero.*",
    ".*monitor='val/psnr'.* could not find the monitored key.*",
    ".*Previous log files in this directory will be deleted.*",  # CurvesInText keeps them
)
_PUBLISHED_EPOCHS = 100  # DRN, section 3; BRN, section IV
# Lightning's own save_last is renewed only where the best is. One file each, replaced in one step.
_CHECKPOINTS: dict[str, dict[str, Any]] = {
    "checkpoint": {
        "filename": "best",
        "monitor": "val/psnr",
        "mode": "max",
        "enable_version_counter": False,
    },
    "last": {"filename": "last", "enable_version_counter": False},
}


class _SaveSettings(SaveConfigCallback):
    """Lightning's ``config.yaml``, without the checkpoint that the training was resumed from.

    With it, whoever takes the settings would take up that training too, unasked.
    """

    def __init__(self, parser: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        config = config.clone()
        config.ckpt_path = None
        super().__init__(parser, config, *args, **kwargs)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing yet: what fails to begin must leave the settings of the run it was to resume."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them."""
        super().setup(trainer, pl_module, "fit")


class RaincleaveCLI(LightningCLI):
    """Lightning's command line with our models and DataModules by their short names.

    Args:
        args: the subcommand and its options.
    """

    claimed: Path | None = None
    """The folder that was made for this run."""

    def __init__(self, args: Sequence[str]) -> None:
        self.name = args[0]
        try:
            super().__init__(
                Derainer,
                RainDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                save_config_callback=_SaveSettings,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"default_env": True, "exit_on_error": False},
                # Arguments must stay the constructor's own: hparams go into every file of weights.
                load_from_checkpoint_support=False,
                args=list(args),
            )
        finally:
            if self.claimed:
                with suppress(OSError):  # where one holds something
                    self.claimed.rmdir()
                    self.claimed.parent.rmdir()

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the one that was called: each costs half a second to set up."""
        return {self.name: LightningCLI.subcommands()[self.name]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """As Lightning's; a mistake is raised, for `main` to tell it in one sentence."""
        return super().init_parser(**{"exit_on_error": False, "default_env": True, **kwargs})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our options beside Lightning's."""
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="Start from a named checkpoint or weight file, see `raincleave models`; "
            "--model.init_from is the same.",
        )
        # The others take them too, though they make no use of them: so the config.yaml of a
        # training can be theirs.
        parser.add_argument(
            "--compile",
            type=bool,
            default=False,
            help="Run every stage through torch.compile; on CPUs it measured 10 %% slower.",
        )
        for key, settings in _CHECKPOINTS.items():
            kind = LastCheckpoint if key == "last" else BestCheckpoint
            parser.add_lightning_class_args(kind, key)
            parser.set_defaults({f"{key}.{name}": value for name, value in settings.items()})
        parser.add_lightning_class_args(ExportWeights, "export")
        parser.add_lightning_class_args(ImageStrip, "strip")
        if self.name == "fit":
            parser.epilog = f"Packaged recipes, for --config recipe:NAME: {', '.join(recipes())}."
            # Opening says what is worth saying in one line.
            parser.set_defaults({"trainer.enable_model_summary": False})
            parser.set_defaults({"trainer.log_every_n_steps": 10})
        if self.name == "predict":
            parser.add_lightning_class_args(WriteImages, "output")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse what `main` prepared from the command line."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]

    def _parse_ckpt_path(self) -> None:
        """Nothing: `prepared` has put the checkpoint's arguments on the command line."""

    def before_instantiate_classes(self) -> None:
        """Choose what depends on the machine and on earlier runs."""
        config = self.config[self.name]
        if config.trainer.precision is None and self.name == "fit":
            config.trainer.precision = native_precision(config.trainer.accelerator)
        best = config.checkpoint
        if (
            best.save_top_k not in (0, 1)
            and best.filename == _CHECKPOINTS["checkpoint"]["filename"]
        ):
            raise ConfigError(
                f"--checkpoint.save_top_k={best.save_top_k} needs a name for each file, such as "
                "--checkpoint.filename={step}."
            )
        limits = (config.trainer.max_epochs, config.trainer.max_time)
        if self.name == "fit" and limits == (None, None) and config.trainer.max_steps == -1:
            config.trainer.max_epochs = _PUBLISHED_EPOCHS

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """As Lightning's, with our logger, callbacks and checkpoint files."""
        config = self.config_init[self.name]["trainer"]
        config["plugins"] = [*_as_list(config.get("plugins")), AtomicCheckpoints()]
        if config["logger"] in (None, True):
            config["logger"] = self.name == "fit" and self._logger(config["default_root_dir"])
        keys = self._parser(self.name).callback_keys
        if self.name == "fit":
            bar = [] if config["enable_progress_bar"] is False else [Opening(), bar_or_lines()]
            config["callbacks"] = [*_as_list(config.get("callbacks")), StopOnNaN(), *bar]
            if config["enable_checkpointing"] is False:
                keys[:] = [key for key in keys if key not in _CHECKPOINTS]
        else:
            keys[:] = [key for key in keys if key == "output"]
            self.save_config_callback = None
            config["enable_checkpointing"] = False
        return super().instantiate_trainer(**kwargs)

    def _logger(self, root: str | Path | None) -> TensorBoardLogger | CurvesInText:
        """The logger that decides the run's folder; a resumed run goes on in its own."""
        runs = Path(root or ".")
        run = Path(self.config_init[self.name]["ckpt_path"] or "").absolute().parent.parent
        number = run.name.removeprefix("version_")
        resumed = number.isdecimal() and run.parent == (runs / RUNS).absolute()
        kind = TensorBoardLogger if find_spec("tensorboard") else CurvesInText
        if resumed:
            return kind(str(runs), RUNS, int(number))
        # A job that SLURM queues again finds its checkpoint, and its folder by its number.
        job = SLURMEnvironment.job_id()
        taken = (runs / RUNS / f"version_{job}").is_dir() and not any(runs.glob("hpc_ckpt_*"))
        logger = kind(str(runs), RUNS, None if taken else job)
        # Claimed at once, or trainings that are started together would share a folder.
        while getattr(rank_zero_only, "rank", 0) == 0 and (taken or job is None):
            self.claimed = Path(logger.log_dir)
            try:
                self.claimed.mkdir(parents=True)
                break
            except FileExistsError:
                logger = kind(str(runs), RUNS)
        return logger

    def after_instantiate_classes(self) -> None:
        """Starting weights and memory layout."""
        config = self.config[self.name]
        if config.init_from is not None:
            # Scores of a network that the weights are not of mean nothing.
            start_from(self.model, config.init_from, exactly=self.name != "fit")
        if config.ckpt_path is not None:
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
            averaged = any(isinstance(callback, WeightAveraging) for callback in callbacks)
            check_fit(self.model, config.ckpt_path, averaged or self.name != "fit")
        # Convolutions run several times faster so, on CPUs and GPUs alike.
        self.model.to(memory_format=torch.channels_last)

    def after_fit(self) -> None:
        """Say where the weights are."""
        if not self.trainer.is_global_zero:
            return
        for export in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(export, ExportWeights) and (path := export.file(self.trainer)).is_file():
                which = "best" if export.validated else "last"
                print(f"{path} holds the {which} weights. Try: {_trial(type(self.model), path)}")

    def before_fit(self) -> None:
        """Compile the stages where that is asked."""
        if self.config[self.name].compile:
            compile_stages(self.model)

    def fit(self, **kwargs: Any) -> None:
        """As the trainer's; each step finds the memory of the one before."""
        with keeping_memory(self.trainer.strategy.root_device):
            self.trainer.fit(**kwargs)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """As Lightning's; what is predicted is written, not kept."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        return kwargs | ({"return_predictions": False} if subcommand == "predict" else {})

    @staticmethod
    def configure_optimizers(
        lightning_module: LightningModule,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: Any = None,
    ) -> Any:
        """As Lightning's, but a `WarmupCosine` moves with every step, not every epoch.

        Raises:
            ConfigError: it is to span a training without an end.
        """
        if not isinstance(lr_scheduler, WarmupCosine):
            return LightningCLI.configure_optimizers(lightning_module, optimizer, lr_scheduler)
        if lr_scheduler.total_steps is None:
            total = lightning_module.trainer.estimated_stepping_batches
            if not 0 <= total < float("inf"):
                raise ConfigError(
                    "WarmupCosine spans the whole training, which has no end that is known; "
                    "give --trainer.max_steps or --trainer.max_epochs."
                )
            lr_scheduler.total_steps = int(total)
        return [optimizer], [{"scheduler": lr_scheduler, "interval": "step"}]


def _trial(network: type[Derainer], weights: Path) -> str:
    """A command that derains with a network's weights."""
    if is_ours(network):
        return f"raincleave derain PHOTO --model {weights}"
    name = f"{network.__module__}.{network.__qualname__}"
    return f"raincleave predict --model {name} --ckpt_path {weights} --data.root PHOTOS"


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def main(argv: Sequence[str]) -> None:
    """Run one of Lightning's subcommands, ``argv`` as after ``raincleave``.

    Raises:
        RaincleaveError: the command line, the data or the training does not work out.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith(_NOISE)
    )
    with warnings.catch_warnings():
        for message in _UNTRUE_HERE:
            warnings.filterwarnings("ignore", message)
        words = prepared(argv)
        check_name(words, "--model", _names(Derainer))
        check_name(words, "--data", _names(RainDataModule))
        try:
            RaincleaveCLI(words)
        except ArgumentError as error:
            raise _ours(error) or ConfigError(told(error, words[0])) from error
        except SIGTERMException as error:
            print("raincleave: stopped from outside; --ckpt_path last goes on.", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM) from error
        except RaincleaveError as error:
            # A data loader's worker sends its traceback along as text.
            last = str(error).strip().splitlines()[-1].partition("Error: ")
            raise (type(error)(last[2]) if "Traceback" in str(error) else error) from error
        except Exception as error:
            if ours := _ours(error):
                raise ours from error
            if isinstance(error, OSError) and error.filename:
                raise ConfigError(f"{error.filename} cannot be used: {error.strerror}.") from error
            settings = isinstance(error, MisconfigurationException | ValueError | RuntimeError)
            if not (settings and _objected(error)):
                raise
            raise ConfigError(" ".join(str(error).split())) from error


def _names(base: type[Any]) -> list[str]:
    subclasses = [name for cls in base.__subclasses__() for name in _names(cls)]
    return [*subclasses, *(cls.__name__ for cls in base.__subclasses__())]


def _ours(error: BaseException | None) -> RaincleaveError | None:
    """The error of our own behind one of jsonargparse, whose message lists all it tried."""
    while error is not None and not isinstance(error, RaincleaveError):
        error = error.__cause__ or error.__context__
    return error


def _objected(error: BaseException) -> bool:
    """Whether Lightning raised this itself, which it does for settings that make no sense."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals["__name__"].startswith("lightning.")
