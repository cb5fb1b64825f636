from starlette.responses import JSONResponse
from starlette.routing import Route


async def index(request):
    return JSONResponse({"layout": "src-layout"})


routes = [Route("/", index)]
