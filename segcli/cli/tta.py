"""seg tta: what test-time augmentation gives, and what it costs."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import help, options, render
from segcli.errors import UsageError

EXAMPLES = help.examples(
    "seg tta  # the newest model on its own val split",
    "seg tta --policies none,flip --save  # keep the better one in the bundle",
)


def tta(
    model: options.Model = None,
    data: options.Data = None,
    split: options.Split = "val",
    policies: Annotated[
        str, typer.Option("--policies", metavar="A,B,…", rich_help_panel=help.COMPUTES, help="Which to compare.")
    ] = "none,flip,scales,scales-flip,d4",
    save: Annotated[
        bool,
        typer.Option(
            "--save", rich_help_panel=help.WRITES, help="Keep the best policy in the bundle, as what --tta means."
        ),
    ] = False,
    size: options.Size = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
    as_json: options.Json = False,
) -> None:
    """Compare test-time augmentation policies: mIoU against cost."""
    from segcli.engine.evaluation.tta_trials import compare
    from segcli.engine.prediction.tta import find_policy

    chosen = [find_policy(name) for name in policies.split(",")]
    path = options.find_model(model)
    if save and path.is_file():
        raise UsageError(f"--save changes a bundle, and {path} is an exported file; give the bundle and export again")
    predictor = options.load(path, device, precision, size=size, stranger=options.parse_stranger(classes, mean, std))
    with render.progress() as progress:
        dataset = options.open_data(data, predictor.card, progress)
        trials = compare(predictor, dataset.split(split), chosen, progress)
    best = max(trials, key=lambda trial: trial.scores.miou)
    if as_json:
        render.as_json(
            [
                {"policy": trial.policy.name, "precision": predictor.precision, "cost": trial.policy.cost,
                 "seconds_per_image": trial.seconds_per_image, **trial.scores.summary()}
                for trial in trials
            ]
        )  # fmt: skip
    else:
        render.trials_table(trials)
    if save:
        _save(path, best.policy.name)
        render.note(f"{path}: --tta now means {best.policy.name}")
    else:
        render.next_steps(f"seg predict --tta-policy {best.policy.name} -m {render.command_path(path)} IMAGES")


def _save(path: Path, policy: str) -> None:
    from dataclasses import replace

    from segcli.io.bundle import read_card, write_card

    write_card(path, replace(read_card(path), tta=policy))
