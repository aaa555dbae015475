"""The messages of proto.WorkflowService, current generation, and of the gRPC error details.

Written from the table of the protocol and not from the worker's own .proto file, so that an error
in one of the two is found. Not generated: the descriptors are built here.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

# message: fields as (number, name, type); "*" before a type means repeated. A type that is none of
# protobuf's own is a message or enum of this table. Every scalar has explicit presence.
WORKFLOW_MESSAGES = {
    "ActionRequest": [(1, "agent_id", "string"), (2, "agent_attributes", "AgentAttributes")],
    "ActionResponse": [
        (1, "workflow_id", "string"),
        (2, "task_id", "string"),
        (3, "agent_id", "string"),
        (4, "action_id", "string"),
        (5, "name", "string"),
        (6, "image", "string"),
        (7, "timeout", "int64"),
        (8, "command", "*string"),
        (9, "volumes", "*string"),
        (10, "environment", "*string"),
        (11, "pid", "string"),
        (12, "namespaces", "Namespaces"),
    ],
    "Namespaces": [(1, "network", "string"), (2, "pid", "string")],
    "ActionStatusRequest": [
        (1, "workflow_id", "string"),
        (2, "agent_id", "string"),
        (3, "task_id", "string"),
        (4, "action_id", "string"),
        (5, "action_name", "string"),
        (6, "action_state", "State"),
        (7, "execution_start", "google.protobuf.Timestamp"),
        (8, "execution_stop", "google.protobuf.Timestamp"),
        (9, "execution_duration", "string"),
        (10, "message", "ActionMessage"),
    ],
    "ActionMessage": [(1, "message", "string")],
    "ActionStatusResponse": [],
    "AgentAttributes": [
        (1, "cpu", "CPU"),
        (2, "memory", "Memory"),
        (3, "block", "*Block"),
        (4, "network", "*Network"),
        (5, "pci", "*PCI"),
        (6, "gpu", "*GPU"),
        (7, "chassis", "Chassis"),
        (8, "bios", "BIOS"),
        (9, "baseboard", "Baseboard"),
        (10, "product", "Product"),
    ],
    "CPU": [
        (1, "total_cores", "uint32"),
        (2, "total_threads", "uint32"),
        (3, "processors", "*Processor"),
    ],
    "Processor": [
        (1, "id", "uint32"),
        (2, "cores", "uint32"),
        (3, "threads", "uint32"),
        (4, "vendor", "string"),
        (5, "model", "string"),
        (6, "capabilities", "*string"),
    ],
    "Memory": [(1, "total", "string"), (2, "usable", "string")],
    "Block": [
        (1, "name", "string"),
        (2, "controller_type", "string"),
        (3, "drive_type", "string"),
        (4, "size", "string"),
        (5, "physical_block_size", "string"),
        (6, "vendor", "string"),
        (7, "model", "string"),
        (8, "wwn", "string"),
        (9, "serial_number", "string"),
    ],
    "Network": [
        (1, "name", "string"),
        (2, "mac", "string"),
        (3, "speed", "string"),
        (4, "enabled_capabilities", "*string"),
    ],
    "PCI": [(1, "vendor", "string"), (2, "product", "string"), (3, "class", "string"), (4, "driver", "string")],
    "GPU": [(1, "vendor", "string"), (2, "product", "string"), (3, "class", "string"), (4, "driver", "string")],
    "Chassis": [(1, "serial", "string"), (2, "vendor", "string")],
    "BIOS": [(1, "vendor", "string"), (2, "version", "string"), (3, "release_date", "string")],
    "Baseboard": [
        (1, "vendor", "string"),
        (2, "product", "string"),
        (3, "version", "string"),
        (4, "serial_number", "string"),
    ],
    "Product": [(1, "name", "string"), (2, "vendor", "string"), (3, "serial_number", "string")],
}

STATES = ["UNSPECIFIED", "PENDING", "RUNNING", "FAILED", "TIMEOUT", "SUCCESS"]
FINAL_STATES = ("FAILED", "TIMEOUT", "SUCCESS")

DETAIL_MESSAGES = {
    "Status": [(1, "code", "int32"), (2, "message", "string"), (3, "details", "*Any")],
    "Any": [(1, "type_url", "string"), (2, "value", "bytes")],
    "PreconditionFailure": [(1, "violations", "*Violation")],
    "Violation": [(1, "type", "string"), (2, "subject", "string"), (3, "description", "string")],
}


def _file(name, package, messages, enums):
    """The descriptor of one .proto file with these messages and enums."""
    field_types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for enum_name, values in enums.items():
        enum = file.enum_type.add(name=enum_name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for number, field_name, kind in fields:
            field = message.field.add(name=field_name, number=number)
            repeated = kind.startswith("*")
            kind = kind.lstrip("*")
            field.label = field_types.LABEL_REPEATED if repeated else field_types.LABEL_OPTIONAL
            if "." in kind:
                field.type, field.type_name = field_types.TYPE_MESSAGE, f".{kind}"
            elif kind in messages:
                field.type, field.type_name = field_types.TYPE_MESSAGE, f".{package}.{kind}"
            elif kind in enums:
                field.type, field.type_name = field_types.TYPE_ENUM, f".{package}.{kind}"
            else:
                field.type = getattr(field_types, f"TYPE_{kind.upper()}")
            if not repeated and field.type != field_types.TYPE_MESSAGE:  # explicit presence
                field.proto3_optional = True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field_name}")
    return file


def _classes(file_descriptors):
    """Message classes by name. The pool is our own: other code may define the same names."""
    pool = descriptor_pool.DescriptorPool()
    factory = message_factory.MessageFactory(pool)
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    classes = {"Timestamp": factory.GetPrototype(pool.FindMessageTypeByName("google.protobuf.Timestamp"))}
    for file in file_descriptors:
        pool.Add(file)
        for message in file.message_type:
            full_name = f"{file.package}.{message.name}"
            classes[message.name] = factory.GetPrototype(pool.FindMessageTypeByName(full_name))
    return classes


def classes(name, messages, enums):
    """The classes of one more schema, by name."""
    return _classes([_file(name, "proto", messages, enums)])


_CLASSES = _classes([
    _file("tests/workflow.proto", "proto", WORKFLOW_MESSAGES, {"State": STATES}),
    _file("tests/details.proto", "google.rpc", DETAIL_MESSAGES, {}),
])

ActionRequest = _CLASSES["ActionRequest"]
ActionResponse = _CLASSES["ActionResponse"]
ActionStatusRequest = _CLASSES["ActionStatusRequest"]
ActionStatusResponse = _CLASSES["ActionStatusResponse"]
Timestamp = _CLASSES["Timestamp"]
Status = _CLASSES["Status"]
PreconditionFailure = _CLASSES["PreconditionFailure"]

NO_ACTION_AVAILABLE = "PRECONDITION_FAILURE_VIOLATION_NO_ACTION_AVAILABLE"


def no_action_details(code, message, agent_id):
    """The grpc-status-details-bin trailer of an answer that means: nothing to do now."""
    failure = PreconditionFailure()
    failure.violations.add(type=NO_ACTION_AVAILABLE, subject=agent_id, description=message)
    status = Status(code=code, message=message)
    status.details.add(
        type_url="type.googleapis.com/google.rpc.PreconditionFailure", value=failure.SerializeToString())
    return status.SerializeToString()


def unknown_fields(message, path=""):
    """Every field in a received message that the table does not have, as `message.field 17`."""
    found = [f"{path or message.DESCRIPTOR.name} field {field.field_number}" for field in message.UnknownFields()]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in value if field.label == field.LABEL_REPEATED else [value]:
            found += unknown_fields(child, f"{path or message.DESCRIPTOR.name}.{field.name}")
    return found
