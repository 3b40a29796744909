"""Message classes of both protocols, in a descriptor pool of their own.

Triton's client registers the same full names (``inference.ModelInferRequest`` ...) in protobuf's default
pool from a file of another name. A second registration there fails, so one process could not use both.
The messages therefore live in ``POOL``, built at import from ``descriptors.binpb``; that also frees the
stubs from protoc's check that the installed protobuf is as new as the one that generated them.
"""

from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

INFERENCE: Final = "inference.GRPCInferenceService"
CONTROL: Final = "trimtab.control.v1.Control"


def _load() -> Any:  # the pool's methods are untyped in some releases of protobuf's stubs
    pool: Any = DescriptorPool()
    content = files(__name__).joinpath("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final[Any] = _load()


def classes(file: str) -> dict[str, Any]:
    """Return the top-level message classes and enums of one proto file by name."""
    descriptor = POOL.FindFileByName(file)
    found: dict[str, Any] = {"DESCRIPTOR": descriptor}
    for name, message in descriptor.message_types_by_name.items():
        found[name] = message_factory.GetMessageClass(message)
    for name, enum in descriptor.enum_types_by_name.items():
        found[name] = EnumTypeWrapper(enum)
        found.update((value.name, value.number) for value in enum.values)
    return found


def service(name: str) -> ServiceDescriptor:
    """Return the descriptor of a service by full name."""
    found: ServiceDescriptor = POOL.FindServiceByName(name)
    return found
