"""SYNTHETIC replicas of published datasets: captures and CSVs in exactly the published layout, with a truth that the
writer knows.

No code is shared with the drivers, the labelling or the extractor: what these files mean is stated here a second time,
from the datasets' publications.  A replica is a folder with ``captures/`` and ``labels/``; it depends on nothing but
the seed and the ``Traps``.
"""

from __future__ import annotations

from tests.replicas.argus import write_ctu13, write_unsw_nb15
from tests.replicas.cicddos2019 import write_cicddos2019
from tests.replicas.cicids2017 import write_cicids2017
from tests.replicas.cicids2018 import write_cicids2018
from tests.replicas.ciciot2023 import write_ciciot2023
from tests.replicas.iot23 import write_iot23
from tests.replicas.iscxtor2016 import write_iscxtor2016
from tests.replicas.truth import Traps, TrueFlow, TrueRow, Truth

__all__ = [
    "Traps",
    "TrueFlow",
    "TrueRow",
    "Truth",
    "write_cicddos2019",
    "write_cicids2017",
    "write_cicids2018",
    "write_ciciot2023",
    "write_ctu13",
    "write_iot23",
    "write_iscxtor2016",
    "write_unsw_nb15",
]
