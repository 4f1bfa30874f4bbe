"""Pictures of what a model makes of images: overlays, and panels beside the truth."""

from collections.abc import Sequence
from pathlib import Path

from segcli.datasets.dataset import Sample
from segcli.engine.drawing.masks import below_one_another, overlay, panel
from segcli.engine.drawing.sheet import contact_sheet, small
from segcli.engine.prediction.predictor import Predictor, predict_mask
from segcli.io.images import Pixels, read_image, write_image
from segcli.parallel import Progress, silent


def draw_samples(
    predictor: Predictor, samples: Sequence[Sample], folder: Path, blend: bool, progress: Progress = silent
) -> list[Path]:
    """Draws the prediction on each sample: blended over the image, or as a panel beside the truth.

    Args:
        predictor: the model.
        samples: with masks.
        folder: where the pictures go.
        blend: overlays instead of panels.
        progress: told of each picture.

    Returns:
        The pictures, and of several a contact sheet.
    """
    task, written, sheet = predictor.card.task, [], _Sheet(folder, blend)
    for done, sample in enumerate(samples, 1):
        image, truth = sample.read()
        prediction = predict_mask(predictor, image)
        picture = overlay(image, prediction, task) if blend else panel(image, truth, prediction, task)
        written.append(_save(folder, sample.name, blend, picture))
        sheet.add(sample.name, picture)
        progress("drawing", done, len(samples))
    return [*written, *sheet.save()]


def evenly(samples: Sequence[Sample], number: int) -> list[Sample]:
    """A number of samples from all over a split; neighbours are often frames of one video."""
    number = min(number, len(samples))
    return [samples[place * len(samples) // number] for place in range(number)]


def draw_files(
    predictor: Predictor,
    images: Sequence[tuple[Path, str]],
    folder: Path,
    blend: bool,
    progress: Progress = silent,
) -> list[Path]:
    """Draws the prediction on images that have no masks; each has a path and the name of its picture."""
    task, written, sheet = predictor.card.task, [], _Sheet(folder, blend)
    for done, (path, name) in enumerate(images, 1):
        image = read_image(path)
        prediction = predict_mask(predictor, image)
        picture = overlay(image, prediction, task) if blend else panel(image, None, prediction, task)
        written.append(_save(folder, name, blend, picture))
        sheet.add(name, picture)
        progress("drawing", done, len(images))
    return [*written, *sheet.save()]


def draw_panels(path: Path, predictor: Predictor, samples: Sequence[Sample]) -> None:
    """Draws a panel for each of a few samples, one below the other."""
    task = predictor.card.task
    panels = []
    for sample in samples:
        image, truth = sample.read()
        panels.append(panel(image, truth, predict_mask(predictor, image), task))
    write_image(path, below_one_another(panels))


def _save(folder: Path, name: str, blend: bool, picture: Pixels) -> Path:
    path = folder / ("overlays" if blend else "panels") / f"{name}.png"
    write_image(path, picture)
    return path


class _Sheet:
    """Keeps pictures small, and writes them as a contact sheet where there are several."""

    def __init__(self, folder: Path, blend: bool) -> None:
        self.path = folder / ("overlays.jpg" if blend else "panels.jpg")
        self._pictures: list[tuple[str, Pixels]] = []

    def add(self, name: str, picture: Pixels) -> None:
        """Takes a picture."""
        self._pictures.append((name, small(picture)))

    def save(self) -> list[Path]:
        """The sheet, if there is one."""
        if len(self._pictures) < 2:
            return []
        write_image(self.path, contact_sheet(self._pictures))
        return [self.path]
