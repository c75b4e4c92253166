"""A fitted detector as a folder: arrays as safetensors and parameters as JSON, so that loading runs no code."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError


def save_arrays(folder: Path, name: str, params: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """``NAME.safetensors`` (the arrays) and ``NAME.json`` (the parameters, a dataclass) in ``folder``."""
    from safetensors.numpy import save_file

    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(asdict(params), indent=1))


def load_arrays(folder: Path, name: str, params: Any) -> dict[str, NDArray[Any]]:
    """The arrays that ``save_arrays`` wrote; DataError if they were saved with other parameters.

    A parameter that is newer than the folder had its default when the folder was written.
    """
    from safetensors.numpy import load_file

    saved = json.loads((folder / f"{name}.json").read_text())
    if {**asdict(type(params)()), **saved} != asdict(params):
        raise DataError(
            f"{folder / f'{name}.json'}: saved with {saved}, asked for {asdict(params)}; load it with its own "
            "parameters"
        )
    return load_file(folder / f"{name}.safetensors")


def weights_of(network: Any, prefix: str = "") -> dict[str, NDArray[Any]]:
    """The weights of a torch network as arrays, their names behind ``prefix``."""
    return {f"{prefix}{name}": weight.cpu().numpy() for name, weight in network.state_dict().items()}


def load_weights(network: Any, arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> None:
    """Put back what ``weights_of`` took; arrays under other names are left alone."""
    import torch

    network.load_state_dict(
        {
            name.removeprefix(prefix): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
    )
