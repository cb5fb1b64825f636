import starlette.applications as applications
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from .greeting import GREETING


async def index(request):
    return PlainTextResponse(GREETING)


def create_app(*, debug: bool = False) -> applications.Starlette:
    return applications.Starlette(debug=debug, routes=[Route("/", index)])
