"""Where a config may send the figures of a training."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from segcli.components.section import Section


class WandBTracking(Section):
    """Figures, facts and pictures go to Weights & Biases; needs `pip install "segcli[wandb]"`."""

    project: str = "segcli"
    """the project that holds the run"""
    name: str | None = None
    """the run's name there; null: that of its folder"""
    mode: Literal["online", "offline", "disabled"] | None = None
    """online sends while it trains; offline writes to RUN/wandb, for `wandb sync`; null: $WANDB_MODE, else online"""
    tags: tuple[str, ...] = ()
    """words to find the run by"""


class MLflowTracking(Section):
    """Figures, facts and pictures go to MLflow; needs `pip install "segcli[mlflow]"`."""

    uri: str | None = None
    """a server or database; null: $MLFLOW_TRACKING_URI, else the file RUN/mlflow/mlflow.db"""
    experiment: str = "segcli"
    """the experiment that holds the run"""


def _switch(value: Any) -> Any:
    """Lets `true` stand for a section with its defaults, and `false` for none."""
    return ({} if value else None) if isinstance(value, bool) else value


class TrackingConfig(Section):
    """Where the figures go besides results.csv."""

    tensorboard: bool = True
    """write event files to RUN/tensorboard"""
    wandb: Annotated[WandBTracking | None, BeforeValidator(_switch, bool | WandBTracking | None)] = None
    """Weights & Biases: true, or a mapping; null: not used"""
    mlflow: Annotated[MLflowTracking | None, BeforeValidator(_switch, bool | MLflowTracking | None)] = None
    """MLflow: true, or a mapping; null: not used"""
