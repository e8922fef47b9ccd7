# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus faces of the proxy: questions about rules, and who is behind a connection.

Questions about a domain use the same rules and the same facts as its messages do.
"""

from openxt_api.rpc_proxy import RpcProxy
from openxt_api.rpc_proxy_identity import RpcProxyIdentity
from openxt_core.ids import Domid
from openxt_core.spec import Call
from openxt_rpcproxy.rules.model import Direction, Facts, Kind, Verdict
from openxt_rpcproxy.rules.sources import RuleSources
from openxt_rpcproxy.server import Server


class RpcProxyObject(RpcProxy):
    """com.citrix.xenclient.rpc_proxy at /."""

    def __init__(self, call: Call, server: Server, sources: RuleSources) -> None:
        super().__init__(call)
        self._server = server
        self._sources = sources

    async def validate_call(self, domain: int, destination: str, interface: str, member: str) -> bool:
        known = {"destination": destination, "interface": interface, "member": member}
        return await self._may(domain, Direction.INCOMING, Kind.CALL, known)

    async def validate_send_signal(self, domain: int, interface: str, member: str) -> bool:
        known = {"interface": interface, "member": member}
        return await self._may(domain, Direction.INCOMING, Kind.SIGNAL, known)

    async def validate_recv_signal(self, domain: int, interface: str, member: str) -> bool:
        known = {"interface": interface, "member": member}
        return await self._may(domain, Direction.OUTGOING, Kind.SIGNAL, known)

    async def _may(self, domain: int, direction: Direction, kind: Kind, known: dict[str, str]) -> bool:
        """A domain that has no uuid may say nothing."""
        source = await self._server.source_of(Domid(domain))
        if source.uuid is None:
            return False
        decision = await self._server.gate(source).ask(Facts(direction, kind, source, known))
        return decision.verdict is Verdict.ALLOW

    def list_rules(self) -> list[str]:
        return [rule.text for rule in self._sources.known()]

    def add_rule(self, rule: str) -> None:
        self._sources.add(rule)

    def delete_rule(self, rule: str) -> None:
        self._sources.delete(rule)


class IdentityObject(RpcProxyIdentity):
    """com.citrix.xenclient.rpc_proxy.identity at /, for services on a bus that knows no domains."""

    def __init__(self, call: Call, server: Server) -> None:
        super().__init__(call)
        self._server = server

    def get_connection_domid(self, name: str) -> int:
        return self._server.domid_of(name)
