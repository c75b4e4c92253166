"""Figures for papers and pages: each is a function of plain arrays or dicts that returns SVG, PDF or PNG bytes."""

from reports.figures.ablation import ablation_bars
from reports.figures.density import ScorePanel, score_densities
from reports.figures.drift import DayCurve, day_curves
from reports.figures.forest import forest_plot
from reports.figures.heatmap import Matrices, cross_heat_map, cross_heat_maps
from reports.figures.incidents import IncidentPoint, incident_plot
from reports.figures.roc import roc, roc_curves
from reports.figures.style import FORMATS, Format

__all__ = [
    "FORMATS",
    "DayCurve",
    "Format",
    "IncidentPoint",
    "Matrices",
    "ScorePanel",
    "ablation_bars",
    "cross_heat_map",
    "cross_heat_maps",
    "day_curves",
    "forest_plot",
    "incident_plot",
    "roc",
    "roc_curves",
    "score_densities",
]
