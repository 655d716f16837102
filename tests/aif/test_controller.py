"""The Controller: queues, order, states and errors; nothing hangs on a clock."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import defaultdict
from pathlib import Path

import pytest

import nnw_onnx.aif.controller
from nnw_onnx.aif import codes
from nnw_onnx.aif.channels import DEPTH, Message
from nnw_onnx.aif.controller import Controller
from nnw_onnx.aif.descriptors import descriptor
from nnw_onnx.aif.files import as_json
from nnw_onnx.aif.running import Events
from nnw_onnx.aif.types import PayloadFile
from nnw_onnx.aif.workflows import NIR
from nnw_onnx.errors import FrameworkError

from .modules import ADD, DOUBLE, ERR, FAIL, WAIT, Stepwise, message, number, workflow

LINE = workflow(
    ".In > first.Number", "first.Result > second.Number", "second.Result > .Out",
    first=DOUBLE, second=DOUBLE,
)  # fmt: skip
DIAMOND = workflow(
    ".In > left.Number", ".In > right.Number", "left.Result > sum.Left", "right.Result > sum.Right",
    "sum.Result > .Out", left=DOUBLE, right=DOUBLE, sum=ADD,
)  # fmt: skip


@pytest.fixture
def executor():
    return Stepwise()


@pytest.fixture
def arrivals():
    """Target -> a semaphore that is released for each message that arrives there."""
    return defaultdict(lambda: threading.Semaphore(0))


@pytest.fixture
def controller(executor, arrivals, tmp_path):
    moved = Events(moved=lambda source, target, message: arrivals[str(target)].release())
    with Controller(executor, tmp_path / "work", events=moved) as made:
        yield made


def arrived(arrivals, target, count=1):
    assert all(arrivals[target].acquire(timeout=WAIT) for _ in range(count))


def start(controller, flow=LINE):
    return controller.MPAI_AIFU_AIW_Start(flow)


def write(controller, tmp_path, *numbers, name="TST-FLW", port="In"):
    for one in numbers:
        controller.MPAI_AIFM_Port_Input_Write(name, port, message(tmp_path, one))


def read(controller, count=1):
    found = [controller.MPAI_AIFM_Port_Output_Read("TST-FLW", "Out", WAIT) for _ in range(count)]
    return [number(one) for one in found]


def waiting(controller, name="first", port="Number"):
    return controller.MPAI_AIFM_Port_CountPendingMessages(name, port)


def test_messages_come_out_in_the_order_in_which_they_went_in(controller, tmp_path):
    start(controller)
    write(controller, tmp_path, *range(10))
    assert read(controller, 10) == [4 * one for one in range(10)]


def test_every_input_is_waited_for_and_a_message_goes_to_all_that_hear_it(controller, tmp_path):
    start(controller, DIAMOND)
    write(controller, tmp_path, 3, 5)
    assert read(controller, 2) == [12, 20]


def test_who_runs_when_is_the_same_each_time(tmp_path):
    logs = []
    for name in "ab":
        events, executor = [], Stepwise()
        moved = Events(
            begins=events.append, moved=lambda s, t, m, told=events: told.append((str(s), str(t)))
        )
        with Controller(executor, tmp_path / name, events=moved) as controller:
            flow = start(controller, DIAMOND)
            controller.MPAI_AIFU_AIW_Pause(flow)
            write(controller, tmp_path, 1, 2)
            controller.MPAI_AIFU_AIW_Resume(flow)
            read(controller, 2)
        logs.append(events)
    assert logs[0] == logs[1]
    assert logs[0][:4] == [(".In", "left.Number"), (".In", "right.Number")] * 2
    assert [one for one in logs[0] if isinstance(one, str)][:3] == ["left", "left", "right"]


def test_a_paused_workflow_begins_nothing_and_goes_on(controller, executor, tmp_path):
    flow = start(controller)
    controller.MPAI_AIFU_AIW_Pause(flow)
    write(controller, tmp_path, 1, 2)
    assert waiting(controller) == 2
    assert controller.MPAI_AIFU_AIM_GetStatus(flow) == codes.MPAI_AIM_ALIVE
    assert executor.ran == []
    controller.MPAI_AIFU_AIW_Resume(flow)
    assert read(controller, 2) == [4, 8]


def test_a_pause_lets_what_runs_finish(controller, executor, tmp_path):
    executor.free = False
    flow = start(controller)
    write(controller, tmp_path, 1)
    assert executor.begun.acquire(timeout=WAIT)
    controller.MPAI_AIFU_AIW_Pause(flow)
    executor.go.release()
    controller.MPAI_AIFU_AIW_Resume(flow)
    assert executor.begun.acquire(timeout=WAIT)
    executor.go.release()
    assert read(controller) == [4]
    assert executor.ran == ["DBL", "DBL"]


def test_a_stopped_workflow_is_dead_and_says_so(controller, executor, tmp_path):
    executor.free = False
    flow = start(controller)
    write(controller, tmp_path, 1, 2)
    assert executor.begun.acquire(timeout=WAIT)
    controller.MPAI_AIFU_AIW_Stop(flow)
    executor.go.release()
    assert controller.MPAI_AIFU_AIM_GetStatus(flow) == codes.MPAI_AIM_DEAD
    assert controller.MPAI_AIFU_AIM_GetStatus(flow, "second") == codes.MPAI_AIM_DEAD
    line = "TST-FLW: expected a workflow that runs, got one that was stopped; start it again"
    for call in (
        lambda: read(controller),
        lambda: write(controller, tmp_path, 3),
        lambda: controller.MPAI_AIFU_AIW_Resume(flow),
    ):
        with pytest.raises(FrameworkError, match=line):
            call()
    assert executor.ran == ["DBL"]
    again = start(controller)
    executor.free = True
    write(controller, tmp_path, 5)
    assert (again, read(controller)) == (flow + 1, [20])


def test_one_module_can_be_paused_and_stopped_alone(controller, arrivals, tmp_path):
    flow = start(controller)
    controller.MPAI_AIFM_AIM_Pause("second")
    write(controller, tmp_path, 1)
    arrived(arrivals, "second.Number")
    assert waiting(controller, "second") == 1
    controller.MPAI_AIFM_AIM_Stop("second")
    assert waiting(controller, "second") == 0
    assert controller.MPAI_AIFU_AIM_GetStatus(flow, "second") == codes.MPAI_AIM_DEAD
    assert controller.MPAI_AIFU_AIM_GetStatus(flow, "first") == codes.MPAI_AIM_ALIVE
    controller.MPAI_AIFM_AIM_Start("second")
    controller.MPAI_AIFM_AIM_Pause("first")
    controller.MPAI_AIFM_AIM_Resume("first")
    write(controller, tmp_path, 7)
    assert read(controller) == [28]


def test_a_full_port_refuses_a_message_and_none_of_it_arrives(controller, tmp_path):
    flow = start(controller, DIAMOND)
    controller.MPAI_AIFU_AIW_Pause(flow)
    write(controller, tmp_path, *range(DEPTH - 1))
    write(controller, tmp_path, 100, name="right", port="Number")
    with pytest.raises(
        FrameworkError, match=f"right.Number: expected room .*, got {DEPTH} that"
    ) as e:
        write(controller, tmp_path, 1)
    assert e.value.code == codes.MPAI_ERROR_TOO_MANY_PENDING_MESSAGES
    assert (waiting(controller, "left"), waiting(controller, "right")) == (DEPTH - 1, DEPTH)
    assert waiting(controller, "TST-FLW", "In") == DEPTH


def test_a_module_waits_until_its_outputs_have_room(controller, executor, arrivals, tmp_path):
    """Nothing is lost where nobody reads: the last output fills up, then the port before it."""
    start(controller)
    write(controller, tmp_path, *range(DEPTH))
    arrived(arrivals, ".Out", DEPTH)
    write(controller, tmp_path, *range(DEPTH, 2 * DEPTH))
    arrived(arrivals, "second.Number", 2 * DEPTH)
    assert waiting(controller, "second") == DEPTH
    assert len(executor.ran) == 3 * DEPTH
    assert read(controller, 2 * DEPTH) == [4 * one for one in range(2 * DEPTH)]


def test_the_depth_of_an_input_is_the_one_that_its_descriptor_says(controller, tmp_path):
    shallow = dataclasses.replace(LINE, inputs=(dataclasses.replace(LINE.inputs[0], depth=1),))
    controller.MPAI_AIFU_AIW_Pause(start(controller, shallow))
    write(controller, tmp_path, 1)
    with pytest.raises(FrameworkError, match="got 1 that wait; read or wait before you write more"):
        write(controller, tmp_path, 2)


def test_what_waits_is_told_and_forgotten(controller, tmp_path):
    controller.MPAI_AIFU_AIW_Pause(start(controller))
    assert not controller.MPAI_AIFM_Port_Probe("TST-FLW", "In")
    write(controller, tmp_path, 1)
    assert controller.MPAI_AIFM_Port_Probe("TST-FLW", "In")
    assert not controller.MPAI_AIFM_Port_Probe("TST-FLW", "Out")
    controller.MPAI_AIFM_Port_Reset("first", "Number")
    assert not controller.MPAI_AIFM_Port_Probe("first", "Number")


def test_another_type_is_refused(controller, tmp_path):
    start(controller)
    wrong = Message(PayloadFile(tmp_path / "p.json"))
    with pytest.raises(
        FrameworkError, match=r"first.Number: expected NNW-CER-V2.0, got NNW-PLD-V2"
    ):
        controller.MPAI_AIFM_Port_Input_Write("TST-FLW", "In", wrong)


def test_a_module_that_fails_ends_the_workflow_with_one_line(controller, tmp_path):
    flow = start(controller, workflow(".In > bad.Number", "bad.Result > .Out", bad=FAIL))
    write(controller, tmp_path, 1)
    with pytest.raises(FrameworkError) as caught:
        read(controller)
    assert str(caught.value) == "bad: m.onnx: expected a model, got none; give one"
    assert controller.MPAI_AIFU_AIM_GetStatus(flow) == codes.MPAI_AIM_DEAD
    with pytest.raises(FrameworkError, match="bad: m.onnx"):
        write(controller, tmp_path, 2)


def test_a_bug_of_a_module_is_no_silence(controller, tmp_path):
    start(controller, workflow(".In > bad.Number", "bad.Result > .Out", bad=ERR))
    write(controller, tmp_path, 1)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        read(controller)


def test_a_module_that_gives_another_type_is_refused(controller, executor, tmp_path):
    executor.run = lambda module, given, folder: {"Result": PayloadFile(folder / "p.json")}
    start(controller)
    write(controller, tmp_path, 1)
    with pytest.raises(FrameworkError, match="first.Result: expected NNW-CER-V2.0 from the module"):
        read(controller)


@pytest.mark.parametrize(
    ("call", "line", "code"),
    [
        (lambda c: c.MPAI_AIFU_AIW_Pause(7), "AIW_ID: expected that of a workflow that", 102),
        (lambda c: c.MPAI_AIFM_AIM_Start("x"), "x: expected a workflow or module that was", 102),
        (lambda c: c.MPAI_AIFU_AIM_GetStatus(1, "x"), "x: expected a module of TST-FLW", 102),
        (lambda c: c.MPAI_AIFM_Port_Probe("first", "x"), r"first.x: expected a port of", 106),
        (lambda c: c.MPAI_AIFM_Port_Probe("TST-FLW", "x"), r"TST-FLW.x: expected a port of", 106),
        (
            lambda c: c.MPAI_AIFM_Port_Output_Read("first", "Result", 1),
            r"first \(no workflow\).Result: expected a port of TST-FLW that is connected, got", 106,
        ),
        (
            lambda c: c.MPAI_AIFM_Port_Output_Read("TST-FLW", "Out", 0.0),
            "TST-FLW.Out: expected a message within 0 s, got none; wait longer, or write", 100,
        ),
        (lambda c: c.MPAI_AIFU_Controller_Initialize(), "Controller: expected one that", 103),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line(controller, call, line, code):
    start(controller)
    with pytest.raises(FrameworkError, match=line) as caught:
        call(controller)
    assert caught.value.code == code


def test_nothing_is_started_before_it_is_initialized(executor, tmp_path):
    with pytest.raises(FrameworkError, match="expected one that is initialized, got"):
        Controller(executor, tmp_path).MPAI_AIFU_AIW_Start(LINE)


def test_destroying_ends_what_runs(executor, tmp_path):
    executor.free = False
    controller = Controller(executor)
    assert controller.MPAI_AIFU_Controller_Initialize() == codes.MPAI_AIF_OK
    start(controller)
    write(controller, tmp_path, 1)
    assert executor.begun.acquire(timeout=WAIT)
    assert controller.MPAI_AIFU_Controller_Destroy() == codes.MPAI_AIF_OK
    assert executor.stopped


def test_a_workflow_starts_from_the_file_that_describes_it(controller, tmp_path):
    path = tmp_path / "nir.json"
    path.write_bytes(as_json(descriptor(NIR)))
    flow = controller.MPAI_AIFU_AIW_Start(path)
    assert controller.MPAI_AIFU_AIM_GetStatus(flow, "NNW-MFM-V2.0") == codes.MPAI_AIM_ALIVE
    assert controller.MPAI_AIFM_Port_CountPendingMessages("NNW-NIR", "OriginalPayload") == 0


def test_the_names_are_those_that_public_implementations_show():
    names = {name for name in vars(Controller) if name.startswith("MPAI_")}
    assert names == {
        "MPAI_AIFS_GetAndParseArchive",
        "MPAI_AIFU_Controller_Initialize", "MPAI_AIFU_Controller_Destroy",
        "MPAI_AIFU_AIW_Start", "MPAI_AIFU_AIW_Pause", "MPAI_AIFU_AIW_Resume",
        "MPAI_AIFU_AIW_Stop", "MPAI_AIFU_AIM_GetStatus",
        "MPAI_AIFM_AIM_Start", "MPAI_AIFM_AIM_Stop", "MPAI_AIFM_AIM_Pause",
        "MPAI_AIFM_AIM_Resume", "MPAI_AIFM_Port_Output_Read", "MPAI_AIFM_Port_Input_Write",
        "MPAI_AIFM_Port_Reset", "MPAI_AIFM_Port_CountPendingMessages", "MPAI_AIFM_Port_Probe",
    }  # fmt: skip
    text = Path(nnw_onnx.aif.controller.__file__).read_text(encoding="utf-8")
    assert not re.search("Register_Local|Register_Remote|Channel_Create|EventHandler", text)
