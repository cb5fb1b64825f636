from flask import Blueprint

blueprint = Blueprint("posts", __name__)


@blueprint.get("/")
def index() -> str:
    return "layout flask-package"
