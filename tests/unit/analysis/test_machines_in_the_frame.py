"""What a row says of the machine of its run, and a cell of several."""

import pandas as pd

from kdpipe.analysis.dataframe import _describe_device, describe_gaps

GPU = {"type": "cuda", "name": "A100", "threads": 1, "capability": "8.0", "driver": "550.54"}
GPU |= {"cuda": "13.0", "cudnn": "91002", "tf32": False, "kernels": "deterministic"}


def test_of_a_gpu_all_that_its_numbers_may_depend_on_is_said():
    assert _describe_device(None) is _describe_device({"device": None}) is None
    assert (
        _describe_device({"device": {"type": "cpu", "name": "EPYC", "threads": 1}}) == "cpu: EPYC"
    )
    old = {"type": "cuda", "name": "A100"}  # of a record from before
    assert _describe_device({"device": old}) == "cuda: A100"
    message = "cuda: A100 (8.0, driver 550.54, cuDNN 91002)"
    assert _describe_device({"device": GPU}) == message
    odd = GPU | {"tf32": True, "kernels": "any"}
    assert _describe_device({"device": odd}) == message[:-1] + ", TF32, any kernels)"


def test_a_cell_of_two_drivers_is_mixed():
    devices = [
        _describe_device({"device": GPU | {"driver": driver}}) for driver in ("550.54", "580.1")
    ]
    columns = {"run": ["a", "b"], "status": "done", "test_error": 1.0, "reason": ""}
    cell = pd.DataFrame(columns | {"teacher_run": "", "device": devices, "torch": "2.14.1"})
    assert describe_gaps(cell) == f"mixes devices: {devices[0]} and {devices[1]}"
    assert describe_gaps(cell.assign(device=devices[0])) == ""
