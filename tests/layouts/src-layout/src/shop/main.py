from starlette.applications import Starlette

from shop.routes import routes

app: Starlette = Starlette(routes=routes)
