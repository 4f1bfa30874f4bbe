"""seg eval: figures of a model on a split."""

from segcli.cli import help, options, render

EXAMPLES = help.examples(
    "seg eval  # the newest model on its own val split",
    "seg eval -m runs/camvid --split test --tta",
    "seg eval -m model.onnx -d data/camvid --json",
)


def evaluate(
    model: options.Model = None,
    data: options.Data = None,
    split: options.Split = "val",
    tta: options.Tta = False,
    tta_policy: options.TtaPolicy = None,
    size: options.Size = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
    as_json: options.Json = False,
) -> None:
    """Evaluate a model: IoU, Dice and accuracy of each class, at the masks' own size."""
    path = options.find_model(model)
    stranger = options.parse_stranger(classes, mean, std)
    with render.starting():
        load = options.load_soon(path, device, precision, tta, tta_policy, size, stranger)
        from segcli.engine.evaluation.evaluate import evaluate as evaluate_samples

    predictor = load()
    with render.progress() as progress:
        dataset = options.open_data(data, predictor.card, progress)
        scores = evaluate_samples(predictor, dataset.split(split), progress=progress).scores
    task = predictor.card.task
    title = f"{path} in {predictor.precision} on {dataset.name}, {split} split ({len(dataset.split(split))} images)"
    if as_json:
        render.as_json(
            {
                "model": str(path),
                "data": dataset.name,
                "split": split,
                "precision": predictor.precision,
                **scores.to_json(task),
            }
        )
        return
    render.scores_table(scores, task, title)
