"""The curves of a training, where there is no TensorBoard."""

import csv
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class CurvesInText(CSVLogger):
    """Lightning's ``metrics.csv``, to which a resumed training adds; Lightning's begins it anew."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, with what an earlier part of the training logged in this folder."""
        if self._experiment is None:
            file = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
            with file.open(newline="") if file.is_file() else nullcontext(()) as lines:
                rows = list(csv.DictReader(lines))
            writer: Any = ExperimentWriter(self.log_dir)
            writer.metrics += [{k: v for k, v in row.items() if v} for row in rows]
            writer.save()  # it began the file anew, and would else wait for the next rows
            self._experiment = writer
        return self._experiment
