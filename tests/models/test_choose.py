"""Fronts, and who is dominated by whom, on figures small enough to check by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.family import (
    Dataset,
    ExitRule,
    Family,
    Machine,
    Profile,
    ProfileSet,
    Stage,
    TensorSpec,
    Variant,
)
from trimtab_models.choose import (
    COSTS,
    Point,
    by_processor,
    front,
    mark_dominated,
    nearly_as_good,
    points,
    span,
)

LATENCY = COSTS["latency"]


def variant(name: str, accuracy: float, size: int, rules: tuple[ExitRule, ...] = ()) -> Variant:
    stages = max((len(rule.share_frac) for rule in rules), default=1)
    made = Stage(f"{name}.onnx", "0" * 64, size // stages, ("x",), ("logits",), "logits", 10, 8)
    rules = rules or (ExitRule("full", 0.0, (1.0,), (accuracy,)),)
    return Variant(name, (), (made,) * stages, rules, accuracy, 10, 10, "fp32")


def profile(name: str, *stage_us: int, resident: int, processor: str = "cpu:0") -> Profile:
    latency = tuple(1000 * us for us in stage_us)
    return Profile(name, processor, latency, 0.1, tuple(float(us) for us in stage_us), 1, 1.0, resident)


def family(variants: tuple[Variant, ...], profiles: tuple[Profile, ...], samples: int = 10_000) -> Family:
    machine = Machine("cpu", 1, 1 << 30, "system", "runtime", "model")
    return Family(
        "task", "A task", (TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("logits", "FP32", (-1, 2)),),
        ("a", "b"), variants, variants[0].name, variants[-1].name,
        Dataset("none", "CC0-1.0", "made up", 0, samples), profiles=ProfileSet("task", machine, profiles),
    )  # fmt: skip


THREE = family(
    (variant("large", 0.95, 4000), variant("middle", 0.90, 3000), variant("small", 0.92, 1000)),
    (
        profile("large", 100, resident=9000),
        profile("middle", 46, resident=4000),
        profile("small", 20, resident=2000),
    ),
)


def test_a_dominated_variant_is_told_by_whom_and_by_how_much() -> None:
    large, middle, small = mark_dominated(THREE).variants
    assert (large.dominated, small.dominated) == ("", "")
    assert (large.kept, middle.kept) == (True, False)
    assert middle.dominated == (
        "small is 2.00 points better, 2.3x faster, 3.0x smaller and 2.0x less memory (on cpu:0)"
    )


def test_a_gain_that_chance_explains_is_called_noise() -> None:
    few = replace(THREE, dataset=replace(THREE.dataset, test_samples=100))
    assert "2.00 points better (within noise)" in mark_dominated(few).variants[1].dominated


def test_being_best_in_one_trade_off_is_enough_to_stay() -> None:
    smallest = replace(THREE.variants[1], stages=variant("middle", 0.9, 900).stages)
    kept = mark_dominated(replace(THREE, variants=(THREE.variants[0], smallest, THREE.variants[2])))
    assert [v.kept for v in kept.variants] == [True, True, True]


def test_two_variants_together_can_dominate_a_third() -> None:
    found = mark_dominated(
        family(
            (variant("quick", 0.9, 5000), variant("third", 0.8, 3000), variant("light", 0.85, 1000)),
            (
                profile("quick", 10, resident=9000),
                profile("third", 30, resident=5000),
                profile("light", 60, resident=5000),
            ),
        )
    )
    assert found.variants[1].dominated == (
        "quick is 10.00 points better and 3.0x faster, "
        "and light is 5.00 points better, 3.0x smaller and no worse in bytes in memory (on cpu:0)"
    )


def test_a_variant_counts_as_kept_while_it_was_not_measured_everywhere() -> None:
    assert THREE.profiles is not None
    elsewhere = tuple(replace(p, processor="cpu:1") for p in THREE.profiles.profiles if p.variant != "middle")
    profiles = replace(THREE.profiles, profiles=THREE.profiles.profiles + elsewhere)
    assert all(v.kept for v in mark_dominated(THREE, profiles).variants)
    assert all(v.kept for v in mark_dominated(replace(THREE, profiles=None)).variants)


def test_marks_are_made_anew() -> None:
    stale = replace(THREE, variants=tuple(replace(v, dominated="long ago") for v in THREE.variants))
    assert mark_dominated(stale) == mark_dominated(THREE)


def test_what_is_offered_keeps_reference_and_last_resort() -> None:
    marked = replace(THREE, variants=tuple(replace(v, dominated="x") for v in THREE.variants))
    assert [v.name for v in marked.offered().variants] == ["large", "small"]
    assert THREE.offered() == THREE


def test_every_exit_rule_is_a_point_at_its_mean_cost() -> None:
    rules = (
        ExitRule("t0.50", 0.5, (0.75, 0.25), (0.8, 0.85)),
        ExitRule("t0.90", 0.9, (0.5, 0.5), (0.8, 0.9)),
    )
    staged = family((variant("exits", 0.9, 2000, rules),), (profile("exits", 10, 40, resident=5000),))
    eager, careful = points(staged)
    assert (eager.exit_rule, eager.latency_ns, eager.energy_uj) == ("t0.50", 20_000, 20)  # 10 + 40/4
    assert (careful.latency_ns, careful.accuracy_frac) == (30_000, 0.9)  # 10 + 40/2
    assert span(points(staged)) == 1.5


def test_a_dominated_variant_with_exits_has_a_sentence_for_each_rule() -> None:
    rules = (ExitRule("t0.50", 0.5, (0.75, 0.25), (0.8, 0.85)), ExitRule("t0.90", 0.9, (0, 1), (0.8, 0.9)))
    found = mark_dominated(
        family(
            (variant("base", 0.9, 2000), variant("exits", 0.9, 4000, rules)),
            (profile("base", 10, resident=1000), profile("exits", 10, 40, resident=5000)),
        )
    )
    assert found.variants[1].dominated == (
        "t0.50: base is 5.00 points better, 2.0x faster, 2.0x smaller and 5.0x less memory; "
        "t0.90: base is as accurate, 5.0x faster, 2.0x smaller and 5.0x less memory (on cpu:0)"
    )


def test_a_faster_point_within_noise_is_found() -> None:
    a, b, c = (
        Point(name, "full", "cpu:0", accuracy, ns, 1.0, 1, 1)
        for name, accuracy, ns in (("a", 0.90, 10.0), ("b", 0.935, 50.0), ("c", 0.936, 90.0))
    )
    assert nearly_as_good(c, (a, b, c), 10_000) == b
    assert nearly_as_good(b, (a, b, c), 10_000) is None


def test_points_are_told_apart_by_processor() -> None:
    some = by_processor(points(THREE))
    assert [p.variant for p in some["cpu:0"]] == ["large", "middle", "small"]


FIGURES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    min_size=1,
    max_size=8,
)


@given(FIGURES)
def test_only_what_no_other_point_beats_is_on_the_front(figures: list[tuple[int, int, int, int]]) -> None:
    some = [Point(str(i), "full", "p", a / 5, b, b, c, d) for i, (a, b, c, d) in enumerate(figures)]
    on = front(some, LATENCY)
    for point in some:
        better = [
            other
            for other in some
            if (other.accuracy_frac, -other.latency_ns) != (point.accuracy_frac, -point.latency_ns)
            and other.accuracy_frac >= point.accuracy_frac
            and other.latency_ns <= point.latency_ns
        ]
        equal = [o for o in on if (o.accuracy_frac, o.latency_ns) == (point.accuracy_frac, point.latency_ns)]
        assert len(equal) == (0 if better else 1)


@given(FIGURES)
def test_every_variant_is_kept_or_beaten_in_each_trade_off(figures: list[tuple[int, int, int, int]]) -> None:
    variants = tuple(variant(f"v{i}", a / 5, 100 * c) for i, (a, _, c, _) in enumerate(figures))
    profiles = tuple(profile(f"v{i}", b, resident=d) for i, (_, b, _, d) in enumerate(figures))
    marked = mark_dominated(family(variants, profiles))
    assert any(v.kept for v in marked.variants)
    found = {p.variant: p for p in points(marked)}
    for lost in (v for v in marked.variants if not v.kept):
        own = found.pop(lost.name)
        for cost in COSTS.values():
            assert any(p.accuracy_frac >= own.accuracy_frac and cost(p) <= cost(own) for p in found.values())
        found[lost.name] = own
        assert lost.dominated.endswith("(on cpu:0)")


def test_a_family_of_one_keeps_it() -> None:
    only = family((variant("only", 0.5, 10),), (profile("only", 1, resident=1),))
    assert mark_dominated(only).variants[0].kept
    assert span(()) == pytest.approx(1.0)
