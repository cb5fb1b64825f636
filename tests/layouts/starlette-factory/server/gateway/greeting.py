GREETING = "layout starlette-factory"
