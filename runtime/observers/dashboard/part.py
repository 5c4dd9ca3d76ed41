ABOUT = "A dashboard of a running stream in the browser."
CONTRACT = "Observer"
HEARS = ("stream",)
OPTIONS = "DashboardOptions"
NEEDS = ("runtime/observers/browser_page",)
REQUIRES = ("starlette", "uvicorn", "websockets")
EXTRA = "dashboard"
PAGE = "docs/dashboard.md"
