from __future__ import annotations

import subprocess
import sys

import pytest

# In a thread, as the server's workers do: one computation of the production model's kind and input size, again and
# again. Prints the page faults that each costs.
FAULTS = """
import resource, threading, torch
from inference.engine import make_deterministic
from inference.memory import keep_freed_memory
from inference.resnest import ResNeSt, ResNeStShape
if {told}:
    assert keep_freed_memory()
make_deterministic(1)
model = ResNeSt(ResNeStShape((1, 1, 1, 1), 32, 32), 100).eval()
image = torch.zeros(1, 3, 224, 224)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    with torch.inference_mode():
        for turn in range(8):
            if turn == 3:
                before = faults()
            model(image)
    print((faults() - before) // 5)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(*, told: bool) -> int:
    program = FAULTS.format(told=told)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_the_memory_of_a_computation_is_reused_for_the_next_without_page_faults() -> None:
    untold = faults(told=False)
    assert untold > 1000, "not needed any more: the allocator keeps memory by itself"
    assert faults(told=True) < untold / 10
