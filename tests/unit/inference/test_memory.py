from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMAGE = Path(__file__).resolve().parents[3] / "playbooks" / "images" / "yellow-circle-1600x1200-q75.jpg"

# In a thread, as decoders do: one picture again and again. Prints the page faults that each costs.
FAULTS = """
import resource, threading
from pathlib import Path
from inference.memory import keep_freed_memory
from inference.preprocess import Preprocessing, pixels
if {told}:
    assert keep_freed_memory()
data, how = Path({image!r}).read_bytes(), Preprocessing(80, 72, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
def work():
    for turn in range(13):
        if turn == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pixels(data, how)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(*, told: bool) -> int:
    program = FAULTS.format(told=told, image=str(IMAGE))
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_the_memory_of_a_decoded_image_is_reused_for_the_next_without_page_faults() -> None:
    assert faults(told=True) < 50
    assert faults(told=False) > 500, "not needed any more: the allocator keeps memory by itself"
