"""What a scene can show: 126 pictures of the Noto Color Emoji font, by their CLDR short names."""

GROUPS = {
    "faces": {
        "grinning face": "😀", "smiling face with sunglasses": "😎", "loudly crying face": "😭", "enraged face": "😡",
        "clown face": "🤡", "ghost": "👻", "skull": "💀", "alien": "👽", "robot": "🤖",
    },
    "hearts": {
        "red heart": "❤", "orange heart": "🧡", "yellow heart": "💛", "green heart": "💚", "blue heart": "💙",
        "purple heart": "💜", "broken heart": "💔",
    },
    "animals": {
        "dog face": "🐶", "cat face": "🐱", "mouse face": "🐭", "rabbit face": "🐰", "fox": "🦊", "bear": "🐻",
        "panda": "🐼", "koala": "🐨", "tiger face": "🐯", "lion": "🦁", "cow face": "🐮", "pig face": "🐷",
        "frog": "🐸", "monkey face": "🐵", "chicken": "🐔", "penguin": "🐧", "baby chick": "🐤", "duck": "🦆",
        "owl": "🦉", "wolf": "🐺", "unicorn": "🦄", "honeybee": "🐝", "butterfly": "🦋", "snail": "🐌",
        "lady beetle": "🐞", "turtle": "🐢", "snake": "🐍", "octopus": "🐙", "crab": "🦀", "dolphin": "🐬",
        "spouting whale": "🐳", "fish": "🐟", "elephant": "🐘",
    },
    "plants": {
        "cactus": "🌵", "evergreen tree": "🌲", "palm tree": "🌴", "four leaf clover": "🍀", "maple leaf": "🍁",
        "mushroom": "🍄", "sunflower": "🌻", "tulip": "🌷", "rose": "🌹", "cherry blossom": "🌸",
    },
    "food": {
        "red apple": "🍎", "green apple": "🍏", "pear": "🍐", "lemon": "🍋", "banana": "🍌", "watermelon": "🍉",
        "grapes": "🍇", "strawberry": "🍓", "cherries": "🍒", "peach": "🍑", "pineapple": "🍍", "avocado": "🥑",
        "eggplant": "🍆", "carrot": "🥕", "ear of corn": "🌽", "tomato": "🍅", "bread": "🍞", "cheese wedge": "🧀",
        "hamburger": "🍔", "french fries": "🍟", "pizza": "🍕", "hot dog": "🌭", "soft ice cream": "🍦",
        "doughnut": "🍩", "cookie": "🍪", "birthday cake": "🎂", "lollipop": "🍭", "egg": "🥚",
    },
    "vehicles": {
        "automobile": "🚗", "taxi": "🚕", "bus": "🚌", "fire engine": "🚒", "tractor": "🚜", "bicycle": "🚲",
        "motor scooter": "🛵", "locomotive": "🚂", "airplane": "✈", "rocket": "🚀", "helicopter": "🚁",
        "sailboat": "⛵",
    },
    "things": {
        "camera": "📷", "light bulb": "💡", "closed book": "📕", "wrapped gift": "🎁", "balloon": "🎈",
        "soccer ball": "⚽", "basketball": "🏀", "guitar": "🎸", "drum": "🥁", "trumpet": "🎺", "key": "🔑",
        "bell": "🔔", "crown": "👑", "running shoe": "👟", "umbrella": "☂", "house": "🏠", "alarm clock": "⏰",
        "telephone": "☎", "trophy": "🏆",
    },
    "sky": {
        "star": "⭐", "rainbow": "🌈", "fire": "🔥", "snowflake": "❄", "sun": "☀", "crescent moon": "🌙",
        "droplet": "💧", "snowman": "☃",
    },
}  # fmt: skip

CONCEPTS = {name: character for group in GROUPS.values() for name, character in group.items()}
