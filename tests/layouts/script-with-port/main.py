"""A service that is only ever started as `python main.py`."""

import os

import uvicorn

from service import build

PORT = int(os.getenv("SERVICE_PORT", "9100"))


def main() -> None:
    uvicorn.run(build("layout script-with-port"), host="127.0.0.1", port=PORT)


if __name__ == "__main__":
    main()
