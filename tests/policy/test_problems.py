"""Bad documents: each problem is found, placed and explained."""

import pytest

from trimtab.policy import PolicyError, Problem, load_policy
from trimtab.policy.errors import shorten, spell
from trimtab.policy.structure import describe

HEAD = "version: 1\nname: x\n"
RULE = HEAD + "rules:\n  - name: r\n    then: {weight: 2}\n    when: "  # the condition stands at 6:11

CASES = [
    # the whole document
    ("", 1, 1, "", "the policy is empty"),
    ("# only a comment\n", 1, 1, "", "the policy is empty"),
    ("~", 1, 1, "", "the policy is empty"),
    ("[1]", 1, 1, "", "expected a policy"),
    ("just text", 1, 1, "", 'not the text "just text"'),
    ("version: 1", 1, 1, "", "name is missing"),
    ("name: x", 1, 1, "", "version is missing"),
    ("version: 2\nnonsense: 1", 1, 10, "version", "this trimtab reads version 1, not 2"),
    ('version: "1"\nname: x', 1, 10, "version", 'not the text "1"'),
    ("version: true\nname: x", 1, 10, "version", "not true"),
    (HEAD + "---\nversion: 1", 3, 1, "", "a second document"),
    # YAML
    ("version: 1\nname: [", 2, 8, "", "not YAML"),
    ("version: 1\n\tname: x", 2, 1, "", "indent with spaces, not tabs"),
    ('version: 1\nname: "x', 2, 9, "", "a closing quote is missing"),
    ("name: *", 1, 8, "", 'needs quotes: "*small"'),
    ("name: *small", 1, 7, "name", 'needs quotes: "*small"'),
    ("name: &a [*a]", 1, 11, "name[0]", "no anchor &a before this"),
    ("a: b: c", 1, 5, "", "mapping values are not allowed here"),
    ("name: a\x00b", 1, 8, "", "U+0000 is not allowed"),
    ("x: %", 1, 4, "", "text that begins with % needs quotes"),
    ('name: "\\UFFFFFFFF"', 1, 1, "", "not YAML"),
    ("%YAML " + "9" * 5000 + ".1\n--- x", 1, 1, "", "not YAML"),
    ('version: 1\nname: "\\ud800"', 2, 7, "name", "surrogate"),
    (HEAD + "? [a]\n: 1", 3, 3, "", "a key must be plain text"),
    (HEAD + "&k tasks: {}", 3, 1, "tasks", "a key cannot be an anchor"),
    (HEAD + "description: !secret x", 3, 14, "description", "tags such as !secret"),
    (HEAD + "name: y", 3, 1, "name", "'name' is already given in line 2"),
    (HEAD + "defaults:\n  weight: 1\n  weight: 2", 5, 3, "defaults.weight", "already given in line 4"),
    ("[" * 50, 1, 33, "[0]" * 32, "nested too deeply"),
    ("x: &a " + "[" * 20 + "]" * 20 + "\ny: " + "[" * 20 + "*a", 2, 24, "y" + "[0]" * 20, "too deeply"),
    ("x: [" + "1," * 10_000 + "]", 1, 20_001, "x[9998]", "too many values"),
    ("#" * 262_145, 0, 0, "", "too large; at most 256 KiB"),
    # unknown keys
    (HEAD + "batery: {reserve: 1 %}", 3, 1, "batery", "did you mean battery?"),
    (HEAD + "zzz: 1", 3, 1, "zzz", "known here: apps, battery, defaults"),
    (HEAD + "<<: {weight: 1}", 3, 1, '["<<"]', "merge keys (<<) are not supported"),
    (
        HEAD + "defaults: {latency_budget: 5}",
        3,
        12,
        "defaults.latency_budget",
        "did you mean latency_budget_ms?",
    ),
    (HEAD + "tasks: {a b: {weight: 2}}", 3, 9, 'tasks["a b"]', "cannot be a name"),
    (HEAD + "tasks: {a: {wait: 2}}", 3, 13, "tasks.a.wait", "did you mean weight?"),
    (RULE + "{batery: {below: 5 %}}", 6, 12, "rules[0].when.batery", "did you mean battery?"),
    (RULE + "{battery: {belo: 5 %}}", 6, 22, "rules[0].when.battery.belo", "did you mean below?"),
    (RULE + "{time: {form: 1:00, to: 2:00}}", 6, 19, "rules[0].when.time.form", "did you mean from?"),
    (RULE + "{time: {form: 1:00, to: 2:00}}", 6, 12, "rules[0].when.time", "from is missing"),
    # scalars
    (
        HEAD + "defaults: {latency_budget_ms: 50ms}",
        3,
        31,
        "defaults.latency_budget_ms",
        "such as 50, not the text",
    ),
    (HEAD + "defaults: {latency_budget_ms: 0}", 3, 31, "defaults.latency_budget_ms", "not 0"),
    (HEAD + "defaults: {latency_budget_ms: true}", 3, 31, "defaults.latency_budget_ms", "not true"),
    (HEAD + "defaults: {min_accuracy: 88}", 3, 26, "defaults.min_accuracy", "did you mean 88 %?"),
    (HEAD + "defaults: {min_accuracy: 101 %}", 3, 26, "defaults.min_accuracy", "0.15 or 15 %"),
    (HEAD + "defaults: {min_accuracy: -0.1}", 3, 26, "defaults.min_accuracy", "not -0.1"),
    (HEAD + "defaults: {deadline_confidence: 100 %}", 3, 33, "defaults.deadline_confidence", "below 1"),
    (HEAD + "defaults: {deadline_confidence: 1}", 3, 33, "defaults.deadline_confidence", "below 1"),
    (HEAD + "defaults: {max_energy_mj: 0}", 3, 27, "defaults.max_energy_mj", "above 0"),
    (HEAD + "defaults: {weight: .inf}", 3, 20, "defaults.weight", 'not the text ".inf"'),
    (HEAD + "defaults: {weight: 1e999}", 3, 20, "defaults.weight", 'not the text "1e999"'),
    (HEAD + "defaults: {weight: " + "9" * 60 + "}", 3, 20, "defaults.weight", "not the text"),
    (HEAD + "defaults: {give_up: [energy, deadlin]}", 3, 30, "defaults.give_up[1]", "did you mean deadline?"),
    (HEAD + "defaults: {give_up: energy}", 3, 21, "defaults.give_up", "expected a list of goals"),
    (HEAD + "defaults: {give_up: [energy, energy]}", 3, 21, "defaults.give_up", '"energy" stands here twice'),
    (HEAD + "defaults: {when_impossible: servce}", 3, 29, "defaults.when_impossible", "did you mean serve?"),
    (HEAD + "battery: {reserve: 100 %}", 3, 20, "battery.reserve", "below 1"),
    (HEAD + "battery: {last_until: 24:00}", 3, 23, "battery.last_until", "00:00 to 23:59"),
    (HEAD + "battery: {last_for: 8}", 3, 21, "battery.last_for", "expected a duration such as 8h"),
    (HEAD + "battery: {last_for: 8m}", 3, 21, "battery.last_for", "90min"),
    (HEAD + "memory: {limit: 64Mb}", 3, 17, "memory.limit", "expected a size such as 64MiB"),
    (HEAD + "queue: {limit: 1.5}", 3, 16, "queue.limit", "expected a whole number"),
    (HEAD + "queue: {limit: 0}", 3, 16, "queue.limit", "not 0"),
    (HEAD + "strategy: largst", 3, 11, "strategy", "did you mean largest?"),
    (HEAD + "strategy: static:int8", 3, 11, "strategy", "static:VARIANT@PROCESSOR"),
    (HEAD + "strategy: bandd:slack", 3, 11, "strategy", "did you mean band:slack?"),
    (HEAD + "strategy: tiers:50%=big", 3, 11, "strategy", "tiers:THRESHOLD=VARIANT,...,else=VARIANT"),
    (HEAD + "strategy: {name: tirs, else: a}", 3, 18, "strategy.name", "did you mean tiers?"),
    (HEAD + "strategy: {name: tiers}", 3, 11, "strategy", "tiers needs else"),
    (HEAD + "strategy: {name: band, variant: x}", 3, 11, "strategy", "band needs rule"),
    (HEAD + "strategy: {name: band, rule: slck}", 3, 30, "strategy.rule", "did you mean slack?"),
    (
        HEAD + "strategy: {name: alert, seed: 1}",
        3,
        31,
        "strategy.seed",
        "alert does not take this; known here: confidence",
    ),
    (
        HEAD + "strategy: {name: mcdnn, seed: 1}",
        3,
        31,
        "strategy.seed",
        "mcdnn does not take this; it takes no parameters",
    ),
    (HEAD + "strategy: {name: alert, confidence: 95}", 3, 37, "strategy.confidence", "did you mean 95 %?"),
    (HEAD + "strategy: {name: random, seed: -1}", 3, 32, "strategy.seed", "expected a whole number"),
    (
        HEAD + "strategy: {name: tiers, above: {half: a}, else: b}",
        3,
        33,
        "strategy.above.half",
        "expected a charge such as 50 % or 0.5",
    ),
    (
        HEAD + "strategy: {name: tiers, above: {0.5: a, 50 %: c}, else: b}",
        3,
        47,
        'strategy.above["50 %"]',
        "the same charge as 0.5",
    ),
    (
        HEAD + "strategy: {name: tiers, above: {0.5: a b}, else: b}",
        3,
        38,
        'strategy.above["0.5"]',
        "expected a variant's name",
    ),
    (HEAD + "strategy: {rule: slack}", 3, 1, "strategy", "name is missing"),
    ("version: 1\nname: 22", 2, 7, "name", 'to mean the text, quote it: "22"'),
    ("version: 1\nname: a/b", 2, 7, "name", "expected a policy name"),
    (HEAD + "memory:", 3, 8, "memory", "not nothing (leave the key out, or fill it in)"),
    (HEAD + "rules: {a: 1}", 3, 8, "rules", "expected a list of at most 100 rules, not a mapping of 1"),
    (RULE + "{charging: maybe}", 6, 22, "rules[0].when.charging", "expected true or false"),
    (RULE + "{app: 5}", 6, 17, "rules[0].when.app", 'quote it: "5"'),
    (RULE + "{app: []}", 6, 17, "rules[0].when.app", "not an empty list"),
    (RULE + "{any: []}", 6, 17, "rules[0].when.any", "not an empty list"),
    (RULE + "{not: 5}", 6, 17, "rules[0].when.not", "expected a condition"),
    (RULE + "{any: [{not: {task: 5}}]}", 6, 31, "rules[0].when.any[0].not.task", "not 5"),
    # what contradicts itself
    (HEAD + "battery: {last_until: 22:00, last_for: 8h}", 3, 10, "battery", "exclude each other"),
    (HEAD + "battery: {last_for: 0s}", 3, 21, "battery.last_for", "from 1 s to 365 d"),
    (HEAD + "battery: {last_for: 400d}", 3, 21, "battery.last_for", "from 1 s to 365 d"),
    (HEAD + "battery: {below_reserve: reject}", 3, 11, "battery.below_reserve", "needs reserve beside it"),
    (RULE + "{battery: {}}", 6, 21, "rules[0].when.battery", "not an empty mapping"),
    (RULE + "{}", 6, 11, "rules[0].when", "not an empty mapping"),
    (
        RULE + "{battery: {above: 50 %, below: 0.5}}",
        6,
        21,
        "rules[0].when.battery",
        "above must be less than below",
    ),
    (
        RULE + "{temperature_c: {above: 9, below: 8}}",
        6,
        27,
        "rules[0].when.temperature_c",
        "above must be less",
    ),
    (RULE + "{temperature_c: {above: '9'}}", 6, 35, "rules[0].when.temperature_c.above", 'not the text "9"'),
    (RULE + "{battery: {below: 0}}", 6, 29, "rules[0].when.battery.below", "never holds"),
    (RULE + "{cpu_load: {above: 100 %}}", 6, 30, "rules[0].when.cpu_load.above", "never holds"),
    (RULE + "{not: {battery: {below: 0}}}", 6, 35, "rules[0].when.not.battery.below", "never holds"),
    (
        RULE + "{any: [{memory_available: {below: 0}}]}",
        6,
        45,
        "rules[0].when.any[0].memory_available.below",
        "never",
    ),
    (RULE + "{time: {from: 7:00, to: 07:00}}", 6, 18, "rules[0].when.time", "never holds"),
    (RULE + "{app: 'a[b'}", 6, 17, "rules[0].when.app", "[ without ]"),
    (RULE + "{app: [a, 'b[^c]']}", 6, 21, "rules[0].when.app[1]", "write [!...]"),
    (RULE + "{task: '{a,b}'}", 6, 18, "rules[0].when.task", "braces are not understood"),
    (RULE + "{task: 'a**'}", 6, 18, "rules[0].when.task", "** means no more than *"),
    (RULE + "{task: [a, a]}", 6, 18, "rules[0].when.task", "'a' stands here twice"),
    (HEAD + "defaults: {variants: {}}", 3, 22, "defaults.variants", "not an empty mapping"),
    (
        HEAD + "defaults: {variants: {deny: a}, processors: {allow: b, deny: [b]}}",
        3,
        45,
        "defaults.processors",
        "both",
    ),
    (HEAD + "tasks: {a: {variants: {deny: '['}}}", 3, 30, "tasks.a.variants.deny", "[ without ]"),
    (HEAD + "tasks: {a: {}}", 3, 12, "tasks.a", "not an empty mapping"),
    (HEAD + "rules: [{name: a}]", 3, 9, "rules[0]", "when is missing"),
    (
        HEAD + "rules: [{name: a, when: {charging: on}, then: {}}]",
        3,
        47,
        "rules[0].then",
        "not an empty mapping",
    ),
    (
        HEAD + "rules:\n- &r {name: a, when: {charging: on}, then: {weight: 2}}\n- *r",
        4,
        13,
        "rules[1].name",
        "rules[0] has this name already",
    ),
]


@pytest.mark.parametrize(("text", "line", "column", "path", "message"), CASES)
def test_a_problem_is_placed_and_explained(
    text: str, line: int, column: int, path: str, message: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml")
    found = [(p.line, p.column, p.path) for p in caught.value.problems if message in p.message]
    assert (line, column, path) in found, str(caught.value)


def test_all_problems_are_found_in_the_order_of_the_document() -> None:
    text = HEAD + "name: y\nqueue: {limit: 0}\ndefaults: {weight: -1, wait: 1}\nbattery: {last_for: 0s}\n"
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml")
    assert str(caught.value).splitlines() == [
        "p.yaml:3:1: name: 'name' is already given in line 2",
        "p.yaml:4:16: queue.limit: expected a whole number from 1 to 100000 such as 64, not 0",
        "p.yaml:5:20: defaults.weight: expected a number from 0 to 1000 such as 1, not -1",
        "p.yaml:5:24: defaults.wait: unknown key 'wait'; did you mean weight?",
        "p.yaml:6:21: battery.last_for: expected a duration from 1 s to 365 d",
    ]


def test_a_flood_of_problems_is_cut() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(HEAD + "".join(f"k{number}: 1\n" for number in range(1000)))
    assert len(caught.value.problems) == 100


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1]\n" + "".join(f"k{n}: &a [" + ",".join(["*a"] * 10) + "]\n" for n in range(9)),
        HEAD + "defaults: {give_up: [" + ",".join(f"{{a: {n}}},{n}" for n in range(2300)) + "]}",
        "[1," * 80_000,
        "k" * 200_000 + ": 1",
    ],
)
def test_hostile_documents_are_refused_quickly(text: str) -> None:
    with pytest.raises(PolicyError):
        load_policy(text)


def test_a_problem_without_a_place_names_the_file() -> None:
    assert str(Problem("p.yaml", 0, 0, "", "gone")) == "p.yaml: gone"


def test_paths_are_spelled_as_people_write_them() -> None:
    assert spell(("rules", 2, "when", "any", 0)) == "rules[2].when.any[0]"
    assert spell(("tasks", "a.b")) == 'tasks["a.b"]'
    assert spell(()) == ""


def test_long_values_are_shortened() -> None:
    assert shorten("a\n  b") == "a b"
    assert len(shorten("x" * 500)) == 60
    assert describe(1.5) == "1.5"
    with pytest.raises(TypeError):
        describe(b"")
