"""What the Python drivers of the no-harm tests share: as harm.mjs says it, in this language."""
import hashlib
import json

NOTHING = object()


def plain(value):
    """Bytes at any depth, as their hex digits."""
    if isinstance(value, (bytes, bytearray)):
        return {"$hex": bytes(value).hex()}
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value


def digest(name, value):
    text = json.dumps([name] if value is NOTHING else [name, plain(value)])
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def resolved(value, attachments):
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {key: resolved(member, attachments) for key, member in value.items()}
    return [resolved(member, attachments) for member in value] if isinstance(value, list) else value


def described(line):
    name = line["name"]
    if "hex" in line:
        data = bytes.fromhex(line["hex"])
        return digest(name, {"type": line["kind"], "data": data} if "kind" in line else data)
    if "text" not in line:
        return digest(name, NOTHING)
    value = json.loads(line["text"])
    if "attachments" in line:
        value = resolved(value, [bytes.fromhex(one) for one in line["attachments"]])
    return digest(name, value)


def spell(path):
    with open(path, encoding="utf-8") as lines:
        return [described(json.loads(line)) for line in lines]
