"""Tests of the cycles of a program, read from the compiler's text."""

from bertgrow.planning import cycles

PROGRAM = """HloModule step

%fused (a: f32[8]) -> f32[8] {
  ROOT %inner = f32[8]{0} copy(%a), backend_config={"estimated_cycles":"1000"}
}

%condition (x: (s32[], f32[8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(3)
  ROOT %less = pred[] compare(%number, %limit), direction=LT
}

%body (x: (s32[], f32[8])) -> (s32[], f32[8]) {
  %work = f32[8]{0} fusion(%y), calls=%fused, backend_config={"estimated_cycles":"10"}
  %sum = f32[8]{0} all-reduce(%work), to_apply=%add
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %buffer = f32[8]{0} custom-call(), custom_call_target="AllocateBuffer"
  %known = f32[8]{0} custom-call(%x), custom_call_target="tpu_custom_call", KNOWN
  %unknown = f32[8]{0} custom-call(%x), custom_call_target="tpu_custom_call"
  %once = f32[8]{0} copy(%x), backend_config={"estimated_cycles":"5"}
  ROOT %loop = (s32[], f32[8]) while(%x), condition=%condition, body=%body
}
""".replace("KNOWN", 'backend_config={"cost_estimate":{"flops":"400","bytes":"9"}}')


def test_operations_in_a_loop_count_once_for_each_iteration():
    assert cycles.of_program(PROGRAM).cycles == 5 + 3 * 10


def test_operations_without_an_estimate_are_named():
    uncounted = cycles.of_program(PROGRAM).uncounted

    assert uncounted == {"collectives": 3, "tpu_custom_call": 2}


def test_a_kernel_with_its_own_cost_is_counted_by_it():
    estimate = cycles.of_program(PROGRAM, flops_per_cycle=4)

    assert estimate.cycles == 5 + 3 * 10 + 400 / 4
    assert estimate.uncounted == {"collectives": 3, "tpu_custom_call": 1}
