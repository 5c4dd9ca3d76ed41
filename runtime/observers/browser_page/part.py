ABOUT = "The page of the dashboard, and the look that pages of networks share with it."
CONTRACT = "Observer"
PAGE = "docs/dashboard.md"
