ABOUT = "The page of the dashboard, and the style that exported web pages share with it."
CONTRACT = "Observer"
PAGE = "docs/dashboard.md"
