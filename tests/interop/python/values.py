"""What JSON cannot say, said in JSON: the values, bodies, messages and errors that `peer.py` reports.

A value with a Python type of its own is {"$type": T, "$value": V}:

    int         text, beyond 64 bits            datetime, date, time    ISO 8601
    float       "nan", "inf", "-inf"            Decimal, UUID           text
    bytes       base64                          tuple, set              list
    surrogates  base64 of a str that is not     map                     [[key, value], ...], keys of any type
                UTF-8, encoded all the same     repr                    anything else, written only
"""

import base64
import math
import traceback
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from uuid import UUID

from kombu.utils.encoding import str_to_bytes


def tagged(kind, value):
    return {"$type": kind, "$value": value}


def to_json(value):
    """Returns `value` as something every JSON reader takes, with nothing of its Python type lost."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else tagged("int", str(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else tagged("float", repr(value))
    if isinstance(value, str):
        try:
            value.encode()
            return str(value)
        except UnicodeEncodeError:  # lone surrogates
            return tagged("surrogates", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode())
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and "$type" not in value:
            return {key: to_json(item) for key, item in value.items()}
        return tagged("map", [[to_json(key), to_json(item)] for key, item in value.items()])
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, tuple):
        return tagged("tuple", [to_json(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return tagged("set", sorted((to_json(item) for item in value), key=repr))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return tagged("bytes", base64.b64encode(bytes(value)).decode())
    for kind, to_text in TEXTS.items():
        if type(value) is kind:
            return tagged(kind.__name__, to_text(value))
    return tagged("repr", repr(value))


def from_json(value):
    """Returns the Python value that `to_json` wrote."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$type" not in value:
        return {key: from_json(item) for key, item in value.items()}
    return READERS[value["$type"]](value["$value"])


TEXTS = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    time_of_day: time_of_day.isoformat,
    Decimal: str,
    UUID: str,
}
READERS = {
    "int": int,
    "float": float,
    "surrogates": lambda text: base64.b64decode(text).decode("utf-8", "surrogatepass"),
    "map": lambda items: {from_json(key): from_json(item) for key, item in items},
    "tuple": lambda items: tuple(from_json(item) for item in items),
    "set": lambda items: {from_json(item) for item in items},
    "bytes": base64.b64decode,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time_of_day.fromisoformat,
    "Decimal": Decimal,
    "UUID": UUID,
}


def body_from_json(body):
    kind, value = body["kind"], body["value"]
    return {"text": str, "bytes": base64.b64decode, "json": from_json}[kind](value)


def body_to_json(body):
    if isinstance(body, str):
        value = to_json(body)
        return {"kind": "text" if isinstance(value, str) else "json", "value": value}
    if isinstance(body, (bytes, memoryview)):
        return {"kind": "bytes", "value": base64.b64encode(bytes(body)).decode()}
    return {"kind": "json", "value": to_json(body)}


def error_to_json(error):
    kind = type(error)
    text = "".join(traceback.format_exception(kind, error, error.__traceback__))
    return {"type": f"{kind.__module__}.{kind.__qualname__}", "message": str(error), "traceback": text}


def raw(message):
    """Returns the body's bytes; pyamqp decodes what names an encoding that Python knows."""
    body = message.body or b""
    try:
        return body.encode(message.content_encoding) if isinstance(body, str) else bytes(body)
    except LookupError:
        return str_to_bytes(body)


def message_to_json(message, error=None):
    report = {
        "body": None,
        "raw": base64.b64encode(raw(message)).decode(),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "headers": to_json(message.headers),
        "properties": to_json(message.properties),
        "delivery_info": to_json(message.delivery_info),
        "delivery_tag": to_json(message.delivery_tag),
        "redelivered": bool(message.delivery_info.get("redelivered") or message.headers.get("redelivered")),
    }
    try:
        if error is not None:
            raise error
        report["body"] = body_to_json(message.payload)
    except Exception as reason:
        report["decode_error"] = error_to_json(reason)
    return report
