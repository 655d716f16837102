import pytest

from nnw_onnx.measures.environment import describe_environment, environment_class

GB = 10**9
BIG = {"name": "device", "memory_bytes": 16 * GB}


@pytest.mark.parametrize(
    ("cores", "ghz", "gpus", "expected"),
    [
        (8, 2.6, (BIG,), "Medium"),
        (16, 3.4, (BIG, BIG), "Large"),
        (16, 3.4, (BIG,), "Medium"),
        (8, 2.6, (), "other"),
        (7, 2.6, (BIG,), "other"),
        (8, 2.5, (BIG,), "other"),
        (8, None, (BIG,), "other"),
    ],
)
def test_class_is_the_largest_that_is_reached(cores, ghz, gpus, expected):
    assert environment_class({"physical_cores": cores, "ghz": ghz}, gpus) == expected


def test_this_machine_is_described():
    described = describe_environment({"threads": 1}, {"onnxruntime": "x"})
    assert described.cpu["logical_cores"] >= 1
    assert described.memory_bytes > 10**8
    assert described.versions["numpy"][0].isdigit()
    assert described.settings == {"threads": 1, "runtime": {"onnxruntime": "x"}}
