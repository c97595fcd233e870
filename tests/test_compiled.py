"""The benchmark that counts in compiled programs: its readers, and what it is to find."""

import json
import pathlib
import subprocess

import pytest

from benchmarks import compiled

ROOT = pathlib.Path(__file__).parents[1]

HLO = """HloModule jit_step

%body (p: (s32[], u8[3,16])) -> (s32[], u8[3,16]) {
  %p = (s32[], u8[3,16]{1,0}) parameter(0)
  %frame = u8[16]{0} fusion(%p), kind=kLoop, calls=%draws
  %stack = u8[3,16]{1,0} fusion(%p, %frame), kind=kLoop, calls=%updates
  ROOT %next = (s32[], u8[3,16]{1,0}) tuple(%p, %stack)
}

%draws (c: u8[16]) -> u8[16] {
  %c = u8[16]{0} parameter(0)
  ROOT %twice = u8[16]{0} add(%c, %c)
}

%updates (a: u8[3,16], b: u8[16]) -> u8[3,16] {
  %a = u8[3,16]{1,0} parameter(0)
  %b = u8[16]{0} parameter(1)
  %row = u8[1,16]{1,0} bitcast(%b)
  ROOT %update = u8[3,16]{1,0} dynamic-update-slice(%a, %row, %a, %a)
}

ENTRY %main (x: f32[4]) -> (u8[3,16], f32[4]) {
  %x = f32[4]{0} parameter(0)
  %start = (s32[], u8[3,16]{1,0}) tuple(%x, %x)
  %loop = (s32[], u8[3,16]{1,0}) while(%start), condition=%test, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %copied = f32[4]{0} copy(%x)
  %empty = u8[16]{0} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %out = (u8[3,16]{1,0}, f32[4]{0}) tuple(%loop, %copied)
}
"""

PTX = """
.visible .entry draws( .param .u64 draws_param_0 )
.reqntid 4, 1, 1
{
	ld.param.b64 	%rd1, [draws_param_0];
	mov.u32 	%r1, %ctaid.x;
	mov.u32 	%r2, %tid.x;
	mad.lo.s32 	%r3, %r1, 4, %r2;
	and.b32 	%r4, %r3, 1;
	setp.eq.b32 	%p1, %r4, 0;
	@%p1 bra 	$L__BB0_2;
	add.s32 	%r5, %r3, 1;
	add.s32 	%r5, %r5, 1;
	add.s32 	%r5, %r5, 1;
	add.s32 	%r5, %r5, 1;
$L__BB0_2:
	ret;
}
"""


def test_kernels_loops_and_bytes_are_counted() -> None:
    module = compiled.Module(HLO)
    found = {op.name: (module.written(op), module.runs(op)) for op in module.operations()}
    assert found == {"frame": (16, 3), "stack": (16, 3), "copied": (16, 1)}
    assert [op.name for op in module.reached() if op.opcode == "while"] == ["loop"]


@pytest.mark.parametrize(
    ("shape", "size"), [("u8[2,3]{1,0}", 6), ("(f32[4]{0}, pred[5])", 21), ("bf16[]", 2), ("s32[0]", 0), ("f8e4m3fn[7]", 7)]
)
def test_sizes(shape: str, size: int) -> None:
    assert compiled._size(shape) == size


def test_threads_are_followed_through_branches() -> None:
    """Every second thread skips four of eleven instructions."""
    assert compiled._executed(PTX, 4096) == pytest.approx(9 / 11, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "limits"), [("h200", {"instructions_per_byte": 9}), ("v5e", {"cycles_per_frame": 4000})])
def test_compiled(target: str, limits: dict[str, float], tmp_path: pathlib.Path) -> None:
    """Where the compilers are installed: each frame is written once, by few instructions; nothing waits for a loop."""
    python = ROOT / (".venv-tpu" if target == "v5e" else ".venv-cuda") / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"{python} is not there, see benchmarks/compiled.py")
    command = [python, ROOT / "benchmarks" / "compiled.py", "--target", target, "NavigatorEasy", "--view", "pomdp"]
    subprocess.run([*command, "--out", tmp_path], check=True, timeout=600)
    (row,) = json.loads((tmp_path / f"compiled-{target}.json").read_text())["games"]
    assert row["loops"] == 0 and row["temporaries"] < 0.1
    assert all(row[name] <= limit for name, limit in limits.items())
    if target == "h200":
        assert row["kernels"] <= 32 and row["copies"] <= 2 and row["frames_written"] < 1.05
