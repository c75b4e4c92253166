"""The NetFlow v2 tables of four published datasets: one set of features for all."""

from dataclasses import dataclass
from typing import Literal

from datasets_registry.drivers.driver import Driver, Tables, tables_alone

FILES = {
    "unsw_nb15": "NF-UNSW-NB15-v2",
    "ton_iot": "NF-ToN-IoT-v2",
    "bot_iot": "NF-BoT-IoT-v2",
    "cse_cic_ids2018": "NF-CSE-CIC-IDS2018-v2",
}


@dataclass(frozen=True)
class NetFlowOptions:
    """which: the table of which dataset; give each its own name with --as."""

    which: Literal["unsw_nb15", "ton_iot", "bot_iot", "cse_cic_ids2018"] = "unsw_nb15"


def _files(options: NetFlowOptions) -> str:
    return rf"(.*/)?{FILES[options.which]}[^/]*\.(csv|parquet)"


DRIVER = Driver(
    name="nf_v2",
    summary="NetFlow v2 features of a published dataset",
    licence="free for academic research with citation (University of Queensland)",
    citation=(
        "Sarhan, Layeghy, Portmann: Towards a Standard Feature Set for Network Intrusion Detection System Datasets, "
        "Mobile Networks and Applications 27, 2022, 10.1007/s11036-021-01843-0"
    ),
    captures="none: it is prepared from its tables",
    group_of=lambda _path: None,
    labeller=tables_alone,
    options=NetFlowOptions,
    tables=Tables("netflow_v2", _files),
    defects=(
        "rows have no times: what is near in time cannot be kept out of the test, and neither context nor a split by "
        "time can be had",
        "rates of flows without duration are beyond 1e300 in SRC_TO_DST_SECOND_BYTES and DST_TO_SRC_SECOND_BYTES, as "
        "users of the tables report; they are stored as 1e38 and counted",
        "the labels are those of the datasets that the tables were made of, with whatever is wrong with these",
    ),
)
