"""The references of a paper in BibTeX: the software, every dataset and every detector that was used, and the methods of
statistics.

What is known of a detector's method is in ``references.bib``; of any other its own declared source is given.  What
nobody stated is visible as such.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from janus_bench.records import NOT_STATED
from reports.render.latex import escape
from reports.tables.fields import in_order

SOFTWARE = "janus-bench"
CORRECTION, OTHER_NETWORKS = "holm1979", "owen2007"
CHECKLIST = ("arp2022", "apruzzese2023", "engelen2021", "liu2022", "flood2024")


@dataclass(frozen=True)
class DatasetSource:
    """What is stored with a dataset on how it may be used and is to be cited; empty where nothing is."""

    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Bibliography:
    """``text``: the file; ``datasets``, ``detectors``: name → keys to cite it by."""

    text: str
    datasets: Mapping[str, list[str]]
    detectors: Mapping[str, list[str]]

    @property
    def keys(self) -> list[str]:
        return re.findall(r"^@\w+\{([^,]+),", self.text, flags=re.MULTILINE)


def bibliography(
    made_by: Sequence[str],
    datasets: Mapping[str, tuple[str, DatasetSource]],
    detectors: Mapping[str, str],
    also: Iterable[str] = (),
) -> Bibliography:
    """made_by    versions of janus-bench that wrote the results
    datasets   name → hash of its flows, and where it comes from
    detectors  registered name → what it says is its source, empty where that is not known
    also       keys of ``references.bib`` that the text cites besides
    """
    known = _known()
    entries = {key: known[key] for key in (SOFTWARE, *also)}
    entries[SOFTWARE] = entries[SOFTWARE].replace("\n}", f"\n  note = {{Version {printable(', '.join(made_by))}}},\n}}")
    of_datasets, of_detectors = {}, {}
    for name, (data_hash, source) in datasets.items():
        key = _new_key("dataset", name, entries)
        entries[key] = _misc(
            key,
            name,
            source.citation or f"citation {NOT_STATED}",
            f"Licence: {source.licence or NOT_STATED}; SHA-256 of the flows {data_hash[:16]}",
        )
        of_datasets[name] = [key]
    for name, said in detectors.items():
        keys = [key for key, entry in known.items() if name in _detectors_of(entry)]
        if not keys:
            keys = [_new_key("detector", name, entries)]
            entries[keys[0]] = _misc(keys[0], name, said or f"source {NOT_STATED}", "")
        entries.update({key: known[key] for key in keys if key not in entries})
        of_detectors[name] = keys
    return Bibliography("\n\n".join(entries.values()) + "\n", of_datasets, of_detectors)


def _known() -> dict[str, str]:
    """Key → entry, as written."""
    text = (files("reports.paper") / "references.bib").read_text(encoding="utf-8")
    return {
        found[1]: found[0] for found in re.finditer(r"^@\w+\{([^,]+),\n.*?^\}", text, flags=re.MULTILINE | re.DOTALL)
    }


def _detectors_of(entry: str) -> list[str]:
    found = re.search(r"^  detectors = \{(.*)\},$", entry, flags=re.MULTILINE)
    return found[1].split(", ") if found else []


def _new_key(kind: str, name: str, taken: Iterable[str]) -> str:
    """BibTeX and ``\\cite`` take few characters; two names never share a key."""
    plain = f"{kind}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'x'}"
    lower = {key.lower() for key in taken}  # BibTeX does not tell cases apart
    number = 1
    while (key := plain if number == 1 else f"{plain}-{number}").lower() in lower:
        number += 1
    return key


def _misc(key: str, name: str, title: str, note: str) -> str:
    lines = [f"@misc{{{key},", f"  key = {{{printable(name)}}},", f"  title = {{{{{printable(name)}}}}},"]
    lines += [f"  howpublished = {{{printable(title)}}},", *([f"  note = {{{printable(note)}}},"] if note else [])]
    return "\n".join([*lines, "}"])


def printable(text: str) -> str:
    """As LaTeX that BibTeX can read, too: it counts braces that are escaped."""
    return escape(text.replace("\n", " ")).replace(r"\{", r"{\textbraceleft}").replace(r"\}", r"{\textbraceright}")


def cite(keys: Iterable[str]) -> str:
    r"""``~\cite{a,b}``."""
    return rf"~\cite{{{','.join(in_order(keys))}}}"
