from fastapi import FastAPI

app = FastAPI(title="Notes")


@app.get("/")
def index() -> dict[str, str]:
    return {"layout": "fastapi-single-file"}


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
