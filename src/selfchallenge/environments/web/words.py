"""Words that generated sites are made of: our own, none of them from the benchmark's site."""

FIRST = (
    "Amber", "Birch", "Brass", "Clover", "Cobalt", "Drift", "Ember", "Fern", "Gable", "Heron",
    "Indigo", "Juniper", "Kestrel", "Larch", "Marlow", "North", "Osprey", "Pebble", "Quill",
    "Rowan", "Saffron", "Tansy", "Umber", "Vesper", "Willow",
)  # fmt: skip
SECOND = ("Anchor", "Bridge", "Cove", "Gate", "Harbour", "Hill", "Mill", "Row", "Square", "Yard")
FORM = ("Brothers", "Company", "Goods", "Outfitters", "Supply", "Trading", "Works")
TOWNS = ("Aldbrook", "Carrow", "Dunmere", "Eastholm", "Fallow Bay", "Grimsfold", "Hollins Ferry")

SINGULAR = {
    "Backpacks": "Backpack",
    "Blankets": "Blanket",
    "Clocks": "Clock",
    "Kettles": "Kettle",
    "Lanterns": "Lantern",
    "Notebooks": "Notebook",
    "Planters": "Planter",
    "Teapots": "Teapot",
    "Telescopes": "Telescope",
    "Umbrellas": "Umbrella",
}
CATEGORIES = tuple(SINGULAR)
ADJECTIVES = (
    "Alpine", "Autumn", "Bamboo", "Bronze", "Canvas", "Coastal", "Copper", "Dusky", "Enamel",
    "Folding", "Garden", "Highland", "Ivory", "Linen", "Midnight", "Mossy", "Nordic", "Painted",
    "Pocket", "Quiet", "Roving", "Slate", "Striped", "Travel", "Velvet", "Walnut", "Winter",
)  # fmt: skip
DEPARTMENTS = ("Accounts", "Design", "Dispatch", "Purchasing", "Repairs", "Workshop")
TOPICS = ("Behind the Scenes", "Care and Repair", "From the Workshop", "Interviews", "Seasons")
OPENINGS = (
    "A Short History of", "An Evening with", "Five Questions about", "How We Test",
    "Notes on", "The Trouble with", "Thinking about", "What Nobody Says of",
)  # fmt: skip
MATTERS = (
    "Colour", "Dust", "Glue", "Good Packing", "Old Tools", "Patience", "Rust", "Small Parts",
    "Spring Cleaning", "String", "Waste", "Winter Light",
)  # fmt: skip
MOTTOES = (
    "Made to be used, and mended when it breaks.",
    "Plain things that last.",
    "We sell what we would keep.",
    "For the house, the garden and the road.",
)
PRAISES = (
    "Takes a knock and looks the better for it.",
    "A favourite of everybody who has one.",
    "Quietly good, year after year.",
    "Comes in a box that is worth keeping.",
    "Small batches, made by hand.",
)
SENTENCES = (
    "We asked around the house and wrote down what was said.",
    "It began with a letter from a customer.",
    "There is more to it than we had thought.",
    "Some of this we learned the hard way.",
)
