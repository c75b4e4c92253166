"""JANUS: mixed continuous and discrete flow matching over packet sequences, trained on benign flows only.

Read in this order: ``params`` (what can be set), ``preprocess`` (flows → standardised sequences), ``batching`` (lossless grouping by
length), ``network`` (the Transformer), ``coupling`` (optimal transport), ``objective`` (paths and losses), ``training``, ``columns`` (which
scores there are), ``scoring``, ``binning`` (of the variant without a continuous head), ``detector`` (the contract).  Importing this package does
not import torch.
"""

from __future__ import annotations

from detectors.janus.detector import Janus
from detectors.janus.params import JanusParams

__all__ = ["Janus", "JanusParams"]
