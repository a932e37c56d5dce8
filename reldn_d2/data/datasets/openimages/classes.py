"""Vocabulary of the relationships of OpenImages as of the challenges of 2018 and 2019: label -> name for people.

Classes and attributes go by their label, as in OpenImages' own lists; the attributes and predicates are in the order of
the official description files. "is", which joins an entity to an attribute, is no predicate here.
"""

# fmt: off
CLASSES = {
    "/m/01226z": "Football", "/m/01599": "Beer", "/m/01940j": "Backpack", "/m/0199g": "Bicycle",
    "/m/019w40": "Surfboard", "/m/01_5g": "Chopsticks", "/m/01bl7v": "Boy", "/m/01f91_": "Pretzel",
    "/m/01mzpv": "Chair", "/m/01s55n": "Suitcase", "/m/01y9k5": "Desk", "/m/01yrx": "Cat",
    "/m/026t6": "Drum", "/m/029bxz": "Oven", "/m/02hj4": "Dolphin", "/m/02jvh9": "Mug",
    "/m/02p5f1q": "Coffee cup", "/m/0342h": "Guitar", "/m/03bt1vf": "Woman", "/m/03k3r": "Horse",
    "/m/03m3pdh": "Sofa bed", "/m/03qrc": "Hamster", "/m/03ssj5": "Bed", "/m/04_sv": "Motorcycle",
    "/m/04bcr3": "Table", "/m/04ctx": "Knife", "/m/04dr76w": "Bottle", "/m/04yx4": "Man",
    "/m/050k8": "Mobile phone", "/m/0584n8": "Briefcase", "/m/05_5p_0": "Table tennis racket",
    "/m/05ctyq": "Tennis ball", "/m/05r5c": "Piano", "/m/05r655": "Girl", "/m/06__v": "Snowboard",
    "/m/071p9": "Ski", "/m/078jl": "Snake", "/m/078n6m": "Coffee table", "/m/07y_7": "Violin",
    "/m/080hkjn": "Handbag", "/m/08pbxl": "Monkey", "/m/09tvcd": "Wine glass", "/m/0bt9lr": "Dog",
    "/m/0bwd_0j": "Elephant", "/m/0cmx8": "Spoon", "/m/0cvnqh": "Bench", "/m/0dt3t": "Fork",
    "/m/0dv5r": "Camera", "/m/0dv9c": "Racket", "/m/0fx9l": "Microwave oven", "/m/0h2r6": "Van",
    "/m/0h8my_4": "Tennis racket", "/m/0hg7b": "Microphone", "/m/0k4j": "Car", "/m/0l14j_": "Flute",
    "/m/0pg52": "Taxi", "/m/0wdt60w": "Rugby ball",
}

ATTRIBUTES = {
    "/m/02gy9n": "Transparent", "/m/05z87": "Plastic", "/m/0dnr7": "(made of)Textile",
    "/m/04lbp": "(made of)Leather", "/m/083vt": "Wooden",
}
# fmt: on

PREDICATES = ("at", "on", "holds", "plays", "interacts_with", "wears", "inside_of", "under", "hits")

# The relation of an entity to its attribute.
ATTRIBUTE_RELATION = "is"
