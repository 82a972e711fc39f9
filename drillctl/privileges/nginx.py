"""The programs that a gateway of every kind of nginx needs, and what the kind `nginx-passive` needs: no more (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway import access_log as log
from drillctl.gateway import adoption
from drillctl.gateway import nginx_scripts as nginx
from drillctl.privileges.argument import NUMBER, exactly
from drillctl.privileges.program import Needs, Program, plain

if TYPE_CHECKING:
    from drillctl.inventory import Nginx, NginxPassive


def to_look(gateway: Nginx) -> list[Program]:
    """Return the programs that read the config and the access log, and test the config; they change nothing."""
    live, access_log = exactly(gateway.config), exactly(gateway.access_log)
    return [
        plain("gateway-test", "test nginx's config", gateway.test),
        Program("gateway-read", "show the gateway's config", nginx.READ, ((live,),)),
        Program(
            "gateway-adopted",
            "say whether the original of an adopted config is kept",
            adoption.SUMS,
            ((exactly(adoption.kept_of(gateway.config)),),),
        ),
        Program("gateway-log-position", "say how long the access log is", nginx.LOG_POSITION, ((access_log,),)),
        Program(
            "gateway-log-since",
            "show what the access log gained",
            nginx.LOG_SINCE,
            ((access_log, NUMBER, NUMBER, exactly(str(log.MOST_BYTES))),),
        ),
    ]


def facts(gateway: Nginx) -> Program:
    """Return the program that says what is in place and who serves."""
    words = (exactly(gateway.config), exactly(gateway.pidfile), exactly(gateway.error_log))
    return Program("gateway-facts", "say what is in place and who serves", nginx.FACTS, (words,))


def files(gateway: Nginx) -> tuple[str, ...]:
    """Return the files that root reads."""
    return (gateway.config, gateway.access_log, gateway.error_log, gateway.pidfile)


def passive(gateway: NginxPassive) -> Needs:
    """Return what the kind `nginx-passive` needs: nothing is switched, so nothing can be either."""
    # A drill registers what it stages, and here that is nothing.
    return Needs(tuple(to_look(gateway)), ((exactly("gateway.discard"),),), files(gateway), (gateway.config,))
