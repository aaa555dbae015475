"""The message table: against bytes written by hand, and against the worker's own .proto file."""

import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from server import messages

ROOT = Path(__file__).resolve().parents[2]


def test_report_of_hand_made_bytes():
    data = (
        b"\x0a\x0adefault/w1" b"\x12\x02a1" b"\x1a\x02t1" b"\x22\x02i1" b"\x2a\x04name" b"\x30\x03"
        b"\x3a\x04\x08\x64\x10\x05" b"\x42\x02\x08\x65" b"\x4a\x041m3s" b"\x52\x05\x0a\x03why"
    )
    report = messages.ActionStatusRequest.FromString(data)
    assert (report.workflow_id, report.agent_id, report.task_id) == ("default/w1", "a1", "t1")
    assert (report.action_id, report.action_name) == ("i1", "name")
    assert messages.STATES[report.action_state] == "FAILED"
    assert (report.execution_start.seconds, report.execution_start.nanos, report.execution_stop.seconds) == (100, 5, 101)
    assert (report.execution_duration, report.message.message) == ("1m3s", "why")
    assert report.SerializeToString() == data


def test_action_to_hand_made_bytes():
    action = messages.ActionResponse(workflow_id="d/w", timeout=90, command=["a", ""], environment=["K=V"], pid="")
    action.namespaces.network = "host"
    assert action.SerializeToString() == (
        b"\x0a\x03d/w" b"\x38\x5a" b"\x42\x01a" b"\x42\x00" b"\x52\x03K=V" b"\x5a\x00" b"\x62\x06\x0a\x04host")


def test_unknown_fields_are_found_at_any_depth():
    request = messages.ActionRequest.FromString(b"\x0a\x01x" b"\x12\x07\x0a\x05\x08\x01\x9a\x06\x00")
    assert messages.unknown_fields(request) == ["ActionRequest.agent_attributes.cpu field 99"]


TIMESTAMP = """syntax = "proto3"; package google.protobuf;
message Timestamp { int64 seconds = 1; int32 nanos = 2; }
"""


@pytest.fixture
def worker_schema(tmp_path):
    """The file descriptor set of the worker's schema, or a reason why there is none."""
    # Debian's protoc comes without the standard messages.
    (tmp_path / "google/protobuf").mkdir(parents=True)
    (tmp_path / "google/protobuf/timestamp.proto").write_text(TIMESTAMP)
    files = sorted(ROOT.glob("agent/**/*.proto"))
    if not files:
        pytest.skip("the worker has no .proto file")
    protoc = shutil.which("protoc")
    if not protoc:
        pytest.skip("protoc is missing: run initramfs/install-packages build")
    result = subprocess.run(
        [protoc, *{f"-I{file.parent}" for file in files}, f"-I{tmp_path}", "--include_imports", "-o", "/dev/stdout", *map(str, files)],
        capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return descriptor_pb2.FileDescriptorSet.FromString(result.stdout)


def find_message(descriptor_set, name):
    """A message of this name in package proto, wherever it is nested."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_set.file:
        pool.Add(file)
    for file in descriptor_set.file:
        if file.package == "proto" and name in [message.name for message in file.message_type]:
            return pool.FindMessageTypeByName(f"proto.{name}")
    return None


def compare(ours, theirs, path):
    """Differences that show on the wire; names of nested messages and enums do not."""
    ours_by_number = {field.number: field for field in ours.fields}
    for field in theirs.fields:
        place = f"{path}.{field.name} ({field.number})"
        our = ours_by_number.get(field.number)
        if our is None:
            yield f"{place}: the protocol has no such field"
            continue
        if our.name.strip("_") != field.name.strip("_"):
            yield f"{place}: the protocol calls it {our.name}"
        if our.type != field.type or (our.label == our.LABEL_REPEATED) != (field.label == field.LABEL_REPEATED):
            yield f"{place}: another type"
        elif our.message_type and our.message_type.full_name.startswith("proto."):
            yield from compare(our.message_type, field.message_type, place)
        elif our.enum_type:
            numbers = {value.number: value.name for value in field.enum_type.values}
            for value in our.enum_type.values:
                if value.number not in numbers or not numbers[value.number].endswith(value.name):
                    yield f"{place}: {value.number} is {value.name}, not {numbers.get(value.number)}"


@pytest.mark.parametrize("name", ["ActionRequest", "ActionResponse", "ActionStatusRequest", "ActionStatusResponse"])
def test_the_workers_schema_says_the_same(worker_schema, name):
    theirs = find_message(worker_schema, name)
    assert theirs is not None, f"the worker's schema has no proto.{name}"
    ours = {
        "ActionRequest": messages.ActionRequest,
        "ActionResponse": messages.ActionResponse,
        "ActionStatusRequest": messages.ActionStatusRequest,
        "ActionStatusResponse": messages.ActionStatusResponse,
    }[name].DESCRIPTOR
    assert list(compare(ours, theirs, name)) == []
