"""seg tta: what test-time augmentation gives, and what it costs."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import help, options, render
from segcli.errors import UsageError

if TYPE_CHECKING:
    from segcli.engine.prediction.tta import View

_MEANS = ("probabilities", "logits")

EXAMPLES = help.examples(
    "seg tta  # the newest run's best model on its val split",
    "seg tta --views 1,flip,r90,r180,r270 --save  # what a satellite may see; --tta means the best from now on",
    "seg tta --views none --policies none,flip,1+0.5+1.5  # compare only",
)


def tta(
    model: options.Model = None,
    data: options.Data = None,
    split: options.Split = "val",
    policies: Annotated[
        str,
        typer.Option(
            "--policies",
            metavar="NAME,…",
            rich_help_panel=help.COMPUTES,
            help="Which to compare in any case: names (none, flip, scales, d4) or sums such as 1+flip+0.75.",
        ),
    ] = "none,flip,scales,scales-flip",
    views: Annotated[
        str | None,
        typer.Option(
            "--views",
            metavar="VIEW,…",
            rich_help_panel=help.COMPUTES,
            help="What the search may add: scales, r90, r180, r270, flip, joined by hyphens; none searches nothing. "
            "[default: 1, 0.75, 1.25, 1.5 and 0.5, each with and without flip]",
        ),
    ] = None,
    at_most: Annotated[
        float,
        typer.Option(
            "--at-most",
            min=1,
            metavar="COST",
            rich_help_panel=help.COMPUTES,
            help="The highest cost that the search goes to, in times of the image as it is.",
        ),
    ] = 8.0,
    averaged: Annotated[
        str,
        typer.Option(
            "--averaged", metavar="NAME", rich_help_panel=help.COMPUTES, help="What: probabilities or logits."
        ),
    ] = "probabilities",
    save: Annotated[
        bool,
        typer.Option(
            "--save", rich_help_panel=help.WRITES, help="Keep the best policy in the bundle, as what --tta means."
        ),
    ] = False,
    output: options.Output = None,
    size: options.Size = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
    as_json: options.Json = False,
) -> None:
    """Search test-time augmentation: which views of an image raise the mIoU, and at what cost.

    A policy averages what the model makes of several views. Views are added one by one, as long as the mIoU rises.
    Writes a table (CSV, JSON) and a picture of the front into the run.
    """  # fmt: skip
    if averaged not in _MEANS:
        raise UsageError(f"--averaged {averaged}: expected {' or '.join(_MEANS)}")
    with render.starting():
        from segcli.engine.evaluation.tta_search import VIEWS, search
        from segcli.engine.prediction.tta import find_policy

    chosen = [find_policy(name) for name in policies.split(",") if name]
    if any(policy.of_logits for policy in chosen):
        raise UsageError(f"--policies {policies}: what is averaged is said for all of them by --averaged logits")
    path = options.find_model(model)
    if save and path.is_file():
        raise UsageError(f"--save changes a bundle, and {path} is an exported file; give the bundle and export again")
    stranger = options.parse_stranger(classes, mean, std)
    predictor = options.load_soon(path, device, precision, size=size, stranger=stranger)()
    with render.progress() as progress:
        dataset = options.open_data(data, predictor.card, progress)
        looked_for = VIEWS if views is None else _views(views)
        found = search(predictor, dataset.split(split), chosen, looked_for, at_most, averaged == "logits", progress)
    facts = {
        "model": str(path), "data": dataset.name, "split": split, "images": len(dataset.split(split)),
        "chosen_on": found.chosen_on, "precision": predictor.precision, "mean": averaged,
        "best": found.best.policy.name, "policies": found.rows(),
    }  # fmt: skip
    written = _write(output or _default_output(path), facts)
    if as_json:
        render.as_json(facts)
    else:
        render.trials_table(found)
        render.files(written)
    if save:
        _save(path, found.best.policy.name)
        render.note(f"{path}: --tta now means {found.best.policy.name}")
    else:
        images = options.images_to_try(predictor.card)
        render.next_steps(f"seg predict --tta-policy {found.best.policy.name} -m {render.command_path(path)} {images}")


def _views(text: str) -> "list[View]":
    from segcli.engine.prediction.tta import View

    return [] if text == "none" else list(dict.fromkeys(View.parse(part) for part in text.split(",")))


def _write(folder: Path, facts: "dict[str, object]") -> list[Path]:
    import json

    from segcli.io.files import write_text
    from segcli.io.rundir import write_rows

    table, values, picture = (folder / f"tta.{suffix}" for suffix in ("csv", "json", "png"))
    rows: list[dict[str, object]] = facts["policies"]  # type: ignore[assignment]
    write_rows(table, rows)
    write_text(values, json.dumps(facts, indent=2) + "\n")
    if find_spec("matplotlib") is None:
        render.note("note: the picture needs matplotlib, which is not installed")
        return [table, values]
    from segcli.engine.drawing.front import draw_front

    draw_front(rows, picture)
    return [table, values, picture]


def _default_output(model: Path) -> Path:
    from segcli.io.rundir import output_folder

    return output_folder(model, "tta")


def _save(path: Path, policy: str) -> None:
    from dataclasses import replace

    from segcli.io.bundle import read_card, write_card

    write_card(path, replace(read_card(path), tta=policy))
