"""The training loop as one would write it by hand in plain torch, to compare `seg train` with.

python benchmarks/plain_loop.py          prints both loops' losses and their largest relative difference
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def plain_losses(
    model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], lr: float, weight_decay: float
) -> list[float]:
    """Trains an smp model on batches (B×3×H×W uint8, B×H×W) and gives the loss of every step."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}], lr=lr
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        lr,
        total_steps=len(batches),
        pct_start=0.25,
        div_factor=25,
        final_div_factor=1e4,
        cycle_momentum=False,
    )
    losses = []
    model.train()
    for images, masks in batches:
        # (images / 255 - MEAN) / STD, rounded as the network inside rounds it: training amplifies a
        # difference in the last bit a thousandfold in 50 steps, and here only the loop is compared.
        x = images.float() * (1 / (255 * STD)) - MEAN / STD
        loss = functional.cross_entropy(model(x), masks.long(), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def seg_losses(num_steps: int = 50) -> tuple[list[float], list[float]]:
    """Trains on the embedded shapes with `seg`'s loop and with the plain one, from the same weights and batches."""
    import copy
    from itertools import chain

    from segcli.config import RunConfig
    from segcli.datasets.open import open_dataset
    from segcli.engine.training.events import Stepped
    from segcli.engine.training.loop import Trainer

    config = RunConfig.model_validate(
        {
            "dataset": {"embedded": "shapes"},
            "encoder": "resnet18",
            "encoder_weights": None,
            "model": {"encoder_depth": 3, "decoder_channels": [32, 16, 16]},
            "train": {
                "epochs": 2,
                "max_steps": num_steps,
                "batch_size": 8,
                "image_size": 64,
                "workers": 0,
                "channels_last": False,
            },
            "optimizer": {"lr": 1e-3, "weight_decay": 0.01},
            "device": "cpu",
            "precision": "fp32",
        }
    )
    losses: list[float] = []
    trainer = Trainer(
        config,
        open_dataset(config.dataset),
        lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None,
    )
    model = copy.deepcopy(trainer.parts.network.model)
    epochs = range(trainer.parts.total_epochs)
    steps = list(chain.from_iterable(trainer.parts.batches.epoch(epoch) for epoch in epochs))[:num_steps]
    for _ in epochs:
        trainer.train_epoch()
        trainer.progress.epoch, trainer.progress.step_in_epoch = trainer.progress.epoch + 1, 0
    batches = [(batch.images.contiguous(), batch.masks) for micro_batches in steps for batch in micro_batches]
    return losses, plain_losses(model, batches, lr=1e-3, weight_decay=0.01)


if __name__ == "__main__":
    ours, plain = seg_losses()
    for step, (a, b) in enumerate(zip(ours, plain, strict=True), 1):
        print(f"{step:3d}  seg {a:.6f}  plain {b:.6f}  {abs(a - b) / b:.1e}")
    print(f"largest relative difference: {max(abs(a - b) / b for a, b in zip(ours, plain, strict=True)):.1e}")
