# SPDX-License-Identifier: GPL-2.0-or-later
"""Sound cards of the host: what the kernel lists, and their controls by audio_helper or amixer.

`audio_helper` is OpenXT's; where it is missing, amixer of alsa-utils is asked, and its answer told in the
same words.  **Source:** /proc/asound; OpenXT xenmgr, 2015.
"""

import re
from collections.abc import Iterable, Iterator

from openxt_core.errors import BadRequest
from openxt_core.places import Places
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.facts import read_text

AUDIO_HELPER = "/usr/lib/xen/bin/audio_helper"
ALSA = "Debian's alsa-utils"

_CARD = re.compile(r"\s*(?P<id>\d+) \[.*?\]: (?P<name>.*)")
_HELPER_LINE = re.compile(r"(?P<direction>\S+)\s+'(?P<name>[^']*)'\s+(?P<type>\S+)\s*(?P<value>.*)")
_VOLUME_AND_SWITCH = re.compile(r"(\d+%) (on|off)")
_AMIXER_NAME = re.compile(r"Simple mixer control '(?P<name>.*)',(?P<index>\d+)")
_AMIXER_STATE = re.compile(r"\[(\d+%|on|off)\]")

Record = dict[str, str]


def pcm_devices(places: Places, direction: str) -> list[Record]:
    """id, name, card of the devices that play (`playback`) or record (`capture`)."""
    found = []
    for line in read_text(places.at("/proc/asound/pcm")).splitlines():
        fields = [field.strip() for field in line.split(":")]
        if len(fields) > 1 and f"{direction} 1" in fields:
            card = fields[0].partition("-")[0].lstrip("0") or "0"
            found.append({"id": fields[0], "name": fields[1], "card": card})
    return found


def cards(places: Places) -> list[Record]:
    """id and name of each."""
    lines = read_text(places.at("/proc/asound/cards")).splitlines()
    matches = (_CARD.match(line) for line in lines)
    return [{"id": match["id"], "name": match["name"].strip()} for match in matches if match]


async def controls(places: Places, card: str) -> list[Record]:
    """name, direction, type, value of a card's controls.  Raises what `ask` raises."""
    helper = _helper(places)
    if helper:
        return list(_of_helper((await programs.run(helper, "-c", _word(card))).splitlines()))
    return list(_of_amixer((await _amixer(card, "scontents")).splitlines()))


async def control(places: Places, card: str, name: str) -> str:
    """The value of one control; empty when it cannot be read."""
    helper = _helper(places)
    if helper:
        found = _of_helper((await programs.run(helper, "-c", _word(card), "sget", _word(name))).splitlines())
    else:
        found = _of_amixer((await _amixer(card, "sget", _word(name))).splitlines())
    return next((record["value"] for record in found), "")


async def set_control(places: Places, card: str, name: str, value: str) -> None:
    both = _VOLUME_AND_SWITCH.fullmatch(value)
    values = both.groups() if both else (_word(value),)
    helper = _helper(places)
    if helper:
        await programs.run(helper, "-c", _word(card), "sset", _word(name), *values)
    else:
        await _amixer(card, "sset", _word(name), *values)


def _helper(places: Places) -> str:
    path = places.at(AUDIO_HELPER)
    return str(path) if path.exists() else ""


async def _amixer(card: str, *words: str) -> str:
    return await programs.run(programs.needed("amixer", ALSA), "-c", _word(card), *words)


def _word(text: str) -> str:
    """A word that no program takes for an option."""
    if not text or text.startswith("-") or "\n" in text or "\0" in text:
        raise BadRequest(f"not a card, control or value: {text[:60]!r}")
    return text


def _of_helper(lines: Iterable[str]) -> Iterator[Record]:
    for line in lines:
        match = _HELPER_LINE.match(line.strip())
        if match:
            yield {key: match[key].strip() for key in ("name", "direction", "type", "value")}


def _of_amixer(lines: Iterable[str]) -> Iterator[Record]:
    """One record a control: the state of its first channel."""
    record: Record = {}
    for line in lines:
        name = _AMIXER_NAME.match(line)
        if name:
            if record:
                yield record
            index = "" if name["index"] == "0" else f",{name['index']}"
            record = {"name": name["name"] + index, "direction": "", "type": "", "value": ""}
        elif record:
            _learn(record, line.strip())
    if record:
        yield record


def _learn(record: Record, line: str) -> None:
    title, _, rest = line.partition(": ")
    if title == "Capabilities":
        words = rest.split()
        record["direction"] = (
            "capture" if any(word.startswith(("cvol", "csw")) for word in words) else "playback"
        )
        is_volume = any("volume" in word for word in words)
        record["type"] = "volume" if is_volume else "enum" if "enum" in words else "switch"
    elif title == "Item0":
        record["value"] = rest.strip("'")
    elif not record["value"]:
        record["value"] = " ".join(_AMIXER_STATE.findall(rest))
