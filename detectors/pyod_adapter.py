"""Any detector of PyOD by its class name: ``pyod_detector("KNN")`` is a detector class whose ``Params`` are PyOD's own constructor arguments.

PyOD is optional (``pip install 'janus-bench[pyod]'``) and imported only when one of its detectors is asked for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import math
import pkgutil
from dataclasses import asdict, dataclass, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import require, require_choice
from detectors.shared.inputs import INPUTS, Standardiser
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError, UsageError

__all__ = ["PyodDetector", "PyodParams", "pyod_detector"]

_LIMIT = 1e6  # z-scores beyond are clipped, so that squares stay finite

_OURS = frozenset({"contamination", "device", "n_jobs", "novelty", "random_state", "verbose"})
"""Arguments that are not parameters here: the harness decides them, or (``contamination``, ``verbose``) they do not change scores."""

_TRANSDUCTIVE = frozenset({"CD", "COF", "COPOD", "ECOD", "LMDD", "LOCI", "RGraph", "ROD", "SOD", "SOS"})
"""Classes whose ``decision_function`` uses the scored flows together, so that a score depends on its company."""


@dataclass(frozen=True)
class PyodParams:
    """Parameters that every PyOD detector has here; a class made by ``pyod_detector`` adds those of PyOD's constructor.

    input  ``features``: the 20 flow features; ``packets``: the 64 packets as 640 columns; both standardised on the training flows
    """

    name: ClassVar[str] = "pyod"

    input: str = "features"

    def __post_init__(self) -> None:
        require_choice(self.name, "input", self.input, INPUTS)
        for field in fields(self):
            value = getattr(self, field.name)
            require(not isinstance(value, float) or math.isfinite(value), self.name, field.name, "a finite number", value)


class PyodDetector:
    """Score = PyOD's ``decision_function`` on the standardised rows, (n,) float64.

    There is no ``save``: PyOD's models can only be stored as pickles, which run code when they are opened.
    """

    Params: ClassVar[Any] = PyodParams
    capabilities: ClassVar[Capabilities]
    model_class: ClassVar[Any]

    def __init__(self, params: Any = None) -> None:
        self.params = params or self.Params()
        self._standardiser: Standardiser | None = None
        self._model: Any = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """PyOD's ``fit`` on the benign training flows; its random state, if it has one, is the run's seed.  UsageError if PyOD refuses a value."""
        read = INPUTS[self.params.input]
        self._standardiser = Standardiser.fitted(read.columns(benign))
        accepted = inspect.signature(self.model_class.__init__).parameters
        given = {key: _number(value) for key, value in asdict(self.params).items() if key != "input"}
        decided = {"random_state": ctx.seed, "device": ctx.device, "verbose": 0}
        try:
            self._model = self.model_class(**given, **{key: value for key, value in decided.items() if key in accepted})
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.params.name}: PyOD refuses the parameters: {error}") from None
        self._model.fit(self._rows(benign))

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """PyOD's anomaly score of each flow, (n,)."""
        if self._model is None:
            raise PluginError(f"{self.params.name}: score() before fit()")
        return np.asarray(self._model.decision_function(self._rows(flows)), dtype=np.float64)

    def _rows(self, flows: FlowBatch) -> NDArray[np.float64]:
        assert self._standardiser is not None
        return INPUTS[self.params.input].rows(flows, self._standardiser, _LIMIT).astype(np.float64)  # (n, 20) or (n, 640)


@cache
def pyod_detector(name: str) -> type[PyodDetector]:
    """The detector class for PyOD's class ``name`` (``ECOD``, ``KNN``, ``AutoEncoder``, …).

    PluginError if PyOD or what the class needs is not installed; UsageError if there is no such class or text cannot say its arguments.
    """
    model_class = _model_class(name)
    arguments = [argument for argument in list(inspect.signature(model_class.__init__).parameters.values())[1:] if argument.name not in _OURS]
    required = [argument.name for argument in arguments if argument.default is argument.empty and argument.kind is argument.POSITIONAL_OR_KEYWORD]
    if required:
        raise UsageError(f"detector 'pyod:{name}' needs {', '.join(required)}, which a parameter cannot express; choose another class of PyOD")
    params = make_dataclass(
        f"{name}Params",
        [(argument.name, _annotation(argument.default), argument.default) for argument in arguments if _is_plain(argument.default)],
        bases=(PyodParams,),
        namespace={"name": f"pyod:{name}", "__doc__": f"Parameters of ``pyod:{name}``: ``input`` and those of PyOD's {name}."},
        frozen=True,
    )
    together = "PyOD computes its scores over the flows that are scored together"
    capabilities = Capabilities(
        inputs=frozenset({"features", "packets"}),  # ``Params.input`` chooses
        provenance="faithful",
        uses_labels=name in _TRANSDUCTIVE,  # unlabelled test flows
        source=f"PyOD's {name}" + (f"; {together}" if name in _TRANSDUCTIVE else ""),
        version=f"1, PyOD {importlib.metadata.version('pyod')}",
        exemptions={"batch_invariance": together} if name in _TRANSDUCTIVE else {},
    )
    return type(name, (PyodDetector,), {"Params": params, "capabilities": capabilities, "model_class": model_class, "__doc__": PyodDetector.__doc__})


def _model_class(name: str) -> Any:
    try:
        models = importlib.import_module("pyod.models")
    except ModuleNotFoundError:
        raise PluginError(f"pyod:{name} needs PyOD, which is not installed: pip install 'janus-bench[pyod]'") from None
    modules = {module.name.replace("_", ""): module.name for module in pkgutil.iter_modules(models.__path__)}  # AutoEncoder: auto_encoder
    key = name.lower().replace("_", "")
    if key not in modules:
        raise UsageError(f"detector 'pyod:{name}': PyOD has no class {name}; its documentation lists them (ECOD, COPOD, LOF, KNN, …)")
    try:
        module = importlib.import_module(f"pyod.models.{modules[key]}")
    except ModuleNotFoundError as error:
        raise PluginError(f"pyod:{name} needs {error.name}, which is not installed: pip install {error.name}") from None
    found = getattr(module, name, None)
    if inspect.isclass(found) and callable(getattr(found, "decision_function", None)):
        return found
    spelt = [other for other, value in vars(module).items() if inspect.isclass(value) and other.lower().replace("_", "") == key]
    raise UsageError(f"detector 'pyod:{name}': PyOD has no detector {name}" + (f"; write pyod:{spelt[0]}" if spelt else ""))


def _is_plain(default: object) -> bool:
    return default is None or isinstance(default, bool | int | float | str)


def _annotation(default: object) -> Any:
    return str | None if default is None else type(default)


def _number(value: Any) -> Any:
    """Text as a number where it is one: PyOD takes numbers for many arguments whose default is a word or None."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value
