"""Any detector of PyOD by its class name: ``pyod_detector("KNN")`` is a detector class whose ``Params`` are PyOD's own
constructor arguments.

PyOD is optional (``pip install 'janus-bench[pyod]'``) and imported only when one of its detectors is asked for.
"""

import difflib
import importlib
import importlib.metadata
import inspect
import pkgutil
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.constructor import number, params_of
from detectors.shared.inputs import Input
from detectors.shared.tabular import Standardised
from janus_bench.contract import Capabilities, FitContext
from janus_bench.errors import PluginError, UsageError
from janus_bench.params import CheckedParams

_OURS = frozenset({"contamination", "device", "n_jobs", "novelty", "random_state", "verbose"})
"""Arguments that are not parameters here: the harness decides them, or (``contamination``, ``verbose``) they do not
change scores."""

_TRANSDUCTIVE = frozenset({"CD", "COF", "COPOD", "ECOD", "LMDD", "LOCI", "RGraph", "ROD", "SOD", "SOS"})
"""Classes whose ``decision_function`` uses the scored flows together, so that a score depends on its company."""


@dataclass(frozen=True)
class PyodParams(CheckedParams):
    """Parameters that every PyOD detector has here; a class made by ``pyod_detector`` adds those of PyOD's constructor.

    input  ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the 64 packets
           as 640 columns; both standardised on the training flows
    """

    name: ClassVar[str] = "pyod"

    input: Input = "features"


class PyodDetector(Standardised):
    """Score = PyOD's ``decision_function`` on the standardised rows, (n,) float64.

    There is no ``save``: PyOD's models can only be stored as pickles, which run code when they are opened.
    """

    Params: ClassVar[Any] = PyodParams
    model_class: ClassVar[Any]
    limit = 1e6  # z-scores beyond are clipped, so that squares stay finite
    block = 0  # some of PyOD's classes score flows by their company

    def _learn(self, rows: NDArray[np.float32], ctx: FitContext) -> Any:
        """PyOD's own ``fit``; its random state, if it has one, is the run's seed.  UsageError if PyOD refuses a
        value."""
        accepted = inspect.signature(self.model_class.__init__).parameters
        given = {key: number(value) for key, value in asdict(self.params).items() if key != "input"}
        decided = {"random_state": ctx.seed, "device": ctx.device, "verbose": 0}
        try:
            model = self.model_class(**given, **{key: value for key, value in decided.items() if key in accepted})
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.params.name}: PyOD refuses the parameters: {error}") from None
        model.fit(rows.astype(np.float64))
        return model

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self._model.decision_function(rows.astype(np.float64)), dtype=np.float64)


@cache
def pyod_detector(name: str) -> type[PyodDetector]:
    """The detector class for PyOD's class ``name`` (``ECOD``, ``KNN``, ``AutoEncoder``, …).

    PluginError if PyOD or what the class needs is not installed; UsageError if there is no such class or text cannot
    say its arguments.
    """
    model_class = _model_class(name)
    params = params_of(f"pyod:{name}", model_class, PyodParams, _OURS, "choose another class of PyOD")
    together = "PyOD computes its scores over the flows that are scored together"
    capabilities = Capabilities(
        inputs=frozenset({"features"}),
        provenance="faithful",
        uses_labels=name in _TRANSDUCTIVE,  # unlabelled test flows
        source=f"PyOD's {name}" + (f"; {together}" if name in _TRANSDUCTIVE else ""),
        version=f"1, PyOD {importlib.metadata.version('pyod')}",
        exemptions={"batch_invariance": together} if name in _TRANSDUCTIVE else {},
    )
    return type(
        name,
        (PyodDetector,),
        {"Params": params, "capabilities": capabilities, "model_class": model_class, "__doc__": PyodDetector.__doc__},
    )


def _model_class(name: str) -> Any:
    try:
        models = importlib.import_module("pyod.models")
    except ModuleNotFoundError:
        raise PluginError(f"pyod:{name} needs PyOD, which is not installed: pip install 'janus-bench[pyod]'") from None
    # AutoEncoder: auto_encoder
    modules = {_alike(module.name): module.name for module in pkgutil.iter_modules(models.__path__)}
    if _alike(name) not in modules:
        near = difflib.get_close_matches(_alike(name), modules, n=1, cutoff=0.5)
        meant = _spelt(name, modules[near[0]]) if near else ""
        raise UsageError(
            f"detector 'pyod:{name}': PyOD has no class {name}.{f' Did you mean pyod:{meant}?' if meant else ''}"
            " Its documentation lists them (ECOD, COPOD, LOF, KNN, …)"
        )
    module = _module(name, modules[_alike(name)])
    found = getattr(module, name, None)
    if inspect.isclass(found) and callable(getattr(found, "decision_function", None)):
        return found
    meant = _spelt(name, modules[_alike(name)])
    raise UsageError(
        f"detector 'pyod:{name}': PyOD has no detector {name}" + (f"; write pyod:{meant}" if meant else "")
    )


def _alike(name: str) -> str:
    return name.lower().replace("_", "")


def _module(name: str, module: str) -> Any:
    try:
        return importlib.import_module(f"pyod.models.{module}")
    except ModuleNotFoundError as error:
        raise PluginError(f"pyod:{name} needs {error.name}, which is not installed: pip install {error.name}") from None


def _spelt(name: str, module: str) -> str:
    """The class of a module of PyOD that is called as the module is, as PyOD writes it."""
    classes = (key for key, value in vars(_module(name, module)).items() if inspect.isclass(value))
    return next((key for key in classes if _alike(key) == _alike(module)), "")
