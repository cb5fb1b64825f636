import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from store import Store

app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=["http://localhost:5174"])
store = Store("monorepo-vite backend")


@app.get("/")
def index():
    return {"layout": store.name}


if __name__ == "__main__":
    uvicorn.run("main:app", host="127.0.0.1", port=8080, reload=True)
