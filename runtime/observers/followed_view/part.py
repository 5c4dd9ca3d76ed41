ABOUT = "`--follow`: a second row of the network sees a small figure enlarged, which a view of its own follows."
CONTRACT = "Observer"
HEARS = ("framing",)
OPTIONS = "FollowOptions"
PAGE = "docs/follow.md"
