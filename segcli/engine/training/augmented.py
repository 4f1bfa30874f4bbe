"""What training sees, drawn: the first crops of a run's first epoch, varied as its config says."""

from pathlib import Path

from segcli.config import load_config
from segcli.datasets.open import open_dataset
from segcli.engine.drawing.masks import draw_batch
from segcli.engine.training.batches import padding_colour, training_crops
from segcli.errors import DataError, UsageError
from segcli.io.bundle import read_card
from segcli.io.card import CARD
from segcli.io.rundir import run_of
from segcli.parallel import Progress, silent


def draw_augmented(model: Path, number: int, picture: Path, progress: Progress = silent) -> Path:
    """Draws the first crops of the run that a model stands in, each above its mask.

    Args:
        model: a bundle, or an exported file in the run.
        number: how many crops to draw at most.
        picture: the file to write.
        progress: told of each crop.

    Raises:
        UsageError: if the model stands in no run, or its data is not there.
        DataError: if a sample cannot be read.
    """
    run = run_of(model)
    if run is None:
        raise UsageError(f"--augmented draws the crops of a run's own config, and {model} is in none; give -m RUN")
    config = load_config(run.config, [])
    dataset = open_dataset(config.dataset, progress)
    card = read_card(model if (model / CARD).is_file() else run.best)
    crops = training_crops(config, dataset, dataset.split("train"), padding_colour(card.mean), progress)
    turns = crops.order.turns(0)[:number]
    items = []
    for done, turn in enumerate(turns, 1):
        item = crops[turn]
        if not isinstance(item, tuple):
            raise DataError(str(item))
        items.append(item)
        progress("drawing", done, len(turns))
    draw_batch(picture, items, dataset.task)
    return picture
