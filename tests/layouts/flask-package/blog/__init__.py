from flask import Flask


def create_app(config: str | None = None) -> Flask:
    app = Flask(__name__)
    if config:
        app.config.from_pyfile(config)

    from . import posts

    app.register_blueprint(posts.blueprint)
    return app
