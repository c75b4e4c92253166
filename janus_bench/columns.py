"""Names, order and units of everything that is known of a packet or a flow.  A leaf module: nothing is imported."""

MAX_PACKETS = 64  # Packets kept per flow; the sequence of a longer flow is its first 64 packets.

PACKET_CHANNELS = ("size", "iat", "direction", "syn", "fin", "rst", "psh", "ack", "win")
"""Column order of a padded packet tensor.  ``size``: IP length in bytes; ``iat``: µs since the flow's previous packet
(first: 0); ``direction``: 0 = initiator → responder; flags in {0, 1}; ``win``: raw TCP window field.  Non-TCP: flags 0,
win 0."""

CONTINUOUS_CHANNELS = ("size", "iat", "win")
DISCRETE_CHANNELS = ("direction", "syn", "fin", "rst", "psh", "ack")

FLOW_FEATURES = (
    *("log_duration", "n_packets", "n_fwd", "n_bwd", "bytes_fwd", "bytes_bwd"),
    *("size_mean", "size_std", "size_min", "size_max"),
    *("iat_mean", "iat_std", "iat_min", "iat_max"),
    *("count_syn", "count_fin", "count_rst", "count_psh", "count_ack"),
    "down_up_ratio",
)
"""The 20 packet-derived features of a flow.  All but ``down_up_ratio`` (n_bwd / max(n_fwd, 1)) are log1p of bytes,
counts or µs; computed from the stored (first ``MAX_PACKETS``) packets; IAT statistics over the n − 1 gaps, 0 when n =
1; std with ddof = 0."""

CIC_FEATURES = (
    *("Protocol", "Flow Duration"),
    *("Total Fwd Packets", "Total Backward Packets", "Total Length of Fwd Packets", "Total Length of Bwd Packets"),
    *("Fwd Packet Length Max", "Fwd Packet Length Min", "Fwd Packet Length Mean", "Fwd Packet Length Std"),
    *("Bwd Packet Length Max", "Bwd Packet Length Min", "Bwd Packet Length Mean", "Bwd Packet Length Std"),
    *("Flow Bytes/s", "Flow Packets/s"),
    *("Flow IAT Mean", "Flow IAT Std", "Flow IAT Max", "Flow IAT Min"),
    *("Fwd IAT Total", "Fwd IAT Mean", "Fwd IAT Std", "Fwd IAT Max", "Fwd IAT Min"),
    *("Bwd IAT Total", "Bwd IAT Mean", "Bwd IAT Std", "Bwd IAT Max", "Bwd IAT Min"),
    *("Fwd PSH Flags", "Bwd PSH Flags", "Fwd URG Flags", "Bwd URG Flags"),
    *("Fwd Header Length", "Bwd Header Length"),
    *("Fwd Packets/s", "Bwd Packets/s"),
    *("Min Packet Length", "Max Packet Length", "Packet Length Mean", "Packet Length Std", "Packet Length Variance"),
    *(
        "FIN Flag Count",
        "SYN Flag Count",
        "RST Flag Count",
        "PSH Flag Count",
        "ACK Flag Count",
        "URG Flag Count",
        "CWE Flag Count",
        "ECE Flag Count",
    ),
    *("Down/Up Ratio", "Average Packet Size", "Avg Fwd Segment Size", "Avg Bwd Segment Size"),
    *("Fwd Avg Bytes/Bulk", "Fwd Avg Packets/Bulk", "Fwd Avg Bulk Rate"),
    *("Bwd Avg Bytes/Bulk", "Bwd Avg Packets/Bulk", "Bwd Avg Bulk Rate"),
    *("Subflow Fwd Packets", "Subflow Fwd Bytes", "Subflow Bwd Packets", "Subflow Bwd Bytes"),
    *("Init_Win_bytes_forward", "Init_Win_bytes_backward", "act_data_pkt_fwd", "min_seg_size_forward"),
    *("Active Mean", "Active Std", "Active Max", "Active Min"),
    *("Idle Mean", "Idle Std", "Idle Max", "Idle Min"),
)
"""CICFlowMeter's features under the names of the published CSVs (leading spaces stripped), of the whole flow;
definitions in ``docs/features.md``."""

NETFLOW_V2_FEATURES = (
    *("PROTOCOL", "L7_PROTO", "IN_BYTES", "IN_PKTS", "OUT_BYTES", "OUT_PKTS"),
    *("TCP_FLAGS", "CLIENT_TCP_FLAGS", "SERVER_TCP_FLAGS"),
    *("FLOW_DURATION_MILLISECONDS", "DURATION_IN", "DURATION_OUT", "MIN_TTL", "MAX_TTL"),
    *("LONGEST_FLOW_PKT", "SHORTEST_FLOW_PKT", "MIN_IP_PKT_LEN", "MAX_IP_PKT_LEN"),
    *("SRC_TO_DST_SECOND_BYTES", "DST_TO_SRC_SECOND_BYTES"),
    *("RETRANSMITTED_IN_BYTES", "RETRANSMITTED_IN_PKTS", "RETRANSMITTED_OUT_BYTES", "RETRANSMITTED_OUT_PKTS"),
    *("SRC_TO_DST_AVG_THROUGHPUT", "DST_TO_SRC_AVG_THROUGHPUT"),
    *("NUM_PKTS_UP_TO_128_BYTES", "NUM_PKTS_128_TO_256_BYTES", "NUM_PKTS_256_TO_512_BYTES"),
    *("NUM_PKTS_512_TO_1024_BYTES", "NUM_PKTS_1024_TO_1514_BYTES"),
    *("TCP_WIN_MAX_IN", "TCP_WIN_MAX_OUT", "ICMP_TYPE", "ICMP_IPV4_TYPE"),
    *("DNS_QUERY_ID", "DNS_QUERY_TYPE", "DNS_TTL_ANSWER", "FTP_COMMAND_RET_CODE"),
)
"""The 39 numbers of a flow in the NetFlow v2 datasets (Sarhan et al. 2022, 10.1007/s11036-021-01843-0), without its
addresses and ports, as nProbe wrote them: bytes, packets, ms, bit/s and codes; no logarithms."""

CONTEXT_FEATURES = (
    *(f"{key}_count_{life}s" for key in ("src", "dst", "pair") for life in (1, 10, 100, 1000)),
    *(f"{key}_service_count_{life}s" for key in ("src", "dst") for life in (1, 10, 100, 1000)),
    *("src_gap", "dst_gap", "pair_gap", "src_service_gap", "dst_service_gap"),
    *(f"{of}_{window}s" for of in ("src_dsts", "src_services", "dst_srcs", "pair_services") for window in (10, 300)),
    *(f"{key}_unanswered_{life}s" for key in ("src", "dst", "pair") for life in (10, 100)),
    *("regular_gap", "regular_deviation"),
)
"""What the other flows of its capture did until a flow started: log1p of counts and of ms, and shares; definitions in
``docs/context.md``."""

CONTEXT_VERSION = 2  # Changes when a number of the context does, and with it the keys of runs that read one.

FEATURE_INPUTS = {
    "features": FLOW_FEATURES,
    "cic_features": CIC_FEATURES,
    "context": CONTEXT_FEATURES,
    "netflow_v2": NETFLOW_V2_FEATURES,
}
"""Inputs that are a table of features → its columns."""

INPUT_SPELLINGS = {"flow": "features", "cicflowmeter": "cic_features"}
"""Other accepted names of inputs that are a table."""

INPUTS = ("packets", "features", "cic_features", "context", "netflow_v2", "stream")
"""What a detector may ask for: packet sequences, the features of ``FLOW_FEATURES``, those of ``CIC_FEATURES`` and of
``NETFLOW_V2_FEATURES``, those of
``CONTEXT_FEATURES`` (for training, validation and calibration without attacks among the neighbours), and whole captures
packet by packet with host identities, in the order of time: for training, validation and calibration without the
packets of other flows, at scoring all there is."""

FLOW_COLUMNS = ("flow_id", "src_ip", "src_port", "dst_ip", "dst_port", "proto", "ts_start", "ts_end", "n_packets")
"""``flows.parquet``: initiator first, seconds since the epoch (float64), packets before the cut to the first 64."""

LABEL_COLUMNS = ("flow_id", "attack", "label", "family", "source", "file", "row", "site")
"""``labels.parquet``: ``attack`` (bool) derived from ``label``; ``source`` the original capture (``file`` where
absent); ``row`` of labels.csv; ``site`` the place where it was recorded, empty where a dataset does not say."""

PACKET_ARRAYS = {"size": "uint16", "iat": "float32", "win": "uint16", "bits": "uint8"}
"""``packets/<name>.npy``, (total packets,), beside ``packets/offsets.npy`` (flows + 1,) int64; ``bits``: see
``BIT_OF``."""

BIT_OF = {"direction": 0, "syn": 1, "fin": 2, "rst": 3, "psh": 4, "ack": 5}
"""Bit position of each discrete channel in the ``bits`` byte."""
