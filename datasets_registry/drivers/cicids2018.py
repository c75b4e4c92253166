"""CSE-CIC-IDS2018: ten days of a company's network in a cloud, as tables of CICFlowMeter.

The captures (two per host and day, half a terabyte) are not read here: the tables have no addresses, so that nothing
but the official schedule of attacks would label them.
"""

from datasets_registry.drivers.driver import Driver, LabelMap, Tables, tables_alone

LABELS = LabelMap(
    benign=frozenset({"benign"}),
    attacks={
        r"FTP-Brute-?Force": ("FTP-BruteForce", "brute force"),
        r"SSH-Brute-?force": ("SSH-Bruteforce", "brute force"),
        **{
            rf"DoS attacks-{name}": (f"DoS attacks-{name}", "DoS")
            for name in ("GoldenEye", "Hulk", "SlowHTTPTest", "Slowloris")
        },
        r"DDoS attacks?-LOIC-HTTP": ("DDoS attacks-LOIC-HTTP", "DDoS"),
        r"DDoS attacks?-(LOIC-UDP)": ("DDoS attacks-LOIC-UDP", "DDoS"),
        r"DDoS attacks?-HOIC": ("DDoS attacks-HOIC", "DDoS"),
        r"Brute Force\W+Web": ("Brute Force -Web", "web attack"),
        r"Brute Force\W+XSS": ("Brute Force -XSS", "web attack"),
        r"SQL Injection": ("SQL Injection", "web attack"),
        r"Infil(te|t)ration": ("Infiltration", "infiltration"),
        r"Bot": ("Bot", "bot"),
    },
)

DRIVER = Driver(
    name="cicids2018",
    summary="CSE-CIC-IDS2018: a company's network in a cloud, 14 February to 2 March 2018; tables",
    licence="free for research with citation (CSE and Canadian Institute for Cybersecurity, UNB)",
    citation=(
        "Sharafaldin et al.: Toward Generating a New Intrusion Detection Dataset and Intrusion Traffic "
        "Characterization, ICISSP 2018"
    ),
    captures="none: it is prepared from its tables",
    group_of=lambda _path: None,
    labeller=tables_alone,
    tables=Tables(
        "cicflowmeter", lambda _options: r"(.*/)?[^/]*-\d\d-\d\d-2018_TrafficForML_CICFlowMeter\.(csv|parquet)", LABELS
    ),
    defects=(
        "the tables, but for one, have no addresses, so that connections cannot be kept together and each row is its "
        "own session; times are of a clock of twelve hours without AM and PM",
        "flows were cut and labelled wrongly, as in CIC-IDS2017 (Liu et al. 2022, 10.1109/CNS56114.2022.9947235)",
        "headers stand among the rows of some tables; they are left out and counted",
    ),
)
