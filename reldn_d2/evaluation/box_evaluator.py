"""Detectron2's evaluation of boxes, whose files appear complete or not at all."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from detectron2.evaluation import COCOEvaluator

from reldn_d2.utils.io import atomic_write


class BoxEvaluator(COCOEvaluator):
    """COCOEvaluator that writes its predictions to a temporary folder first."""

    _output_dir: Any  # as the base class sets it: a folder or None

    def evaluate(self, img_ids: Any = None) -> Any:
        """Evaluates as the base class does.

        Args:
            img_ids: see the base class.

        Raises:
            OSError: the predictions can't be written.
        """
        folder = self._output_dir
        if not folder:
            return super().evaluate(img_ids)
        with TemporaryDirectory() as scratch:
            self._output_dir = scratch
            try:
                results = super().evaluate(img_ids)
            finally:
                self._output_dir = folder
            for made in sorted(Path(scratch).iterdir()):
                with atomic_write(Path(folder, made.name)) as stream, made.open("rb") as source:
                    shutil.copyfileobj(source, stream)
        return results
