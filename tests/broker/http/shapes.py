"""Whether JSON is what a shape of botocore's service model says: types, required members, none unknown."""

from typing import Any

from botocore.model import Shape

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "double": (int, float),
    "float": (int, float),
    "timestamp": (int, float),
}


def problems(shape: Shape | None, value: Any, where: str = "$") -> list[str]:
    """What is wrong with a value, nothing where it is right. An operation without a shape answers `{}`."""
    if shape is None:
        return [] if value == {} else [f"{where} is {value!r}, not empty"]
    if shape.type_name == "structure":
        return _of_structure(shape, value, where)
    if shape.type_name == "list":
        if not isinstance(value, list):
            return [f"{where} is {value!r}, no list"]
        member = shape.member
        return [
            found for index, one in enumerate(value) for found in problems(member, one, f"{where}[{index}]")
        ]
    if shape.type_name == "map":
        if not isinstance(value, dict):
            return [f"{where} is {value!r}, no map"]
        return [found for key, one in value.items() for found in problems(shape.value, one, f"{where}.{key}")]
    expected = _TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        return [f"{where} is {value!r}, no {shape.type_name}"]
    enum = getattr(shape, "enum", None)
    return [f"{where} is {value!r}, none of {enum}"] if enum and value not in enum else []


def _of_structure(shape: Shape, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is {value!r}, no structure"]
    names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    found = [f"{where}.{name} is unknown" for name in value if name not in names]
    found += [f"{where}.{name} is missing" for name in shape.required_members if name not in value]
    for name, member in names.items():
        if name in value:
            found += problems(member, value[name], f"{where}.{name}")
    return found
