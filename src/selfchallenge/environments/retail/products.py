"""What the generated shop sells: fifty products of our own, each with its options and a price."""

from __future__ import annotations

_LINES = """
Acoustic Guitar | 189 | body: concert, dreadnought, travel | wood: spruce, cedar, mahogany | strings: steel, nylon
Aquarium | 129 | volume: 20 litres, 60 litres, 120 litres | shape: cube, panorama | lid: open, closed
Baby Stroller | 239 | seat: single, double | color: sand, slate, moss | brake: hand, foot
Balance Board | 59 | surface: cork, rubber | diameter: 40 cm, 45 cm | color: natural, black
Bath Towel Set | 44 | pieces: 3, 6 | fabric: cotton, bamboo, linen | color: white, teal, clay
Beehive Kit | 164 | frames: 8, 10 | wood: pine, cedar | roof: flat, gabled
Bird Feeder | 32 | mount: pole, window, hanging | capacity: 1 kg, 2 kg | color: green, copper
Board Game | 39 | players: 2, 4, 6 | theme: harbour, orchard, railway | language: English, Spanish
Bread Maker | 112 | loaf: 500 g, 750 g, 1 kg | color: white, graphite | timer: yes, no
Camp Stove | 74 | burners: 1, 2 | fuel: gas, spirit, wood | color: olive, orange
Camping Tent | 199 | persons: 2, 4, 6 | seasons: three, four | color: olive, orange, sky
Car Seat Cover | 48 | material: mesh, felt, leather | color: black, tan | rows: front, all
Ceiling Fan | 134 | blades: 3, 4, 5 | finish: brass, walnut, white | remote: yes, no
Chess Set | 66 | board: folding, solid, magnetic | wood: maple, walnut | size: 30 cm, 40 cm
Climbing Rope | 118 | length: 40 m, 60 m, 80 m | diameter: 9 mm, 10 mm | color: red, lime
Cutlery Set | 79 | pieces: 16, 24, 40 | finish: matte, polished, gold | box: yes, no
Dartboard | 54 | type: bristle, magnetic | cabinet: none, oak, pine | darts: 3, 6
Dehumidifier | 148 | tank: 2 litres, 4 litres | noise: normal, quiet | color: white, grey
Dog Harness | 29 | size: S, M, L, XL | color: red, navy, khaki | reflective: yes, no
Drawing Tablet | 86 | area: small, medium, large | pen: wired, wireless | color: black, mint
Easel | 57 | type: table, tripod, studio | wood: beech, pine | height: 140 cm, 180 cm
Fishing Rod | 92 | length: 2.1 m, 2.7 m, 3.6 m | action: slow, medium, fast | pieces: 2, 4
Foam Roller | 24 | length: 30 cm, 45 cm, 90 cm | density: soft, firm | color: grey, coral
Folding Bike Lock | 51 | length: 75 cm, 90 cm | lock: key, code | color: black, yellow
Food Dehydrator | 97 | trays: 5, 8, 10 | timer: yes, no | material: plastic, steel
Hammock | 62 | width: single, double | fabric: cotton, parachute | color: stripe, indigo, sage
Hand Mixer | 42 | speeds: 3, 5, 7 | color: white, red, navy | case: yes, no
Headlamp | 36 | brightness: 200 lumen, 400 lumen, 900 lumen | battery: AAA, rechargeable | color: black, orange
Herb Garden | 47 | pots: 3, 5, 9 | light: none, LED | color: white, terracotta
Ice Skates | 83 | size: 37, 39, 41, 43 | type: figure, hockey | color: white, black
Keyboard Stand | 38 | legs: X, Z | width: narrow, wide | color: black, silver
Kite | 27 | shape: delta, box, stunt | span: 1.2 m, 1.8 m | color: rainbow, red, blue
Letterbox | 58 | mount: wall, post | lock: key, code | color: anthracite, red, brass
Loom | 104 | width: 30 cm, 50 cm, 70 cm | type: rigid, table | wood: beech, birch
Microscope | 156 | magnification: 400x, 1000x, 2000x | head: single, double | light: mirror, LED
Model Railway | 178 | gauge: N, H0, TT | track: oval, figure eight | control: analogue, digital
Music Box | 34 | tune: waltz, lullaby, march | wood: cherry, walnut | drawer: yes, no
Paper Shredder | 88 | cut: strip, cross, micro | bin: 12 litres, 20 litres | color: black, white
Picnic Basket | 69 | persons: 2, 4, 6 | material: willow, canvas | color: natural, navy
Plant Stand | 41 | tiers: 1, 3, 5 | material: bamboo, iron, oak | color: natural, black
Pottery Wheel | 212 | drive: belt, direct | pedal: yes, no | basin: fixed, removable
Rain Barrel | 93 | volume: 100 litres, 200 litres, 300 litres | shape: round, flat | color: green, stone
Record Player | 174 | drive: belt, direct | speeds: 2, 3 | color: black, walnut, white
Rowing Machine | 329 | resistance: air, water, magnetic | folding: yes, no | color: ash, black
Sewing Machine | 187 | stitches: 12, 60, 200 | control: dial, screen | color: white, lilac
Sleeping Bag | 94 | comfort: 10 C, 0 C, -10 C | filling: down, synthetic | zip side: left, right
Snow Shovel | 31 | blade: steel, plastic | width: 40 cm, 50 cm | handle: straight, bent
Telescope | 268 | aperture: 70 mm, 90 mm, 130 mm | mount: azimuth, equatorial | tripod: wood, steel
Tool Chest | 142 | drawers: 5, 7, 9 | wheels: yes, no | color: red, grey
Weather Station | 76 | sensors: 1, 3, 5 | display: colour, plain | network: none, wifi
"""  # noqa: E501 - a product a line

Options = dict[str, tuple[str, ...]]


def catalogue() -> list[tuple[str, float, Options]]:
    """Name, usual price and options of every product."""
    return [_product(line) for line in _LINES.strip().splitlines()]


def _product(line: str) -> tuple[str, float, Options]:
    name, price, *options = (part.strip() for part in line.split(" | "))
    pairs = (option.split(": ", 1) for option in options)
    return name, float(price), {key: tuple(values.split(", ")) for key, values in pairs}
