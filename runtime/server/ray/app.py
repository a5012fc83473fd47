"""A Ray Serve application: one front with the HTTP endpoints, and a deployment for each worker."""

from dataclasses import replace
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from starlette.types import Receive, Scope, Send

from ...model import BUNDLED
from ..http.app import make_app
from ..http.options import Options
from ..http.run import assembled
from ..worker.options import WorkerOptions
from .device import Device
from .spread import Spread

MANY = 1 << 16  # requests at once, which the workers' queues bound


class Arguments(BaseModel):
    """`serve run vkrun.serve.ray:app name=value ...`. gpus: of each worker, as Ray counts them; hosts: names with
    commas between them, under which the server may be called beside loopback's."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = str(BUNDLED)
    alias: str | None = None
    replicas: int = Field(1, ge=1, le=256)
    gpus: float = Field(0.0, ge=0.0)
    backend: str | None = None
    device: str | None = None
    n_ctx: int = 4096
    n_seqs: int = 4
    api_key: str | None = None
    hosts: str = ""


class _Asgi:
    """Passes requests on to the front that runs in this replica."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        front: Any = serve.get_replica_context().servable_object
        await front.spread.begin()
        await front.asgi(scope, receive, send)


async def _live(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})


@serve.ingress(_Asgi())
class Front:
    """handles: of the workers' deployments."""

    def __init__(self, arguments: Arguments, options: WorkerOptions, *handles: Any) -> None:
        keys = (arguments.api_key,) if arguments.api_key else ()
        hosts = tuple(filter(None, arguments.hosts.split(",")))
        how = Options(keys=keys, hosts=hosts, metrics=True)
        self.spread = Spread(handles)
        self.asgi = make_app(assembled(arguments.alias, how, options, make=lambda _: cast(Any, self.spread)))


def app(args: Arguments) -> Application:
    """What `serve run` and configuration files start."""
    options = WorkerOptions(args.model, args.backend, args.device, args.n_ctx, args.n_seqs)
    resources = {"num_cpus": 1, "num_gpus": args.gpus}
    device = serve.deployment(max_ongoing_requests=MANY, ray_actor_options=resources)(Device)
    devices = [device.options(name=f"worker-{i}").bind(options) for i in range(args.replicas)]
    front = serve.deployment(name="front", max_ongoing_requests=MANY, ray_actor_options={"num_cpus": 0})(Front)
    return front.bind(args, replace(options, n_replicas=args.replicas), *devices)


__all__ = ["Arguments", "app"]
