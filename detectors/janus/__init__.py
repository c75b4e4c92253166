"""JANUS: mixed continuous and discrete flow matching over packet sequences, trained on benign flows only.

Read in this order: ``params`` (what can be set), ``preprocess`` (flows → standardised sequences), ``batching`` (lossless grouping by
length), ``network`` (the Transformer), ``coupling`` (optimal transport), ``objective`` (paths and losses), ``training``, ``columns`` (which
scores there are), ``scoring``, ``binning`` (of the variant without a continuous head), ``detector`` (the contract).  ``patches`` and ``plus`` are
``janus-plus``.  Importing this package does not import torch.
"""

from __future__ import annotations

from detectors.janus.detector import Janus
from detectors.janus.params import JanusParams
from detectors.janus.plus import JanusPlus, JanusPlusParams

__all__ = ["Janus", "JanusParams", "JanusPlus", "JanusPlusParams"]
