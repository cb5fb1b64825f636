import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    title: str = os.environ["CATALOGUE_TITLE"]
    database_url: str = os.environ["DATABASE_URL"]


settings = Settings()
