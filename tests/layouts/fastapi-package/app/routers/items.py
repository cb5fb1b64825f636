from fastapi import APIRouter

router = APIRouter(prefix="/items")


@router.get("/")
async def list_items() -> list[str]:
    return ["lamp", "chair"]
