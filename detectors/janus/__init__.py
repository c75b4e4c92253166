"""JANUS: mixed continuous and discrete flow matching over packet sequences, trained on benign flows only.

Read in this order: ``config`` (what can be set), ``preprocess`` (flows → standardised sequences), ``model`` (the
Transformer), ``matching`` (paths, coupling, losses, training) and ``scoring`` (the reverse ODE and the score columns).
``packing`` is speed, ``binned`` the variants, ``detector`` the contract; ``patches`` and ``plus`` are ``janus-plus``,
``context`` is ``janus-context``.
Importing this package does not import torch.
"""

from detectors.janus.config import JanusParams
from detectors.janus.context import JanusContext, JanusContextParams
from detectors.janus.detector import Janus
from detectors.janus.plus import JanusPlus, JanusPlusParams

__all__ = ["Janus", "JanusContext", "JanusContextParams", "JanusParams", "JanusPlus", "JanusPlusParams"]
