"""Families of variants for the simulator, from manifests and from published or own CSV files."""

from trimtab_sim.catalogue.load import load_catalogue, load_latencies
from trimtab_sim.catalogue.measurements import LatencyTable, Measurement, Model, Setup
from trimtab_sim.catalogue.model import Catalogue, CatalogueError, Problem
from trimtab_sim.catalogue.predict import Prediction, PredictionError, Predictor, predict_latency
from trimtab_sim.catalogue.shipped import shipped_catalogues

__all__ = [
    "Catalogue",
    "CatalogueError",
    "LatencyTable",
    "Measurement",
    "Model",
    "Prediction",
    "PredictionError",
    "Predictor",
    "Problem",
    "Setup",
    "load_catalogue",
    "load_latencies",
    "predict_latency",
    "shipped_catalogues",
]
