"""The catalogue's API."""

from fastapi import FastAPI

from app.config import settings
from app.routers import items


def create_app() -> FastAPI:
    application = FastAPI(title=settings.title)
    application.include_router(items.router)
    return application


app = create_app()


@app.get("/")
async def index():
    return {"layout": settings.title}
