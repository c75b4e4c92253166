"""Any outlier detector or density of scikit-learn by its whole name: ``sklearn:sklearn.svm.OneClassSVM`` is a detector
class whose ``Params`` are the constructor's own arguments.

scikit-learn is imported only when one of its classes is asked for.
"""

import importlib
import importlib.metadata
import inspect
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.constructor import number, params_of
from detectors.shared.inputs import Input
from detectors.shared.tabular import Standardised
from janus_bench.contract import Capabilities, FitContext
from janus_bench.errors import UsageError, unknown
from janus_bench.params import CheckedParams

_OURS = frozenset({"contamination", "n_jobs", "random_state", "verbose"})
"""Arguments that are not parameters here: the harness decides them, or (``contamination``, ``verbose``) they move a
threshold that nobody uses, or change nothing."""

_MODULES = ("covariance", "decomposition", "ensemble", "linear_model", "mixture", "neighbors", "svm")
"""Where those are looked for that a wrong name is told of; any other module of scikit-learn can be named too."""


@dataclass(frozen=True)
class SklearnParams(CheckedParams):
    """Parameters that every class of scikit-learn has here; one made by ``sklearn_detector`` adds those of its
    constructor, and refuses what scikit-learn refuses.

    input  ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the 64 packets
           as 640 columns; both standardised on the training flows
    """

    name: ClassVar[str] = "sklearn"
    model_class: ClassVar[Any]

    input: Input = "features"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model()

    def model(self) -> Any:
        """An unfitted one, which can score flows that it was not fitted on; UsageError where it cannot."""
        given = {key: number(value) for key, value in asdict(self).items() if key != "input"}
        try:
            model = self.model_class(**given)
            getattr(model, "_validate_params", lambda: None)()  # as its fit does, but before anything runs
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name}: scikit-learn refuses the parameters: {_first_line(error)}") from None
        if not hasattr(model, "score_samples"):
            raise UsageError(f"{self.name}: with these parameters (novelty=false) it scores only what it was fitted on")
        return model


class SklearnDetector(Standardised):
    """Score = −``score_samples`` of the standardised rows, (n,) float64; an outlier detector's ``decision_function`` is
    the same less its threshold, which nobody uses here.

    There is no ``save``: scikit-learn's models can only be stored as pickles, which run code when they are opened.
    """

    Params: ClassVar[Any] = SklearnParams
    limit = 1e6  # z-scores beyond are clipped, so that squares stay finite

    def _learn(self, rows: NDArray[np.float32], ctx: FitContext) -> Any:
        """scikit-learn's own ``fit``; its random state, if it has one, is the run's seed."""
        model = self.params.model()
        if hasattr(model, "random_state"):  # OneClassSVM has it, though its constructor does not
            model.random_state = ctx.seed
        return model.fit(rows.astype(np.float64))

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return -np.asarray(self._model.score_samples(rows.astype(np.float64)), dtype=np.float64)


@cache
def sklearn_detector(name: str) -> type[SklearnDetector]:
    """The detector class for scikit-learn's class ``name`` (``sklearn.covariance.EllipticEnvelope``, …).

    UsageError if there is no such class, if it scores nothing, or if text cannot say its arguments.
    """
    model_class = _model_class(name)
    detector = f"sklearn:{name}"
    other = "choose another class of scikit-learn"
    # without novelty, LocalOutlierFactor scores only what it was fitted on
    params: Any = params_of(detector, model_class, SklearnParams, _OURS, other, {"novelty": True})
    params.model_class = model_class
    capabilities = Capabilities(
        inputs=frozenset({"features"}),
        provenance="faithful",
        source=f"scikit-learn's {name.rpartition('.')[2]}",
        version=f"1, scikit-learn {importlib.metadata.version('scikit-learn')}",
    )
    return type(
        model_class.__name__,
        (SklearnDetector,),
        {"Params": params, "capabilities": capabilities, "__doc__": SklearnDetector.__doc__},
    )


def _model_class(name: str) -> Any:
    """A class that learns without labels and scores."""
    module, _, own = name.rpartition(".")
    try:
        importlib.import_module("sklearn")
        if not module.startswith("sklearn."):
            raise ModuleNotFoundError
        found = getattr(importlib.import_module(module), own)
    except (ModuleNotFoundError, AttributeError):
        raise unknown("class of scikit-learn", name, _candidates()) from None
    if not _learns_and_scores(found):
        raise UsageError(
            f"detector 'sklearn:{name}': it does not score flows after a fit without labels; those that do: "
            f"{', '.join(_candidates())}"
        )
    return found


def _learns_and_scores(found: Any) -> bool:
    fit: Any = getattr(found, "fit", None)
    if not (inspect.isclass(found) and callable(fit) and callable(getattr(found, "score_samples", None))):
        return False
    labels = inspect.signature(fit).parameters.get("y")
    return labels is None or labels.default is None


def _candidates() -> list[str]:
    """Those in the modules that are about outliers and densities; importing all of scikit-learn takes seconds."""
    return [
        f"sklearn.{module}.{name}"
        for module in _MODULES
        for name, value in vars(importlib.import_module(f"sklearn.{module}")).items()
        if not name.startswith("_") and _learns_and_scores(value)
    ]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
