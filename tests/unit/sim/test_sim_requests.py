# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a client sends, the simulated xenstored answers each request once and stays whole."""

from hypothesis import given
from hypothesis import strategies as st
from sim_bench import Bench

from openxt_core.ids import Domid
from openxt_sim.requests import OPERATIONS, handle
from openxt_xen.xenstore.wire import ERRORS, PAYLOAD_MAX, Op, Packet

_PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "a", "@releaseDomain", "", "//", "/local/domain/1/x"])
_WORDS = st.one_of(
    _PATHS, st.sampled_from(["T", "F", "0", "1", "2", "-1", "n0", "r1", "b1", "w99"]), st.text(max_size=5)
)
_PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.lists(_WORDS, max_size=4).map(lambda words: "\0".join([*words, ""]).encode()),
    st.lists(_WORDS, max_size=4).map(lambda words: "\0".join(words).encode()),
)
_PACKETS = st.builds(
    Packet,
    op=st.one_of(st.sampled_from(list(Op)), st.integers(0, 30), st.integers(0, 2**32 - 1)),
    payload=_PAYLOADS,
    req_id=st.integers(0, 2**32 - 1),
    tx_id=st.sampled_from([0, 0, 0, 1, 2, 3, 2**32 - 1]),
)


@given(st.lists(st.tuples(st.integers(0, 2), _PACKETS), max_size=30))
def test_any_request_gets_exactly_one_answer(requests: list[tuple[int, Packet]]) -> None:
    bench = Bench()
    domid = bench.start()
    peers = [bench.dom0, bench.host.store.connect(), bench.guest(domid)]
    for number, packet in requests:
        peer = peers[number]
        was_open = peer.is_open
        handle(bench.host.store, peer, packet)
        answers = [answer for answer in peer.outbox if answer.op != Op.WATCH_EVENT]
        if was_open:
            assert len(answers) == 1
            assert answers[0].req_id == packet.req_id
            assert answers[0].op in (packet.op, Op.ERROR)
            if answers[0].op == Op.ERROR and packet.op != Op.ERROR:
                assert answers[0].payload.rstrip(b"\0").decode() in ERRORS
        assert all(len(answer.payload) <= PAYLOAD_MAX for answer in peer.outbox)
        for each in peers:
            each.outbox.clear()
        bench.host.pump()
    check_tree(bench)


def check_tree(bench: Bench) -> None:
    """Each listed child exists, each node is listed, and the counts of owners are right."""
    tree = bench.host.store.tree
    reached = dict(tree.walk("/", None))
    assert reached.keys() == tree._nodes.keys()
    counted: dict[Domid, int] = {}
    for node in reached.values():
        owner = node.permissions[0].domid
        counted[owner] = counted.get(owner, 0) + 1
    assert {domid: count for domid, count in tree.owned.items() if count} == counted


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "rm", "read", "begin", "commit", "abort"]),
        st.sampled_from(["/a", "/a/b", "/a/c", "/a/b/d", "/e"]),
        st.booleans(),
    ),
    max_size=25,
)


@given(_STEPS)
def test_a_commit_that_succeeds_gives_what_the_steps_alone_would_give(
    steps: list[tuple[str, str, bool]],
) -> None:
    """Serialisability: replay the outside steps, then all inside ones at the commit; the trees are equal."""
    bench, plain = Bench(), Bench()
    inside: list[tuple[Op, bytes]] = []
    tx = 0
    for number, (word, path, in_tx) in enumerate(steps):
        payload = f"{path}\0".encode()
        if word == "begin" and not tx:
            tx = int(bytes(bench.ask(bench.dom0, Op.TRANSACTION_START, b"\0")).rstrip(b"\0"))
        elif word in ("commit", "abort") and tx:
            answer = bench.ask(bench.dom0, Op.TRANSACTION_END, b"T\0" if word == "commit" else b"F\0", tx)
            if word == "commit" and answer == b"OK\0":
                for op, text in inside:
                    plain.ask(plain.dom0, op, text)
            tx, inside = 0, []
        elif word in ("write", "rm", "read"):
            op = Op[word.upper()]
            text = payload + (f"{number}".encode() if op is Op.WRITE else b"")
            bench.ask(bench.dom0, op, text, tx if in_tx else 0)
            if tx and in_tx:
                inside.append((op, text))
            else:
                plain.ask(plain.dom0, op, text)
    assert contents(bench) == contents(plain)
    check_tree(bench)


def contents(bench: Bench) -> dict[str, tuple[bytes, frozenset[str]]]:
    tree = bench.host.store.tree
    return {path: (node.value, frozenset(node.children)) for path, node in tree.walk("/", None)}


def test_every_operation_of_the_protocol_is_known() -> None:
    assert set(OPERATIONS) == set(Op) - {Op.WATCH, Op.WATCH_EVENT, Op.ERROR}
