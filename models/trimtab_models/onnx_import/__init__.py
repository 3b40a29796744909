"""Families of ONNX classifiers whose training code nobody has. Needs onnx and onnxruntime, not torch."""

from trimtab_models.onnx_import.errors import ImportFailure
from trimtab_models.onnx_import.settings import DEFAULT_PLAN, Plan, load_plan

__all__ = ["DEFAULT_PLAN", "ImportFailure", "Plan", "load_plan"]
