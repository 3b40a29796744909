"""Floor 1: YAML text -> ``Policy``. One JSON Schema judges structure; errors name file, line and path."""

from trimtab.policy.advice import Inventory, check_against
from trimtab.policy.errors import PolicyError, Problem
from trimtab.policy.load import load_policy, load_policy_file, read_policy_text, resolve_name
from trimtab.policy.shipped import shipped_policies_folder, shipped_policy_names

__all__ = [
    "PolicyError",
    "Problem",
    "load_policy",
    "load_policy_file",
    "read_policy_text",
    "resolve_name",
    "shipped_policies_folder",
    "shipped_policy_names",
    "Inventory",
    "check_against",
]
