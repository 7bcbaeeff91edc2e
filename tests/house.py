"""The floors of the house, bottom up. A room imports itself and the floors below its own."""

FLOORS = (
    # The ground: modules that stand alone and may import each other; their tests are in `ground`.
    ("", "errors", "identity", "discovery", "section", "wording", "version", "ground"),
    ("results",),
    ("learning",),
    ("data", "networks"),
    ("study",),
    ("specs",),
    ("devices",),
    ("plan", "training"),
    ("statistics",),
    ("evidence", "jobs", "search"),
    ("beforehand",),
    ("report", "upkeep", "sketch"),
    ("shipping", "selfcheck"),
    ("workflow",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
# What runs on a head node, and what runs in a job: neither imports the other.
APART = (
    {"study", "plan", "evidence", "beforehand", "search", "report", "upkeep"},
    {"training", "jobs"},
)
# Each file of these folders is one thing of one kind, so they may hold as many as they like.
LISTED = {
    *("methods", "families", "sets", "augmentations", "checks"),
    *("tables", "figures", "claims", "commands", "trackers"),
}
