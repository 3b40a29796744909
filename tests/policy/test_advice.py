"""Warnings about valid policies that name what a device does not have."""

from trimtab.policy import Inventory, check_against, load_policy

HEAD = "version: 1\nname: x\n"
DEVICE = Inventory({"digits": ("fp32", "int8-a", "int8-b"), "faces": ("big", "small")}, ("cpu1", "cpu4"))


def warnings(text: str) -> list[str]:
    document = HEAD + text
    return [str(problem) for problem in check_against(load_policy(document), DEVICE, document, "p.yaml")]


def test_a_policy_that_fits_gives_no_warning() -> None:
    assert (
        warnings(
            "strategy: static:big@cpu1\n"
            "defaults: {variants: {deny: [fp32]}, processors: {allow: 'cpu*'}}\n"
            "tasks: {digits: {variants: {allow: ['int8-*']}}}\n"
            "rules: [{name: r, when: {task: 'f*'}, then: {variants: {allow: small}}}]\n"
        )
        == []
    )


def test_names_that_exist_nowhere_are_placed() -> None:
    text = (
        "strategy: static:bog@gpu\n"
        "defaults: {variants: {deny: [nope]}, processors: {deny: npu}}\n"
        "tasks: {digts: {weight: 2}}\n"
        "rules: [{name: r, when: {task: [digits, zzz], any: [{task: yyy}], not: [{task: xxx}]}, "
        "then: {weight: 2}}]\n"
    )
    assert warnings(text) == [
        "p.yaml:3:11: strategy: no task has a variant 'bog'; did you mean big?",
        "p.yaml:3:11: strategy: no processor is called 'gpu'; known here: cpu1, cpu4",
        "p.yaml:4:30: defaults.variants.deny[0]: 'nope' matches no variant; "
        "known here: big, fp32, int8-a, int8-b, small",
        "p.yaml:4:57: defaults.processors.deny[0]: 'npu' matches no processor; known here: cpu1, cpu4",
        "p.yaml:5:16: tasks.digts: no family serves this task; did you mean digits?",
        "p.yaml:6:41: rules[0].when.task[1]: 'zzz' matches no task; known here: digits, faces",
        "p.yaml:6:60: rules[0].when.any[0].task[0]: 'yyy' matches no task; known here: digits, faces",
        "p.yaml:6:80: rules[0].when.not[0].task[0]: 'xxx' matches no task; known here: digits, faces",
    ]  # fmt: skip


def test_apps_and_the_rules_after_them_are_placed() -> None:
    text = (
        "apps: {cam: {variants: {deny: [nope]}}, 'x.*': {weight: 2}}\n"
        "rules: [{name: r, when: {task: zzz}, then: {weight: 2}}]\n"
    )
    assert warnings(text) == [
        "p.yaml:3:32: apps.cam.variants.deny[0]: 'nope' matches no variant; "
        "known here: big, fp32, int8-a, int8-b, small",
        "p.yaml:4:32: rules[0].when.task[0]: 'zzz' matches no task; known here: digits, faces",
    ]  # fmt: skip


def test_filters_that_leave_nothing_are_named() -> None:
    text = (
        "defaults: {variants: {deny: [fp32]}}\n"
        "tasks: {digits: {variants: {deny: ['int8-*']}}}\n"
        "rules: [{name: r, when: {task: faces}, "
        "then: {variants: {deny: ['?*']}, processors: {deny: ['cpu*']}}}]\n"
    )
    assert [line.split(": ", 1)[1] for line in warnings(text)] == [
        "tasks.digits.variants: no variant of task 'digits' is left",
        "rules[0].then.variants: no variant of task 'faces' is left",
        "rules[0].then.processors: no processor is left",
    ]


def test_without_the_text_warnings_have_a_path_but_no_line() -> None:
    policy = load_policy(HEAD + "tasks: {nope: {weight: 2}}")
    (warning,) = check_against(policy, DEVICE, name="set over gRPC")
    assert (warning.line, warning.path) == (0, "tasks.nope")


def test_an_empty_device_has_nothing_to_suggest() -> None:
    policy = load_policy(HEAD + "defaults: {processors: {deny: x}, variants: {deny: y}}")
    found = check_against(policy, Inventory({}, ()))
    assert [warning.message for warning in found] == ["'y' matches no variant", "'x' matches no processor"]
