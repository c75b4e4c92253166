"""From the collected data to the page: tables are made here, laid out by the template; style and script are put inside
it."""

from typing import Any

from reports.published.render import closing_lines
from reports.render.html import audit, records, results, verdict
from reports.render.html.drawing import draw, hash_of, source
from reports.render.html.evidence import ReportData
from reports.render.html.forest import forest
from reports.tables.boards import SHARING
from reports.tables.evidence import CONTROL
from reports.tables.fields import COLLAPSE_TEXT, in_order, metric_name, problems, subtitle


def render_page(data: ReportData) -> str:
    """The whole page as text: no address in it is fetched, and its content security policy allows none.  The same data
    give the same page."""
    script = source("page.js")
    return draw(
        "template.html.j2", script=script, script_hash=hash_of(script), payload=_payload(data), **_context(data)
    )


def _context(data: ReportData) -> dict[str, Any]:
    document = data.first
    finished = sorted(run.record.finished for run in data.runs if run.record is not None)
    return {
        "document": document,
        "flags": data.flags,
        "title": f"Network anomaly detectors · {document['protocol']}{data.flags}",
        "subtitle": subtitle(document),
        "notes": document["notes"],
        "verdict": verdict.sentences(data),
        "tiles": verdict.tiles(data),
        "forest": forest(data),
        "extra_notes": {
            name: [note for note in other["notes"] if note not in document["notes"]]
            for name, other in data.documents.items()
        },
        "problems": problems(document),
        "metrics": [
            (name, metric_name(other["metric"]), data.summaries.get(name.partition("@")[0], ""))
            for name, other in data.documents.items()
        ],
        "provenances": sorted({row["provenance"] for row in document["rows"]}),
        "leaderboards": results.leaderboards(data),
        "matrices": results.matrices(data),
        "families": results.family_tables(data),
        "family_sources": in_order(
            choice for target in document["datasets"] for choice in results.sources_of(data, target)
        ),
        "alerts": results.alert_tables(data),
        "alert_sources": [
            *document["datasets"],
            *([results.BASELINE_NAME] if any(cell.source == CONTROL for cell in data.cells) else []),
        ],
        "details": results.detail_sections(data),
        "base_rate": results.BASE_RATE,
        "flows_a_day": results.FLOWS_A_DAY,
        "datasets": records.dataset_table(data),
        "sharing": SHARING,
        "audits": records.audits(data),
        "distances": audit.distance_tables(data.distances, data.flags) if data.distances else [],
        "distance_hint": audit.DISTANCE_HINT,
        "costs": results.cost_table(data),
        "hashes": records.hash_table(data),
        "environments": records.environment_table(data),
        "params": records.params_table(data),
        "runs": records.run_table(data),
        "published": records.published_tables(data),
        "published_title": data.published["title"],
        "published_notes": closing_lines(data.published),
        "collapse": COLLAPSE_TEXT,
        "plans": [plan.key for plan in data.table.plans],
        "period": (finished[0], finished[-1]) if finished else None,
    }


def _payload(data: ReportData) -> dict[str, Any]:
    """What the script draws curves from: grids of false-positive rates, and per source and target detector → [grid, TPR
    · 10⁵, benign test flows]."""
    grids: dict[tuple[float, ...], int] = {}
    curves: dict[str, dict[str, dict[int, Any]]] = {name: {} for name in data.first["datasets"]}
    for cell in data.cells:
        if cell.fpr:
            grid = grids.setdefault(cell.fpr, len(grids))
            points = [round(value * 1e5) for value in cell.tpr]
            curves[cell.target].setdefault(results.source_name(cell.source), {})[data.numbers[cell.detector]] = [
                grid,
                points,
                cell.n_benign,
            ]
    return {
        "detectors": list(data.numbers),
        "sources": [*data.first["datasets"], results.BASELINE_NAME],
        "grids": [[float(f"{rate:.6g}") for rate in grid] for grid in grids],
        "curves": {target: found for target, found in curves.items() if found},
    }
