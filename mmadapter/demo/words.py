"""Word lists for the question families."""


def listed(line: str, separator: str | None = None) -> tuple[str, ...]:
    """Split a line into words, or into phrases between separators."""
    return tuple(line.split(separator))


NAMES = listed(
    "Ada Ana Ben Carl Cora Dan Dina Eli Emma Eva Finn Gus Hana Ian Ida Ivan Jack Jen Juan Kate "
    "Kim Lena Leo Lily Luis Maya Mia Nina Noah Nora Omar Oscar Paul Rosa Ruth Sam Sara Tom Vera Will"
)

PLACES = listed(
    "Arlen Bolton Cadiz Delft Elmira Faro Galway Hilo Ithaca Jaffa Kiruna Leon Malmo Nome Oslo Porto "
    "Quito Riga Selma Turin Utica Varna Wells York"
)

DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

COLORS = {
    "red": "#c8322b",
    "blue": "#2f62c4",
    "green": "#2f8f46",
    "yellow": "#e3b51d",
    "purple": "#8040a8",
    "orange": "#e67a1f",
}
"""Colors by name."""

CAPITALS = {
    "Alabama": "Montgomery", "Alaska": "Juneau", "Arizona": "Phoenix", "Arkansas": "Little Rock",
    "California": "Sacramento", "Colorado": "Denver", "Connecticut": "Hartford", "Delaware": "Dover",
    "Florida": "Tallahassee", "Georgia": "Atlanta", "Hawaii": "Honolulu", "Idaho": "Boise",
    "Illinois": "Springfield", "Indiana": "Indianapolis", "Iowa": "Des Moines", "Kansas": "Topeka",
    "Kentucky": "Frankfort", "Louisiana": "Baton Rouge", "Maine": "Augusta", "Maryland": "Annapolis",
    "Massachusetts": "Boston", "Michigan": "Lansing", "Minnesota": "Saint Paul", "Mississippi": "Jackson",
    "Missouri": "Jefferson City", "Montana": "Helena", "Nebraska": "Lincoln", "Nevada": "Carson City",
    "New Hampshire": "Concord", "New Jersey": "Trenton", "New Mexico": "Santa Fe", "New York": "Albany",
    "North Carolina": "Raleigh", "North Dakota": "Bismarck", "Ohio": "Columbus", "Oklahoma": "Oklahoma City",
    "Oregon": "Salem", "Pennsylvania": "Harrisburg", "Rhode Island": "Providence",
    "South Carolina": "Columbia", "South Dakota": "Pierre", "Tennessee": "Nashville", "Texas": "Austin",
    "Utah": "Salt Lake City", "Vermont": "Montpelier", "Virginia": "Richmond", "Washington": "Olympia",
    "West Virginia": "Charleston", "Wisconsin": "Madison", "Wyoming": "Cheyenne",
}  # fmt: skip

MATTER = {
    "solid": listed("brick coin fork key stone spoon bolt plate ring nail shell bone cup pencil button"),
    "liquid": listed("milk water tea juice honey rain ink oil vinegar coffee syrup gasoline"),
    "gas": listed("air helium oxygen steam nitrogen hydrogen methane neon"),
}

ANIMALS = {
    "mammal": listed("horse whale bat mouse lion goat otter seal rabbit camel"),
    "bird": listed("eagle robin goose penguin parrot duck crow stork pigeon ostrich"),
    "fish": listed("tuna salmon shark trout eel carp cod herring"),
    "reptile": listed("lizard turtle gecko crocodile iguana cobra viper tortoise"),
    "insect": listed("ant bee moth wasp cricket beetle fly butterfly"),
}

SPEECH = {
    "noun": listed("table river song garden window letter bridge castle pillow engine ladder mirror"),
    "verb": listed("carry begin listen remember arrive explain invite forget gather destroy choose behave"),
    "adjective": listed("gentle narrow honest purple wooden hungry ancient clumsy lazy famous fragile tidy"),
    "adverb": listed("slowly often never loudly quickly gently always rarely neatly seldom softly soon"),
}

SYNONYMS = {
    "happy": "glad", "big": "large", "fast": "quick", "start": "begin", "sad": "gloomy", "smart": "clever",
    "shut": "close", "hard": "difficult", "rich": "wealthy", "brave": "bold", "quiet": "silent",
    "angry": "furious", "tired": "weary", "odd": "strange", "home": "house", "gift": "present",
    "choose": "pick", "jump": "leap", "shout": "yell", "repair": "fix", "trip": "journey", "scared": "afraid",
    "rock": "boulder", "ill": "sick", "thin": "slender", "wet": "damp", "woods": "forest", "error": "mistake",
    "street": "road", "child": "kid",
}  # fmt: skip

ANTONYMS = {
    "up": "down", "early": "late", "empty": "full", "hot": "cold", "wide": "narrow", "rough": "smooth",
    "win": "lose", "heavy": "light", "near": "far", "push": "pull", "open": "shut", "deep": "shallow",
    "dark": "bright", "old": "young", "give": "take", "laugh": "cry", "rise": "fall", "weak": "strong",
    "true": "false", "north": "south",
}  # fmt: skip

GOODS = listed(
    "a chair/a bicycle/a loaf of bread/a pair of boots/a lamp/a sweater/a bag of rice/a guitar/a hammer/a book"
    "/a basket/a clock",
    separator="/",
)

SERVICES = listed(
    "a haircut/a taxi ride/a piano lesson/a dental checkup/a car wash/a bus trip/a house painting/a guided tour"
    "/a phone repair/a swim class/a mail delivery/a massage",
    separator="/",
)
