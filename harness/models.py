"""What the harness says of a model that it keeps, and whether it can use one that it is given."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from datasets_registry.extraction import EXTRACTION_VERSION
from harness.plan import version_of
from janus_bench.contract import Capabilities
from janus_bench.errors import DataError, PluginError, UsageError
from janus_bench.models import ModelAbout, ModelCapture, ModelManifest, ModelRules, SavedModel
from janus_bench.params import build_params
from janus_bench.plugins import LoadedDetector, load_detector

RULES = tuple(ModelRules.__annotations__)


def about_model(
    capabilities: Capabilities,
    detector: str,
    version: str,
    params: Mapping[str, Any],
    seed: int,
    rules: Mapping[str, Any],
    trained: Sequence[ModelCapture],
) -> ModelAbout:
    """A model that is not calibrated; ``rules``: what says among other things what a flow was."""
    kept = {name: rules.get(name, default) for name, default in zip(RULES, (120.0, None, "idle", False), strict=True)}
    return ModelAbout(
        detector=detector,
        version=version,
        params=dict(params),
        inputs=sorted(capabilities.inputs),
        scores=list(capabilities.scores),
        aggregator=capabilities.aggregator or "identity",
        seed=seed,
        rules=kept,  # type: ignore[typeddict-item]
        trained=list(trained),
        calibration=None,
        versions={"extraction": str(EXTRACTION_VERSION), "python": platform.python_version()},
    )


def detector_of(model: SavedModel) -> LoadedDetector:
    """The installed detector of a model, as its parameters make it.

    PluginError where it is not installed, DataError where it has become another.
    """
    manifest: ModelManifest = model.manifest
    name = manifest["detector"]
    try:
        loaded = load_detector(name)
    except UsageError:
        raise PluginError(
            f"{model.folder}: needs the detector {name!r}, which is not installed: install the package that has it"
        ) from None
    try:
        params = build_params(name, loaded.params_type, manifest["params"])
    except UsageError as error:
        raise DataError(f"{model.folder}: was made by another version of {name} ({error}): fit it again") from None
    loaded = loaded.declaring(params)
    for what, there, now in (
        ("version", manifest["version"], version_of(loaded)),
        ("extraction", manifest["versions"].get("extraction"), str(EXTRACTION_VERSION)),
        ("score columns", list(manifest["scores"]), list(loaded.capabilities.scores)),
    ):
        if there != now:
            raise DataError(f"{model.folder}: made with {what} {there} of {name}, installed is {now}: fit it again")
    return loaded
