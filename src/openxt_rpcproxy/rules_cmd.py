# SPDX-License-Identifier: GPL-2.0-or-later
"""`rpc-proxy-rules`: questions about rules, on files or of the running proxy.  Changes nothing.

Exit status: 0 all is well (allowed, no finding, no difference), 1 not so, 2 the question cannot be answered.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openxt_core.errors import BadRequest, OpenxtError
from openxt_core.ids import RPC_PROXY_NAME, Uuid, parse_uuid
from openxt_core.places import Places
from openxt_rpcproxy.rules.decide import PropertyValue, completed
from openxt_rpcproxy.rules.explain import Explanation, explain
from openxt_rpcproxy.rules.grammar import parse_rules
from openxt_rpcproxy.rules.model import Rule, Undecided
from openxt_rpcproxy.rules.record import FACTS, Record, read_records, record_of

RULES_INTERFACE = f"{RPC_PROXY_NAME}.rules"
OK, NOT_SO, FAILED = 0, 1, 2


@dataclass(frozen=True)
class Answer:
    data: Any  # for --json
    lines: Sequence[str]
    status: int = OK


def _rules(paths: Sequence[Path]) -> tuple[Rule, ...]:
    """Of all files, in order.  Raises OSError, BadRequest."""
    return tuple(rule for path in paths for rule in parse_rules(_text(path), str(path)))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"{path}: not UTF-8") from None


def _records(path: Path) -> list[Record]:
    return list(read_records(_text(path), str(path)))


def _in_force(paths: Sequence[Path]) -> tuple[Rule, ...]:
    return completed(_rules(paths))


def check(args: argparse.Namespace) -> Answer:
    data = []
    for path in args.rules:
        try:
            data.append({"file": str(path), "rules": len(_rules([path])), "problem": ""})
        except BadRequest as error:
            data.append({"file": str(path), "rules": 0, "problem": error.text})
    lines = [one["problem"] or f"{one['file']}: {one['rules']} rules" for one in data]
    return Answer(data, [str(line) for line in lines], NOT_SO if any(one["problem"] for one in data) else OK)


def lint(args: argparse.Namespace) -> Answer:
    from openxt_rpcproxy.rules.lint import lint as findings_of
    from openxt_rpcproxy.signatures import InterfaceTables

    if args.live:
        (found,) = _ask("lint", "", ())
    else:
        findings = findings_of(_rules(args.rules), InterfaceTables().by_name)
        found = [(one.rule.text, one.rule.origin, one.about, one.text) for one in findings]
    data = [dict(zip(("rule", "origin", "about", "text"), one, strict=True)) for one in found]
    lines = [f"{one['origin']}: {one['about']}: {one['text']}\n    {one['rule']}" for one in data]
    return Answer(data, lines or ["nothing found"], NOT_SO if data else OK)


def explain_one(args: argparse.Namespace) -> Answer:
    words = {name: getattr(args, name) for name in (*FACTS, "about", "direction", "type")}
    told = {name: value for name, value in words.items() if value}
    if args.live:
        verdict, rule, origin, others = _ask("explain", "ia{ss}", (args.domid, told))
        unknown: list[str] = []
    else:
        told |= {"domid": args.domid, "stubdom": args.stubdom, "uuid": args.uuid or ""}
        record = record_of({**told, "vm": dict(args.vm)}, "the message")
        found, unknown = _explained(record, _of_vm(args))
        deciding = found.decision.rule
        verdict = str(found.decision.verdict)
        rule, origin = (deciding.text, deciding.origin) if deciding else ("", "")
        others = [(one.rule.text, one.rule.origin, one.missed) for one in found.others]
    data = {
        "verdict": verdict,
        "rule": rule,
        "origin": origin,
        "others": [dict(zip(("rule", "origin", "missed"), one, strict=True)) for one in others],
        "unknown": unknown,
    }
    return Answer(data, _told(data), OK if verdict == "allow" else NOT_SO)


def _told(data: dict[str, Any]) -> list[str]:
    why = f"{data['origin']}: {data['rule']}" if data["rule"] else data["origin"] or "no rule matches"
    lines = [f"{data['verdict']}  {why}"]
    lines += [f"  not given, taken as unequal to everything: {name}" for name in data["unknown"]]
    for one in data["others"]:
        missed = f"missed {one['missed']}" if one["missed"] else "matches, overruled"
        lines.append(f"  {one['origin']}: {missed:24} {one['rule']}")
    return lines


def _explained(record: Record, rules: Sequence[Rule]) -> tuple[Explanation, list[str]]:
    properties, unknown = dict(record.properties), list[str]()
    while isinstance(answer := explain(rules, record.facts, properties), Undecided):
        properties[answer.property] = None
        unknown.append(answer.property)
    return answer, unknown


def _of_vm(args: argparse.Namespace) -> tuple[Rule, ...]:
    return _in_force([*args.rules, *([args.vm_rules] if args.vm_rules else [])])


def replay(args: argparse.Namespace) -> Answer:
    from openxt_rpcproxy.rules.replay import verdict_on

    rules, records = _in_force(args.rules), _records(args.recording)
    against = _in_force([args.against]) if args.against else None
    differences: dict[str, int] = {}
    allowed = 0
    for record in records:
        now = verdict_on(record, rules)
        before = verdict_on(record, against).verdict if against is not None else record.verdict
        allowed += now.verdict == "allow"
        if before is not None and before is not now.verdict:
            line = f"{before} → {now.verdict}  {_subject(record)}  {now.reason}"
            differences[line] = differences.get(line, 0) + 1
    summary = {"messages": len(records), "allowed": allowed, "denied": len(records) - allowed}
    data = {**summary, "differences": [{"text": text, "count": n} for text, n in differences.items()]}
    lines = [f"{count} × {text}" for text, count in differences.items()]
    lines.append(f"{len(records)} messages: {allowed} allowed, {len(records) - allowed} denied")
    return Answer(data, lines, NOT_SO if differences else OK)


def _subject(record: Record) -> str:
    facts = record.facts
    words = [f"{facts.direction}-{facts.kind} of domain {facts.source.domid}"]
    words += [f"{name} {facts.known[name]!r:.80}" for name in FACTS if name in facts.known]
    return " ".join(words)


def learn(args: argparse.Namespace) -> Answer:
    from openxt_rpcproxy.rules.learn import Width
    from openxt_rpcproxy.rules.learn import learn as learned_from

    width = Width(args.per_vm, args.paths, args.arguments)
    found = learned_from(_records(args.recording), _in_force(args.rules), width)
    texts = [rule.text for rule in found.rules]
    uncovered = list(dict.fromkeys(_subject(record) for record in found.uncovered))
    lines = [*texts, *(f"# no rule can name: {one}" for one in uncovered)]
    return Answer({"rules": texts, "uncovered": uncovered}, lines, NOT_SO if uncovered else OK)


def verify(args: argparse.Namespace) -> Answer:
    from openxt_rpcproxy.audit import START
    from openxt_rpcproxy.audit import verify as verified

    found = verified(args.logs)
    problems = list(found.problems)
    if args.last and found.last != args.last:
        problems.append(f"ends with {found.last}, not with {args.last}: lines are missing, or were added")
    begins = "" if found.first == START else f", goes on from {found.first}"
    lines = [*problems, f"{found.lines} lines follow each other{begins}; the last is {found.last}"]
    data = {"lines": found.lines, "problems": problems, "first": found.first, "last": found.last}
    return Answer(data, lines, NOT_SO if problems else OK)


def _ask(member: str, signature: str, body: Sequence[Any]) -> Sequence[Any]:
    from openxt_bus.blocking import BlockingBus

    return BlockingBus().call(RPC_PROXY_NAME, "/", RULES_INTERFACE, member, signature, body)


def _property(text: str) -> tuple[str, PropertyValue]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, {"true": True, "false": False}.get(value, value)


def _uuid(text: str) -> Uuid:
    try:
        return parse_uuid(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(error.text) from None


_RULES_HELP = "rules file"
_RECORDING_HELP = "lines of an audit log"


def parser(rules: Path) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("rpc-proxy-rules", description="Questions about the rules of rpc-proxy.")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], Answer], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    def with_rules(one: argparse.ArgumentParser) -> argparse.ArgumentParser:
        one.add_argument(
            "-r", "--rules", type=lambda text: [Path(text)], default=[rules], metavar="FILE", help=_RULES_HELP
        )
        return one

    def with_files(one: argparse.ArgumentParser) -> argparse.ArgumentParser:
        one.add_argument("rules", type=Path, nargs="*", default=[rules], metavar="FILE", help=_RULES_HELP)
        return one

    with_files(command("check", check, "whether rules can be read"))
    one = with_files(command("lint", lint, "rules that never decide, names that do not exist"))
    one.add_argument("--live", action="store_true", help="the rules in force")
    _add_message(with_rules(command("explain", explain_one, "why a message may pass, or not")))
    one = with_rules(command("replay", replay, "what becomes of recorded messages"))
    one.add_argument("--against", type=Path, metavar="FILE", help="compare with these, not with the record")
    one.add_argument("recording", type=Path, help=_RECORDING_HELP)
    one = with_rules(command("learn", learn, "the narrowest rules that let recorded messages pass"))
    one.add_argument("--per-vm", action="store_true", help="for the VM that said it")
    one.add_argument("--paths", action="store_true", help="for the object that was called")
    one.add_argument("--arguments", action="store_true", help="for the first argument, where recorded")
    one.add_argument("recording", type=Path, help=_RECORDING_HELP)
    one = command("verify", verify, "whether a chained audit log is whole")
    one.add_argument("--last", metavar="HASH", help="how it must end")
    one.add_argument("logs", type=Path, nargs="+", metavar="FILE", help="from old to new")
    return made


def _add_message(one: argparse.ArgumentParser) -> None:
    one.add_argument("--live", action="store_true", help="by the rules in force, for a running domain")
    one.add_argument("--vm-rules", type=Path, metavar="FILE", help="rules of the VM, after the others")
    one.add_argument("--domid", type=int, default=1, help="who says it (1)")
    one.add_argument("--uuid", type=_uuid, help="of the VM")
    one.add_argument("--stubdom", action="store_true", help="said by a stub domain")
    one.add_argument(
        "--vm", type=_property, action="append", default=[], metavar="NAME=VALUE", help="a property of the VM"
    )
    one.add_argument("--direction", choices=("inc", "out"), help="from the guest, or to it")
    one.add_argument("--type", choices=("method-call", "method-return", "error", "signal"), help="of message")
    one.add_argument("--about", metavar="INTERFACE", help="what a property call is about")
    for name in FACTS:
        one.add_argument(f"--{name}", metavar="TEXT", help="of the message")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser(Places.of(os.environ).rpc_rules).parse_args(argv)
    try:
        answer: Answer = args.run(args)
        print(json.dumps(answer.data, indent=2) if args.json else "\n".join(answer.lines), flush=True)
    except BrokenPipeError:
        sys.stdout = None  # whoever read has read enough; there is nothing to flush at the end
        return FAILED
    except (OpenxtError, OSError) as error:
        print(f"rpc-proxy-rules: {error}", file=sys.stderr)
        return FAILED
    return answer.status


if __name__ == "__main__":
    sys.exit(main())
