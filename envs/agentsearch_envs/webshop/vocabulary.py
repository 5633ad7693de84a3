"""Words of the generated shop: product types, attribute phrases, options and what people say.

Everything is written for this project; brands are built from syllables. An attribute phrase
has one role, which says where it can stand: `easy clean` before a noun, `rubber sole` after
`with`, `dry skin` after `for`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One product type.

    Attributes:
        query: the plural name that the shop files the type under.
        path: names from the general to the special, separated by ` › `.
        nouns: what titles call the product.
        uses: parts of titles such as `for Women`.
        styles: adjectives that mean nothing to the reward.
        options: group name and name in `VALUES` of the groups that the type may offer.
        attributes: phrases that may hold of the product.
        price: dollars, the band of a family's usual price.
    """

    query: str
    category: str
    path: str
    nouns: tuple[str, ...]
    uses: tuple[str, ...]
    styles: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    attributes: tuple[str, ...]
    price: tuple[float, float]


def words(text: str) -> tuple[str, ...]:
    """The parts of a list written with commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


BEFORE = words("""
    machine wash, hand wash, slim fit, loose fit, regular fit, relaxed fit, classic fit,
    officially licensed, moisture wicking, quick drying, wrinkle free, high waist, low rise,
    straight leg, wide leg, open toe, closed toe, slip resistant, anti slip, non slip,
    water resistant, winter warm, day comfort, light weight, heavy duty, high quality,
    easy use, easy apply, easy clean, easy carry, easy install, easy assemble, easy prepare,
    long lasting, eco friendly, non toxic, bpa free, lead free, leak proof,
    cruelty free, paraben free, sulfate free, alcohol free, fragrance free, oil free,
    silicone free, fluoride free, aluminum free, anti aging, clinically proven,
    dermatologist tested, travel size, double sided, highly pigmented, rust proof,
    gluten free, dairy free, sugar free, nut free, soy free, fat free, grain free,
    lactose free, caffeine free, non gmo, low carb, low sodium, low calorie, low fat,
    high protein, keto friendly, plant based, certified organic, kosher certified,
    individually wrapped, ready eat, ready use, shelf stable, freeze dried, small batch,
    hand crafted, old fashioned, fair trade, cold pressed, wild caught, non alcoholic,
    high speed, high definition, ultra hd, high resolution, high power, high performance,
    fast charging, gold plated, plug play, hands free, noise cancelling, wireless bluetooth,
    dust proof, shock proof, scratch resistant, batteries included, energy efficient,
    wall mounted, space saving, height adjustable, fully assembled, assembly required,
    mid century, high gloss, high density, super soft, king size, queen size, twin size,
    stain resistant, fade resistant, heat resistant, odor free, hypo allergenic, hand painted,
    ready hang, pet friendly
""")
"""Phrases that stand before a noun."""

WITH = words("""
    long sleeve, short sleeve, button closure, zipper closure, drawstring closure,
    elastic waist, elastic waistband, side pockets, crew neck, tummy control,
    polyester spandex, nylon spandex, cotton spandex, cotton heather, fleece lining,
    mesh lining, rubber sole, rubber outsole, synthetic sole, memory foam, arch support,
    ankle strap, steel toe, high heel, low heel, faux fur, faux leather, removable insole,
    tea tree, coconut oil, argan oil, jojoba oil, essential oils, natural ingredients,
    hyaluronic acid, vitamin c, green tea, aloe vera, shea butter, salicylic acid,
    coenzyme q10, soft bristles, storage case, travel case, magnetic clasp,
    stainless steel, solid wood, engineered wood, metal frame, steel frame, wood frame,
    tempered glass, glass shade, clear glass, storage space, storage drawers,
    adjustable shelves, lumbar support, padded seat, box spring, brass finish,
    nickel finish, bronze finish, soy wax, cotton wick, blackout lining, hidden zipper,
    led light, dimmer switch, pull chain, carbon fiber, aluminum alloy, usb port,
    remote control, touch screen, volume control, stereo sound, deep bass, optical zoom,
    night vision, motion detection, carrying case, aaa batteries, power cord, quick release,
    phone holder, kick stand, silicone strap, fm radio, quad core, camera strap,
    sea salt, dark chocolate, milk chocolate, dietary fiber, natural flavors,
    quality ingredients, resealable bag, real fruit, olive oil, brown rice,
    whole grain, chia seeds, omega 3, white pepper
""")
"""Phrases that stand after `with`."""

FOR = words("""
    daily wear, everyday wear, gym workout, office work, teen girls, special occasions,
    outdoor activities, wedding party, dry skin, sensitive skin, oily skin, dark circles,
    fine lines, dead skin, acne prone, hair growth, hair loss, dry hair, damaged hair,
    curly hair, natural hair, fine hair, hair styling, eye makeup, bad breath,
    teeth whitening, oral hygiene, sensitive teeth, living room, dining room, home office,
    guest room, small spaces, baby shower, birthday party, holiday gifts, home theater,
    video calls, bird watching, road trips, camping trips, school lunches, summer parties,
    movie night, online classes, home decor, side sleepers, morning routine
""")
"""Phrases that stand after `for`."""

CONTRARY = tuple(
    words(line)
    for line in (
        "long sleeve, short sleeve",
        "machine wash, hand wash",
        "slim fit, loose fit, regular fit, relaxed fit, classic fit",
        "button closure, zipper closure, drawstring closure",
        "elastic waist, elastic waistband",
        "polyester spandex, nylon spandex, cotton spandex, cotton heather",
        "high waist, low rise",
        "straight leg, wide leg",
        "open toe, closed toe, steel toe",
        "high heel, low heel",
        "rubber sole, rubber outsole, synthetic sole",
        "slip resistant, anti slip, non slip",
        "faux fur, faux leather",
        "dry skin, oily skin, sensitive skin",
        "dry hair, damaged hair, curly hair, natural hair, fine hair",
        "fully assembled, assembly required, easy assemble",
        "king size, queen size, twin size",
        "solid wood, engineered wood",
        "metal frame, steel frame, wood frame",
        "brass finish, nickel finish, bronze finish",
        "tempered glass, clear glass",
        "dark chocolate, milk chocolate",
        "ready eat, easy prepare",
        "high definition, ultra hd",
        "coconut oil, argan oil, jojoba oil",
        "low fat, fat free",
        "fragrance free, essential oils",
        "daily wear, everyday wear",
    )
)
"""Phrases of which one product has at most one; its near-duplicates have the others."""

SAID: Mapping[str, tuple[str, ...]] = {
    "machine wash": ("machine washable", "machine washable"),
    "hand wash": ("hand washable",),
    "light weight": ("lightweight",),
    "non slip": ("non-slip",),
    "anti slip": ("anti-slip",),
    "easy use": ("easy to use",),
    "easy apply": ("easy to apply",),
    "easy clean": ("easy to clean",),
    "easy carry": ("easy to carry",),
    "easy install": ("easy to install",),
    "easy assemble": ("easy to assemble",),
    "easy prepare": ("easy to prepare",),
    "long lasting": ("long-lasting",),
    "eco friendly": ("eco-friendly",),
    "bpa free": ("bpa-free",),
    "gluten free": ("gluten-free",),
    "dairy free": ("dairy-free",),
    "sugar free": ("sugar-free",),
    "paraben free": ("paraben-free",),
    "cruelty free": ("cruelty-free",),
    "non gmo": ("non-gmo",),
    "keto friendly": ("keto-friendly",),
    "plant based": ("plant-based",),
    "ready eat": ("ready to eat",),
    "ready use": ("ready to use",),
    "ready hang": ("ready to hang",),
    "plug play": ("plug and play",),
    "high waist": ("high waisted",),
    "slim fit": ("slim fitting",),
    "relaxed fit": ("relaxed fitting",),
    "long sleeve": ("long sleeves", "a long sleeve"),
    "short sleeve": ("short sleeves", "a short sleeve"),
    "rubber sole": ("a rubber sole", "rubber soles"),
    "rubber outsole": ("a rubber outsole",),
    "button closure": ("a button closure",),
    "zipper closure": ("a zipper closure",),
    "elastic waist": ("an elastic waist",),
    "usb port": ("a usb port",),
    "remote control": ("a remote control", "a remote"),
    "touch screen": ("a touch screen",),
    "metal frame": ("a metal frame",),
    "steel frame": ("a steel frame",),
    "wood frame": ("a wood frame",),
    "glass shade": ("a glass shade",),
    "carrying case": ("a carrying case",),
    "living room": ("my living room", "the living room"),
    "dining room": ("my dining room",),
    "home office": ("my home office",),
    "guest room": ("the guest room",),
    "dry skin": ("my dry skin",),
    "sensitive skin": ("my sensitive skin",),
    "dry hair": ("my dry hair",),
    "birthday party": ("a birthday party",),
    "baby shower": ("a baby shower",),
    "wedding party": ("a wedding party",),
    "water resistant": ("water-resistant",),
    "mid century": ("mid-century",),
    "hands free": ("hands-free",),
}
"""What people say instead of some phrases."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "clothing colors": words("""
        Black, White, Navy, Navy Blue, Grey, Light Grey, Dark Grey, Heather Grey, Red, Wine Red,
        Burgundy, Green, Army Green, Light Green, Olive, Blue, Light Blue, Dark Blue, Royal Blue,
        Sky Blue, Khaki, Brown, Dark Brown, Beige, Pink, Hot Pink, Light Pink, Purple, Yellow,
        Orange, Coral, Teal, Charcoal, Camel, Rust, Mustard, Black/White, Navy/Red, Blue Plaid,
        Red Stripe, Floral Blue, Deep Teal, Ivory, Apricot, Multicolor
    """),
    "home colors": words("""
        Black, White, Grey, Light Grey, Dark Grey, Beige, Brown, Espresso, Walnut, Natural, Oak,
        Rustic Brown, Cream, Ivory, Navy, Navy Blue, Teal, Dark Green, Sage Green, Blush Pink,
        Mustard Yellow, Charcoal, Taupe, Light Blue, Brushed Nickel, Antique Brass, Matte Black,
        Bronze, Gold, Silver, Chrome, Copper, Grey Oak, White/Gold, Black/Walnut, Burgundy,
        Terracotta, Turquoise, Khaki, Light Walnut
    """),
    "device colors": words("""
        Black, White, Silver, Grey, Space Grey, Blue, Midnight Blue, Navy, Red, Pink, Rose Gold,
        Gold, Green, Midnight Green, Purple, Light Purple, Orange, Teal, Clear, Graphite,
        Black/Red, White/Blue, Dark Blue, Sky Blue, Yellow, Mint, Matte Black
    """),
    "beauty colors": words("""
        Pink, Rose, Nude, Coral, Red, Deep Red, Plum, Peach, Berry, Mauve, Brown, Dark Brown,
        Light Brown, Black, Soft Black, Copper, Chestnut, Honey, Caramel, Champagne, Ivory, Beige,
        Rose Gold, White, Purple, Blue, Natural Beige, Warm Honey, Cocoa, Ash Blonde
    """),
    "clothing sizes": words("""
        X-Small, Small, Medium, Large, X-Large, XX-Large, 3X-Large, 4X-Large, 5X-Large
    """),
    "waist sizes": words("""
        28, 29, 30W x 30L, 30W x 32L, 31, 32W x 30L, 32W x 32L, 33, 34W x 32L, 34W x 34L, 36,
        36W x 32L, 38, 38W x 34L, 40
    """),
    "shoe sizes": words("""
        5, 5.5, 6, 6.5, 7, 7.5, 8, 8 Wide, 8.5, 9, 9 Wide, 9.5, 10, 10.5, 11, 11 Wide, 12, 13
    """),
    "bottle sizes": words("""
        1 Ounce, 1.7 Fl Oz, 2 Ounce, 3.4 Fl Oz, 4 Ounce, 6 Ounce, 8 Fl Oz, 8 Ounce (Pack of 2),
        10 Ounce, 12 Fl Oz, 12 Fl Oz (Pack of 3), 16 Ounce, 30 ml, 50 ml, 100 ml, 250 ml
    """),
    "pack sizes": words("""
        1 Pack, 2 Pack, 3 Pack, 4 Pack, 6 Pack, 10 Pack, 12 Count, 24 Count, 50 Count, 1 Count,
        2 Count (Pack of 2), 100 Count
    """),
    "food sizes": words("""
        4 Ounce (Pack of 1), 4 Ounce (Pack of 6), 6 Ounce (Pack of 2), 8 Ounce (Pack of 1),
        8 Ounce (Pack of 3), 12 Ounce (Pack of 1), 12 Ounce (Pack of 4), 1 Pound (Pack of 1),
        1 Pound (Pack of 2), 2 Pound (Pack of 1), 5 Pound (Pack of 1), 1.5 Ounce (Pack of 12),
        2 Ounce (Pack of 8), 16 Ounce (Pack of 1), 10 Ounce (Pack of 6)
    """),
    "cable lengths": words("""
        1.5 Feet, 3 Feet, 6 Feet, 6.6 Feet, 10 Feet, 12 Feet, 15 Feet, 20 Feet, 25 Feet, 35 Feet,
        50 Feet, 3 Feet (2 Pack), 6 Feet (2 Pack)
    """),
    "screen sizes": words("""
        7 Inch, 8 Inch, 10.1 Inch, 11 Inch, 12.9 Inch, 13 Inch, 14 Inch, 15.6 Inch, 17 Inch,
        24 Inch, 32 Inch, 100 Inch, 120 Inch
    """),
    "furniture sizes": words("""
        24 Inch, 30 Inch, 36 Inch, 40 Inch, 47 Inch, 48" x 24", 55 Inch, 60" x 30", 63 Inch,
        72 Inch, 2-Tier, 3-Tier, 4-Tier, Set of 2, Set of 4
    """),
    "bed sizes": words("""
        Twin, Twin XL, Full, Queen, King, California King, Twin/Full, 8 Inch Full, 10 Inch Queen,
        12 Inch King
    """),
    "textile sizes": words("""
        12" x 20", 16" x 16", 18" x 18", 20" x 20", 50" x 60", 60" x 80", 52" x 63", 52" x 84",
        52" x 95", 2 ft x 3 ft, 3 ft x 5 ft, 5 ft x 7 ft, 6 ft x 9 ft, 8 ft x 10 ft, 2 ft x 8 ft
    """),
    "decor sizes": words("""
        6 Inch, 8 Inch, 10 Inch, 12 Inch, 12" x 16", 16" x 24", 20 Inch, 24" x 36", 30 Inch,
        Set of 3, Set of 6, 4 Inch, 18 Inch, 22 Inch
    """),
    "snack flavors": words("""
        Sea Salt, Barbecue, Cheddar Cheese, Sour Cream & Onion, Honey Roasted, Original, Teriyaki,
        Hot Jalapeno, Cracked Pepper, Dark Chocolate, Peanut Butter, Cinnamon Apple, Maple,
        Mixed Berry, Coconut Almond, Vanilla, Chocolate Chip, Salted Caramel, Ranch, Sweet Chili,
        Lemon, Variety Pack, Garlic & Herb, Sweet & Salty
    """),
    "drink flavors": words("""
        Original, Vanilla, Chocolate, Mocha, Hazelnut, Peach, Mango, Lemon, Ginger Lemon,
        Raspberry, Strawberry, Cherry, Chamomile, Hibiscus, Mint, Earl Grey, French Roast,
        Dark Roast, Medium Roast, Pineapple, Pomegranate, Orange, Lime, Variety Pack, Cucumber Lime,
        Strawberry/Banana
    """),
    "pantry flavors": words("""
        Original, Tomato Basil, Roasted Garlic, Lemon Herb, Spicy Chili, Smoky Paprika, Honey,
        Maple, Mushroom, Chicken, Four Cheese, Sweet Onion, Curry, Sesame Ginger, Black Truffle,
        Thai Coconut, Mild, Medium, Extra Hot, Vanilla, Classic/Mild
    """),
    "scents": words("""
        Lavender, Vanilla, Coconut, Citrus, Fresh Linen, Eucalyptus, Rose, Jasmine, Cedar, Cucumber,
        Unscented, Ocean Breeze, White Tea, Warm Amber, Honey Almond, Mango, Green Apple,
        Lavender Vanilla, Sage & Citrus, Cherry Blossom, Lemon/Ginger
    """),
    "fits": words("Men, Youth, Regular, Tall, Big & Tall, Slim, Athletic"),
    "patterns": words("""
        Floral, Striped, Plaid, Solid, Geometric, Polka Dot, Boho, Leaf, Marble, Abstract,
        Butterfly, Moon & Stars, Mountain, Paisley
    """),
    "device styles": words("""
        Basic, Pro, Plus, Mini, Corded, Cordless, With Case, Without Case, 2nd Generation, Bundle,
        Single, Pair
    """),
    "home styles": words("""
        Modern, Classic, Vintage, Farmhouse, With Cushion, Without Cushion, Round, Oval,
        Square, With Lid, Single, Pair
    """),
}
"""Option values by the name of their list."""

ROOMS = words("for Bedroom, for Entryway, for Apartment, for Kitchen, for Studio, for Hallway")
MEN = words("for Men, for Work, for Summer, for Fall and Winter, for Big Guys, for Gym")
WOMEN = words("for Women, for Ladies, for Work, for Summer, for Vacation, for Teens")


def kinds(
    category: str,
    path: str,
    uses: tuple[str, ...],
    styles: str,
    options: tuple[tuple[str, str], ...],
    attributes: str,
    table: str,
) -> list[Kind]:
    """Types of one department.

    `attributes` are phrases that all types of the department may have. `table` has a type a
    line, `query | nouns | lowest-highest price | phrases of its own`; a line that ends in a
    comma goes on.
    """
    found: list[Kind] = []
    for line in re.sub(r",\n", ",", table).strip().splitlines():
        query, nouns, band, own = (cell.strip() for cell in line.split("|"))
        low, high = band.split("-")
        found.append(
            Kind(
                query=query,
                category=category,
                path=f"{path} › {query.title().replace(chr(39) + 'S', chr(39) + 's')}",
                nouns=words(nouns),
                uses=uses,
                styles=words(styles),
                options=options,
                attributes=words(f"{own}, {attributes}"),
                price=(float(low), float(high)),
            )
        )
    return found


KINDS: tuple[Kind, ...] = (
    *kinds(
        "beauty",
        "Beauty & Grooming › Hair",
        words("for Women, for Men, for All Hair Types, for Salon and Home, for Women and Men"),
        "Nourishing, Daily, Gentle, Professional, Deep, Silky, Botanical",
        (("Size", "bottle sizes"), ("Scent", "scents")),
        """sulfate free, paraben free, cruelty free, natural ingredients, argan oil, coconut oil,
        tea tree, jojoba oil, dry hair, damaged hair, curly hair, natural hair, fine hair,
        hair growth, hair loss, long lasting, high quality, easy use""",
        """
        hair masks | Hair Mask, Hair Treatment Mask, Repair Mask | 8-30 | shea butter, silicone free
        shampoos | Shampoo, Cleansing Shampoo, Volume Shampoo | 7-32 | fragrance free, green tea
        conditioners | Conditioner, Leave In Conditioner, Cream Conditioner | 7-30 | aloe vera
        hair treatment oils | Hair Oil, Scalp Oil, Hair Serum | 9-35 | vitamin c, essential oils
        styling gels | Styling Gel, Hair Gel, Curl Cream | 6-22 | alcohol free, hair styling
        dry shampoos | Dry Shampoo Spray, Dry Shampoo, Dry Shampoo Powder | 8-26 | travel size
        """,
    ),
    *kinds(
        "beauty",
        "Beauty & Grooming › Hair Tools",
        words("for Women, for Girls, for Home and Travel, for Thick Hair"),
        "Professional, Compact, Salon, Ceramic, Classic",
        (("Color", "beauty colors"), ("Size", "pack sizes")),
        """hair styling, easy use, easy clean, easy carry, high quality, long lasting,
        damaged hair, curly hair, fine hair, natural hair, travel case, heat resistant, non slip""",
        """
        hair brushes | Hair Brush, Detangling Brush, Paddle Brush | 6-25 | soft bristles
        hair extensions | Hair Extensions, Clip In Extensions, Hairpiece | 15-90 | double sided
        hair clips | Hair Clips, Claw Clips, Hair Barrettes | 5-18 | teen girls, wedding party
        curling irons | Curling Iron, Hair Curler, Curling Wand | 18-70 | fast charging, power cord
        hair scissors | Hair Scissors, Cutting Shears, Barber Scissors | 9-40 | stainless steel
        """,
    ),
    *kinds(
        "beauty",
        "Beauty & Grooming › Skin",
        words("for Face, for Women, for Men and Women, for All Skin Types, for Face and Neck"),
        "Gentle, Daily, Soothing, Hydrating, Radiant, Pure, Overnight",
        (("Size", "bottle sizes"), ("Scent", "scents")),
        """cruelty free, paraben free, fragrance free, alcohol free, dermatologist tested,
        clinically proven, anti aging, hyaluronic acid, vitamin c, green tea, aloe vera,
        natural ingredients, essential oils, dry skin, oily skin, sensitive skin, fine lines,
        dead skin, easy apply""",
        """
        face creams | Face Cream, Moisturizing Cream, Facial Moisturizer | 9-45 | oil free
        face serums | Face Serum, Facial Serum, Skin Serum | 10-55 | salicylic acid, dark circles
        facial cleansers | Face Wash, Facial Cleanser, Foaming Cleanser | 7-28 | acne prone,
            oil free
        face masks | Face Mask, Clay Mask, Sheet Mask | 6-30 | tea tree, travel size
        eye creams | Eye Cream, Eye Gel, Under Eye Treatment | 10-48 | dark circles, coenzyme q10
        body lotions | Body Lotion, Body Milk, Moisturizing Lotion | 7-30 | shea butter, coconut oil
        body scrubs | Body Scrub, Sugar Scrub, Exfoliating Scrub | 8-28 | coconut oil, tea tree
        lip balms | Lip Balm, Lip Butter, Lip Care Stick | 4-18 | shea butter, long lasting
        sunscreens | Sunscreen Lotion, Sun Cream, Mineral Sunscreen | 9-35 | water resistant,
            oil free
        hand creams | Hand Cream, Hand Lotion, Hand Balm | 5-20 | shea butter, travel size
        """,
    ),
    *kinds(
        "beauty",
        "Beauty & Grooming › Makeup",
        words("for Women, for Beginners, for All Skin Tones, for Girls, for Party Looks"),
        "Matte, Shimmer, Velvet, Everyday, Bold, Creamy",
        (("Color", "beauty colors"), ("Size", "pack sizes")),
        """long lasting, highly pigmented, cruelty free, paraben free, water resistant, oil free,
        easy apply, easy carry, high quality, eye makeup, sensitive skin, dry skin, travel size,
        vitamin c, special occasions""",
        """
        lipsticks | Lipstick, Liquid Lipstick, Lip Color | 5-25 | hyaluronic acid
        eyeshadow palettes | Eyeshadow Palette, Eye Shadow Palette,
            Makeup Palette | 8-35 | teen girls
        mascaras | Mascara, Lash Mascara, Volume Mascara | 6-24 | alcohol free, fragrance free
        foundations | Foundation, Liquid Foundation, Cream Foundation | 8-38 | fine lines,
            anti aging
        makeup brushes | Makeup Brush Set, Brush Set, Powder Brush | 7-32 | soft bristles,
            storage case
        makeup removers | Makeup Remover, Cleansing Balm, Remover Pads | 5-22 | tea tree,
            natural ingredients
        nail polishes | Nail Polish, Gel Nail Polish, Nail Lacquer | 5-20 | non toxic, quick drying
        """,
    ),
    *kinds(
        "beauty",
        "Beauty & Grooming › Oral Care",
        words("for Adults, for Kids, for Family, for Adults and Kids"),
        "Fresh, Daily, Gentle, Advanced, Ultra Clean",
        (("Size", "pack sizes"), ("Color", "device colors")),
        """oral hygiene, bad breath, teeth whitening, sensitive teeth, easy use, easy clean,
        bpa free, eco friendly, high quality, travel size, travel case""",
        """
        toothpastes | Toothpaste, Whitening Toothpaste, Tooth Gel | 4-18 | fluoride free,
            natural ingredients, tea tree
        electric toothbrushes | Electric Toothbrush, Sonic Toothbrush,
            Power Toothbrush | 18-90 | soft bristles, fast charging, long lasting
        mouthwashes | Mouthwash, Mouth Rinse, Oral Rinse | 5-20 | alcohol free, fluoride free,
            essential oils
        dental floss picks | Floss Picks, Dental Floss, Flossers | 4-15 | individually wrapped,
            non toxic
        tongue scrapers | Tongue Scraper, Tongue Cleaner, Tongue Brush | 5-16 | stainless steel,
            rust proof
        """,
    ),
    *kinds(
        "beauty",
        "Beauty & Grooming › Bath & Accessories",
        words("for Women, for Men, for Travel, for Home and Spa, for Shower"),
        "Classic, Soft, Compact, Luxury, Everyday",
        (("Color", "beauty colors"), ("Size", "pack sizes"), ("Pattern Name", "patterns")),
        """easy clean, easy carry, easy use, high quality, long lasting, eco friendly, non toxic,
        double sided, holiday gifts, sensitive skin, dead skin, travel size""",
        """
        bath sponges | Bath Sponge, Shower Loofah, Body Puff | 5-18 | quick drying, super soft
        travel bottles | Travel Bottles, Refillable Bottles,
            Travel Containers | 6-22 | leak proof, bpa free
        cosmetic bags | Cosmetic Bag, Makeup Bag, Toiletry Bag | 8-35 | water resistant,
            zipper closure
        makeup mirrors | Makeup Mirror, Vanity Mirror, Hand Mirror | 12-60 | led light,
            touch screen, usb port
        nail files | Nail File, Nail Buffer, Manicure File | 4-14 | stainless steel, storage case
        razors | Razor, Safety Razor, Body Razor | 8-40 | stainless steel, rust proof, anti slip
        """,
    ),
    *kinds(
        "beauty",
        "Beauty & Grooming › Fragrance",
        words("for Women, for Men, for Women and Men, for Date Night"),
        "Fresh, Warm, Floral, Woody, Classic",
        (("Scent", "scents"), ("Size", "bottle sizes")),
        """long lasting, alcohol free, cruelty free, travel size, easy carry, essential oils,
        natural ingredients, special occasions, holiday gifts, daily wear, high quality""",
        """
        perfumes | Perfume Spray, Eau de Parfum, Perfume | 12-80 | paraben free
        body mists | Body Mist, Body Spray, Fragrance Mist | 7-25 | aloe vera, vitamin c
        deodorants | Deodorant Stick, Deodorant, Natural Deodorant | 5-20 | aluminum free,
            sensitive skin, tea tree
        """,
    ),
    *kinds(
        "electronics",
        "Electronics & Gadgets › Audio",
        words("for Home, for Travel, for Sports, for Kids, for TV and Phone, for Outdoors"),
        "Portable, Mini, Premium, Compact, Classic",
        (("Color", "device colors"), ("Style", "device styles")),
        """wireless bluetooth, hands free, noise cancelling, stereo sound, deep bass, high power,
        high performance, water resistant, fast charging, volume control, usb port, easy carry,
        plug play, long lasting, carrying case, remote control, light weight""",
        """
        bluetooth speakers | Bluetooth Speaker, Wireless Speaker,
            Party Speaker | 18-150 | fm radio, dust proof
        headphones | Headphones, Over Ear Headphones, Stereo Headset | 15-180 | online classes,
            gym workout
        earbuds | Earbuds, In Ear Headphones, Sport Earbuds | 12-120 | gym workout, touch screen
        soundbars | Sound Bar, TV Speaker, Soundbar Speaker | 45-280 | home theater, wall mounted
        turntables | Turntable, Record Player, Vinyl Player | 45-250 | aluminum alloy, old fashioned
        portable radios | Portable Radio, Pocket Radio, Alarm Clock Radio | 14-70 | fm radio,
            aaa batteries, camping trips
        audio amplifiers | Power Amplifier, Audio Receiver,
            Mini Amplifier | 30-260 | home theater, gold plated
        """,
    ),
    *kinds(
        "electronics",
        "Electronics & Gadgets › Television & Video",
        words("for Home, for TV, for Gaming, for Office, for Backyard"),
        "Universal, Smart, Slim, Premium, Compact",
        (("Color", "device colors"), ("Style", "device styles"), ("Size", "screen sizes")),
        """high definition, ultra hd, high speed, high resolution, plug play, easy install,
        easy use, home theater, movie night, remote control, usb port, wall mounted, heavy duty,
        batteries included, energy efficient, stereo sound""",
        """
        projectors | Projector, Video Projector, Mini Projector | 60-400 | wireless bluetooth,
            carrying case
        projection screens | Projector Screen, Movie Screen,
            Projection Screen | 25-160 | outdoor activities, easy clean
        tv mounts | TV Wall Mount, TV Bracket, Swivel Mount | 18-110 | steel frame, aluminum alloy
        streaming players | Streaming Player, TV Box, Media Player | 25-140 | quad core, hands free
        dvd players | DVD Player, Disc Player, Portable DVD Player | 28-160 | aaa batteries,
            road trips
        tv remotes | Replacement Remote, TV Remote, Universal Remote | 7-30 | aaa batteries,
            long lasting
        """,
    ),
    *kinds(
        "electronics",
        "Electronics & Gadgets › Cables & Power",
        words("for TV and Monitor, for Laptop, for Phone, for Car, for Home and Office"),
        "Braided, Universal, Compact, Durable, Slim",
        (("Size", "cable lengths"), ("Color", "device colors")),
        """high speed, gold plated, fast charging, plug play, heavy duty, easy use, easy carry,
        long lasting, light weight, aluminum alloy, usb port, high power, high performance""",
        """
        hdmi cables | HDMI Cable, HDMI Cord, Video Cable | 7-40 | ultra hd, home theater
        usb cables | USB Cable, Charging Cable, Data Cord | 6-25 | scratch resistant, road trips
        power adapters | Power Adapter, AC Adapter, Wall Charger | 9-45 | power cord,
            energy efficient
        extension cords | Extension Cord, Power Strip, Surge Protector | 10-45 | wall mounted,
            heat resistant
        audio cables | Audio Cable, Speaker Wire, Aux Cord | 6-28 | stereo sound, noise cancelling
        """,
    ),
    *kinds(
        "electronics",
        "Electronics & Gadgets › Camera & Photo",
        words("for Beginners, for Travel, for Photography, for Kids, for Vlogging, for Home"),
        "Compact, Professional, Portable, Classic, Pocket",
        (("Color", "device colors"), ("Style", "device styles")),
        """high definition, high resolution, light weight, easy carry, easy use, quick release,
        carrying case, water resistant, dust proof, usb port, optical zoom, night vision,
        aluminum alloy, carbon fiber, high performance""",
        """
        tripods | Tripod, Camera Tripod, Travel Tripod | 18-140 | phone holder, remote control,
            anti slip
        digital cameras | Digital Camera, Vlogging Camera, Compact Camera | 50-400 | touch screen,
            fast charging
        binoculars | Binoculars, Compact Binoculars, Field Glasses | 25-180 | bird watching,
            outdoor activities, camera strap
        camera bags | Camera Bag, Camera Backpack, Sling Bag | 20-110 | heavy duty, shock proof,
            side pockets
        ring lights | Ring Light, Selfie Light, Fill Light | 14-80 | led light, phone holder,
            video calls
        security cameras | Security Camera, Indoor Camera,
            Surveillance Camera | 25-180 | motion detection, easy install, plug play
        memory cards | Memory Card, Flash Card, Storage Card | 8-60 | high speed, shock proof
        """,
    ),
    *kinds(
        "electronics",
        "Electronics & Gadgets › Phone & Tablet Accessories",
        words("for Phone, for Tablet, for Men and Women, for Kids, for Smartwatch"),
        "Slim, Clear, Rugged, Minimalist, Cute",
        (("Color", "device colors"), ("Pattern Name", "patterns"), ("Style", "device styles")),
        """easy install, easy use, easy carry, light weight, heavy duty, scratch resistant,
        shock proof, dust proof, non slip, high quality, high definition, tempered glass,
        carbon fiber, quick release, long lasting, faux leather""",
        """
        phone cases | Phone Case, Protective Case, Flip Case | 7-35 | kick stand, magnetic clasp
        screen protectors | Screen Protector, Glass Protector, Screen Film | 6-22 | oil free,
            touch screen
        wireless chargers | Wireless Charger, Charging Pad,
            Charging Stand | 12-60 | fast charging, led light
        power banks | Power Bank, Portable Charger, Battery Pack | 15-70 | fast charging,
            usb port, camping trips
        phone mounts | Phone Mount, Car Phone Holder, Phone Stand | 9-35 | hands free,
            height adjustable, road trips
        watch bands | Watch Band, Smartwatch Strap, Replacement Band | 6-30 | silicone strap,
            stainless steel, magnetic clasp, gym workout
        """,
    ),
    *kinds(
        "electronics",
        "Electronics & Gadgets › Computers",
        words("for Office, for Students, for Laptop, for Work, for Gaming, for Kids"),
        "Slim, Ergonomic, Compact, Smart, Foldable",
        (("Color", "device colors"), ("Size", "screen sizes"), ("Style", "device styles")),
        """high speed, high performance, plug play, easy use, easy carry, light weight, usb port,
        wireless bluetooth, long lasting, aluminum alloy, online classes, office work, video calls,
        quad core""",
        """
        tablets | Tablet, Tablet PC, Kids Tablet | 60-300 | touch screen, high definition,
            kick stand
        usb hubs | USB Hub, Docking Station, Port Adapter | 12-80 | fast charging, heat resistant
        keyboards | Keyboard, Mechanical Keyboard, Wireless Keyboard | 16-110 | led light,
            batteries included
        laptop sleeves | Laptop Sleeve, Laptop Bag, Laptop Case | 12-50 | water resistant,
            zipper closure, faux leather, shock proof
        webcams | Webcam, Web Camera, Streaming Camera | 18-100 | high definition, noise cancelling
        mini computers | Mini PC, Desktop Computer, Mini Computer | 140-480 | ultra hd,
            energy efficient
        wireless routers | Wireless Router, Signal Booster,
            Range Extender | 20-160 | easy install, wall mounted
        vr headsets | VR Headset, Virtual Reality Goggles, VR Glasses | 20-200 | high resolution,
            remote control, hands free
        """,
    ),
    *kinds(
        "fashion",
        "Apparel & Shoes › Men › Tops",
        MEN,
        "Casual, Stylish, Vintage, Basic, Soft, Athletic, Graphic",
        (("Color", "clothing colors"), ("Size", "clothing sizes"), ("Fit Type", "fits")),
        """machine wash, hand wash, long sleeve, short sleeve, slim fit, regular fit, relaxed fit,
        classic fit, polyester spandex, cotton spandex, cotton heather, daily wear, everyday wear,
        gym workout, office work, light weight, high quality""",
        """
        men's dress shirts | Dress Shirt, Button Down Shirt,
            Oxford Shirt | 16-50 | button closure, wrinkle free, special occasions
        men's t-shirts | T-Shirt, Tee Shirt, Graphic Tee | 9-30 | crew neck, officially licensed,
            moisture wicking
        men's polos | Polo Shirt, Golf Shirt, Pique Polo | 13-40 | button closure,
            moisture wicking, quick drying
        men's henleys | Henley Shirt, Henley Tee, Waffle Henley | 13-36 | button closure, loose fit
        men's hoodies | Hoodie, Pullover Hoodie, Hooded Sweatshirt | 20-60 | fleece lining,
            drawstring closure, officially licensed
        men's sweaters | Sweater, Knit Pullover, Crewneck Sweater | 20-65 | crew neck, winter warm
        men's jackets | Jacket, Bomber Jacket, Windbreaker | 28-120 | zipper closure,
            water resistant, winter warm, faux leather
        """,
    ),
    *kinds(
        "fashion",
        "Apparel & Shoes › Men › Bottoms",
        MEN,
        "Casual, Athletic, Cargo, Classic, Stretch",
        (("Color", "clothing colors"), ("Size", "waist sizes"), ("Fit Type", "fits")),
        """machine wash, hand wash, slim fit, regular fit, relaxed fit, classic fit, straight leg,
        elastic waist, elastic waistband, drawstring closure, button closure, zipper closure,
        polyester spandex, cotton spandex, daily wear, everyday wear, gym workout, side pockets,
        quick drying""",
        """
        men's jeans | Jeans, Denim Jeans, Stretch Jeans | 22-75 | low rise, heavy duty
        men's shorts | Shorts, Cargo Shorts, Gym Shorts | 14-42 | moisture wicking, light weight
        men's pants | Pants, Chino Pants, Work Pants | 20-65 | wrinkle free, office work
        men's joggers | Jogger Pants, Sweatpants, Track Pants | 18-48 | fleece lining, winter warm
        men's boxers | Boxer Briefs, Boxers, Trunks Underwear | 12-38 | moisture wicking,
            light weight
        """,
    ),
    *kinds(
        "fashion",
        "Apparel & Shoes › Women › Tops",
        WOMEN,
        "Casual, Cute, Boho, Elegant, Basic, Flowy, Vintage",
        (("Color", "clothing colors"), ("Size", "clothing sizes"), ("Pattern Name", "patterns")),
        """machine wash, hand wash, long sleeve, short sleeve, loose fit, slim fit, relaxed fit,
        classic fit, polyester spandex, nylon spandex, cotton spandex, daily wear, everyday wear,
        teen girls, special occasions, light weight, high quality, office work""",
        """
        women's blouses | Blouse, Chiffon Blouse, V Neck Blouse | 14-42 | button closure,
            wrinkle free
        women's t-shirts | T-Shirt, Tee, Graphic Tee | 10-28 | crew neck, officially licensed
        women's cardigans | Cardigan, Knit Cardigan, Open Front Cardigan | 18-50 | button closure,
            winter warm, side pockets
        women's hoodies | Hoodie, Zip Up Hoodie, Pullover Sweatshirt | 18-50 | fleece lining,
            zipper closure, drawstring closure
        women's tank tops | Tank Top, Cami Top, Workout Tank | 9-28 | moisture wicking, gym workout
        women's tunics | Tunic Top, Tunic Shirt, Tunic Blouse | 14-38 | tummy control, side pockets
        women's coats | Coat, Trench Coat, Puffer Jacket | 30-130 | faux fur, winter warm,
            zipper closure, water resistant
        """,
    ),
    *kinds(
        "fashion",
        "Apparel & Shoes › Women › Dresses & Bottoms",
        WOMEN,
        "Casual, Elegant, Summer, Stretchy, Boho, Classic",
        (("Color", "clothing colors"), ("Size", "clothing sizes"), ("Pattern Name", "patterns")),
        """machine wash, hand wash, high waist, elastic waist, elastic waistband, tummy control,
        side pockets, polyester spandex, nylon spandex, cotton spandex, slim fit, loose fit,
        daily wear, everyday wear, teen girls, quick drying""",
        """
        women's dresses | Dress, Midi Dress, Maxi Dress | 18-65 | long sleeve, short sleeve,
            special occasions, wedding party
        women's skirts | Skirt, Pleated Skirt, Mini Skirt | 14-42 | zipper closure, office work
        women's leggings | Leggings, Yoga Pants, Workout Leggings | 12-38 | gym workout,
            moisture wicking, fleece lining
        women's jeans | Jeans, Skinny Jeans, Denim Pants | 22-70 | wide leg, straight leg,
            low rise, button closure
        women's jumpsuits | Jumpsuit, Romper, Overalls | 20-58 | wide leg, zipper closure,
            short sleeve
        women's pajama sets | Pajama Set, Sleepwear Set, Lounge Set | 18-50 | long sleeve,
            short sleeve, button closure, drawstring closure
        women's swimsuits | Swimsuit, One Piece Swimsuit, Bikini Set | 16-48 | low rise,
            outdoor activities
        women's bras | Sports Bra, Bra, Wireless Bra | 12-36 | gym workout, moisture wicking
        """,
    ),
    *kinds(
        "fashion",
        "Apparel & Shoes › Men › Shoes",
        words("for Men, for Walking, for Work, for Driving, for Outdoor"),
        "Casual, Comfortable, Leather, Breathable, Classic",
        (("Color", "clothing colors"), ("Size", "shoe sizes")),
        """rubber sole, rubber outsole, synthetic sole, slip resistant, anti slip, non slip,
        memory foam, arch support, light weight, daily wear, everyday wear, day comfort,
        mesh lining, removable insole, water resistant, faux leather""",
        """
        men's sneakers | Sneakers, Running Shoes, Walking Shoes | 25-95 | gym workout, quick drying
        men's loafers | Loafers, Slip On Shoes, Moccasins | 25-90 | office work, special occasions
        men's boots | Boots, Work Boots, Chukka Boots | 38-140 | steel toe, fleece lining,
            winter warm
        men's sandals | Sandals, Slides, Hiking Sandals | 16-60 | open toe, closed toe, quick drying
        """,
    ),
    *kinds(
        "fashion",
        "Apparel & Shoes › Women › Shoes",
        words("for Women, for Walking, for Party, for Work, for Summer"),
        "Casual, Comfortable, Elegant, Cute, Classic",
        (("Color", "clothing colors"), ("Size", "shoe sizes")),
        """rubber sole, rubber outsole, synthetic sole, slip resistant, anti slip, non slip,
        memory foam, arch support, light weight, daily wear, everyday wear, teen girls,
        day comfort, high quality, faux leather""",
        """
        women's pumps | Pumps, Dress Pumps, Stiletto Heels | 24-85 | high heel, low heel,
            closed toe, wedding party
        women's flats | Flats, Ballet Flats, Loafer Flats | 18-60 | closed toe, office work
        women's sandals | Sandals, Wedge Sandals, Strappy Sandals | 18-65 | open toe, ankle strap,
            low heel, high heel
        women's ankle boots | Ankle Boots, Booties, Chelsea Boots | 28-95 | faux fur,
            zipper closure, winter warm, low heel
        women's slippers | Slippers, House Slippers, Fuzzy Slippers | 12-38 | faux fur, open toe,
            machine wash
        women's sneakers | Sneakers, Tennis Shoes, Fashion Sneakers | 24-85 | gym workout,
            removable insole, mesh lining
        """,
    ),
    *kinds(
        "garden",
        "Home & Living › Furniture › Tables & Storage",
        ROOMS,
        "Modern, Rustic, Industrial, Farmhouse, Minimalist, Narrow",
        (("Color", "home colors"), ("Size", "furniture sizes"), ("Style", "home styles")),
        """solid wood, engineered wood, metal frame, steel frame, wood frame, tempered glass,
        assembly required, easy assemble, fully assembled, easy clean, heavy duty, space saving,
        storage space, living room, dining room, home office, mid century, high gloss""",
        """
        coffee tables | Coffee Table, Cocktail Table, Center Table | 60-320 | storage drawers,
            small spaces
        console tables | Console Table, Sofa Table, Entry Table | 55-280 | adjustable shelves,
            storage drawers
        nightstands | Nightstand, Bedside Table, End Table | 35-180 | storage drawers, usb port,
            guest room
        bookcases | Bookcase, Bookshelf, Open Shelf Unit | 45-260 | adjustable shelves, wall mounted
        tv stands | TV Stand, Media Console, TV Cabinet | 70-350 | led light, adjustable shelves
        desks | Computer Desk, Writing Desk, Office Desk | 70-360 | height adjustable,
            storage drawers, usb port
        file cabinets | File Cabinet, Filing Cabinet, Storage Cabinet | 60-280 | stainless steel,
            storage drawers
        kitchen islands | Kitchen Island, Kitchen Cart, Serving Cart | 80-380 | stainless steel,
            adjustable shelves
        coat racks | Coat Rack, Hall Tree, Coat Stand | 25-160 | wall mounted, easy install
        """,
    ),
    *kinds(
        "garden",
        "Home & Living › Furniture › Seating",
        ROOMS,
        "Modern, Upholstered, Tufted, Swivel, Velvet, Contemporary",
        (("Color", "home colors"), ("Style", "home styles")),
        """solid wood, metal frame, steel frame, wood frame, faux leather, padded seat,
        lumbar support, high density, memory foam, assembly required, easy assemble,
        fully assembled, easy clean, heavy duty, living room, dining room, home office,
        mid century, stain resistant, pet friendly""",
        """
        office chairs | Office Chair, Desk Chair, Task Chair | 70-320 | height adjustable,
            office work
        bar stools | Bar Stool, Counter Stool, Barstool Chair | 60-260 | height adjustable,
            space saving
        accent chairs | Accent Chair, Arm Chair, Reading Chair | 90-380 | super soft, small spaces
        ottomans | Ottoman, Storage Ottoman, Foot Stool | 35-160 | storage space, space saving
        sofas | Sofa, Sectional Couch, Loveseat | 220-880 | super soft, storage space
        dining chairs | Dining Chair, Side Chair, Kitchen Chair | 60-300 | non slip, space saving
        """,
    ),
    *kinds(
        "garden",
        "Home & Living › Bedroom",
        words("for Adults, for Kids, for Bedroom, for Couples, for Back Pain"),
        "Modern, Plush, Firm, Hybrid, Classic",
        (("Size", "bed sizes"), ("Color", "home colors")),
        """queen size, king size, twin size, memory foam, high density, box spring, heavy duty,
        easy assemble, assembly required, fully assembled, long lasting, guest room,
        non toxic, hypo allergenic""",
        """
        mattresses | Mattress, Foam Mattress, Hybrid Mattress | 140-700 | super soft, side sleepers
        bed frames | Bed Frame, Platform Bed, Panel Bed | 90-420 | solid wood, metal frame,
            storage drawers, storage space
        mattress toppers | Mattress Topper, Mattress Pad, Bed Topper | 40-190 | machine wash,
            side sleepers, super soft
        bed pillows | Bed Pillow, Sleeping Pillow, Cooling Pillow | 18-80 | machine wash,
            side sleepers, super soft
        """,
    ),
    *kinds(
        "garden",
        "Home & Living › Textiles",
        words("for Couch, for Bedroom, for Sofa, for Kitchen, for Farmhouse"),
        "Decorative, Soft, Boho, Vintage, Modern, Cozy",
        (("Color", "home colors"), ("Size", "textile sizes"), ("Pattern Name", "patterns")),
        """machine wash, hand wash, super soft, easy clean, fade resistant, stain resistant,
        long lasting, eco friendly, living room, dining room, guest room, home decor,
        double sided, high quality, pet friendly, quick drying""",
        """
        throw pillows | Throw Pillow, Pillow Cover, Cushion Cover | 9-38 | hidden zipper, faux fur
        throw blankets | Throw Blanket, Fleece Blanket, Knit Throw | 16-60 | faux fur,
            winter warm, light weight
        curtains | Curtains, Window Panels, Drapes | 16-75 | blackout lining, energy efficient
        area rugs | Area Rug, Runner Rug, Floor Rug | 25-220 | non slip, high density
        duvet covers | Duvet Cover Set, Comforter Cover, Bedding Set | 25-90 | hidden zipper,
            button closure, queen size, king size
        table runners | Table Runner, Tablecloth, Table Cover | 10-36 | birthday party,
            wedding party, water resistant
        shower curtains | Shower Curtain, Bath Curtain, Curtain Liner | 10-36 | water resistant,
            odor free
        """,
    ),
    *kinds(
        "garden",
        "Home & Living › Lighting",
        ROOMS,
        "Modern, Industrial, Farmhouse, Vintage, Minimalist",
        (("Color", "home colors"), ("Style", "home styles")),
        """easy install, easy assemble, assembly required, glass shade, clear glass, brass finish,
        nickel finish, bronze finish, led light, dimmer switch, energy efficient, living room,
        dining room, home office, mid century, metal frame, remote control, hand painted""",
        """
        table lamps | Table Lamp, Bedside Lamp, Desk Lamp | 22-130 | usb port, pull chain
        floor lamps | Floor Lamp, Standing Lamp, Arc Lamp | 40-220 | height adjustable, heavy duty
        pendant lights | Pendant Light, Hanging Light, Chandelier | 35-280 | height adjustable
        wall sconces | Wall Sconce, Wall Lamp, Sconce Light | 25-160 | wall mounted, pull chain
        vanity lights | Vanity Light, Bathroom Light Fixture, Wall Light | 40-220 | wall mounted,
            rust proof
        """,
    ),
    *kinds(
        "garden",
        "Home & Living › Decor",
        words("for Bedroom, for Bathroom, for Gift, for Farmhouse, for Shelf, for Hallway"),
        "Decorative, Rustic, Modern, Boho, Vintage, Handmade",
        (("Color", "home colors"), ("Size", "decor sizes")),
        """home decor, living room, dining room, home office, holiday gifts, eco friendly,
        easy clean, high quality, long lasting, non toxic, hand painted, hand crafted""",
        """
        wall mirrors | Wall Mirror, Decorative Mirror, Hanging Mirror | 25-190 | wall mounted,
            ready hang, metal frame, wood frame
        wall art | Canvas Wall Art, Wall Print, Framed Picture | 15-110 | ready hang, wood frame,
            fade resistant
        candles | Scented Candle, Jar Candle, Pillar Candle | 9-40 | soy wax, cotton wick,
            lead free, essential oils
        artificial plants | Artificial Plant, Faux Plant, Fake Greenery | 12-90 | fade resistant,
            ready use
        planters | Planter, Flower Pot, Plant Pot | 12-75 | fade resistant, heavy duty
        wall clocks | Wall Clock, Silent Clock, Round Clock | 16-90 | wall mounted,
            batteries included, ready hang
        storage baskets | Storage Basket, Woven Basket, Storage Bin | 12-60 | space saving,
            storage space, easy carry
        """,
    ),
    *kinds(
        "grocery",
        "Food & Gourmet › Drinks",
        words("for Iced or Hot Drinks, for Breakfast, for the Family, for Gift, for On the Go"),
        "Premium, Classic, Smooth, Refreshing, Gourmet",
        (("Flavor Name", "drink flavors"), ("Size", "food sizes")),
        """sugar free, gluten free, non gmo, certified organic, kosher certified, caffeine free,
        low calorie, dairy free, natural flavors, quality ingredients, fair trade,
        individually wrapped, keto friendly, plant based, holiday gifts""",
        """
        herbal teas | Herbal Tea, Tea Bags, Loose Leaf Tea | 6-28 | morning routine, green tea
        ground coffees | Ground Coffee, Roast Coffee, Coffee Blend | 8-36 | small batch,
            resealable bag, morning routine
        protein shakes | Protein Shake, Protein Drink Mix, Nutrition Shake | 16-60 | high protein,
            lactose free, soy free
        fruit juices | Fruit Juice, Juice Drink, Juice Blend | 8-36 | real fruit, cold pressed,
            school lunches
        cocktail mixers | Cocktail Mixer, Drink Mixer, Cocktail Syrup | 9-36 | non alcoholic,
            summer parties, real fruit
        hot cocoa mixes | Hot Cocoa Mix, Hot Chocolate, Cocoa Powder | 7-30 | dark chocolate,
            milk chocolate, easy prepare
        drink powders | Drink Mix, Electrolyte Powder, Hydration Packets | 8-40 | vitamin c,
            easy use, gym workout
        """,
    ),
    *kinds(
        "grocery",
        "Food & Gourmet › Snacks & Sweets",
        words("for Kids, for Adults, for Snacking, for Sharing, for Office, for Party"),
        "Crunchy, Gourmet, Classic, Crispy, Tasty, Bite Size",
        (("Flavor Name", "snack flavors"), ("Size", "food sizes")),
        """gluten free, non gmo, dairy free, nut free, sugar free, low carb, low sodium, low fat,
        high protein, keto friendly, plant based, certified organic, kosher certified,
        individually wrapped, ready eat, resealable bag, natural flavors, sea salt, dietary fiber,
        school lunches, birthday party, holiday gifts""",
        """
        popcorn | Popcorn, Kettle Corn, Popped Corn | 7-30 | movie night, whole grain, coconut oil
        granola bars | Granola Bars, Snack Bars, Nutrition Bars | 8-34 | whole grain, chia seeds,
            dark chocolate
        trail mixes | Trail Mix, Nut Mix, Snack Mix | 8-36 | dark chocolate, milk chocolate,
            camping trips
        crackers | Crackers, Crisps, Thin Crackers | 6-26 | whole grain, brown rice, chia seeds
        potato chips | Potato Chips, Veggie Chips, Kettle Chips | 8-36 | olive oil, small batch,
            fat free
        beef jerky | Beef Jerky, Meat Sticks, Jerky Strips | 8-40 | small batch, road trips
        dried fruits | Dried Fruit, Fruit Chips, Dried Mango | 7-34 | freeze dried, real fruit
        roasted nuts | Roasted Nuts, Almonds, Mixed Nuts | 9-42 | hand crafted, fat free
        cookies | Cookies, Soft Baked Cookies, Cookie Thins | 7-34 | milk chocolate,
            dark chocolate, old fashioned
        chocolate bars | Chocolate Bar, Chocolate Bites,
            Chocolate Truffles | 6-34 | dark chocolate, milk chocolate, fair trade, hand crafted
        gummy candies | Gummy Candy, Fruit Chews, Gummy Bears | 6-30 | real fruit, fat free,
            baby shower
        """,
    ),
    *kinds(
        "grocery",
        "Food & Gourmet › Pantry",
        words("for Cooking, for Baking, for Salads, for Family Meals, for Weeknight Dinner"),
        "Gourmet, Homestyle, Traditional, Classic, Authentic, Premium",
        (("Flavor Name", "pantry flavors"), ("Size", "food sizes")),
        """gluten free, non gmo, dairy free, sugar free, soy free, low sodium, low carb, fat free,
        low fat, certified organic, kosher certified, plant based, easy prepare, ready eat,
        shelf stable, quality ingredients, natural flavors, small batch, old fashioned""",
        """
        olive oils | Olive Oil, Extra Virgin Olive Oil, Finishing Oil | 10-45 | cold pressed
        pastas | Pasta, Penne Pasta, Noodles | 6-30 | brown rice, whole grain, high protein
        rice mixes | Rice Mix, Rice Bowl, Seasoned Rice | 6-28 | brown rice, dietary fiber
        soups | Soup, Soup Mix, Broth | 7-34 | white pepper, dietary fiber, high protein
        seasonings | Seasoning Blend, Spice Mix, Seasoning Rub | 5-24 | sea salt, white pepper,
            grain free
        hot sauces | Hot Sauce, Chili Sauce, Pepper Sauce | 6-28 | sea salt, holiday gifts
        nut butters | Nut Butter, Almond Butter, Peanut Spread | 8-32 | sea salt, keto friendly,
            high protein
        breakfast cereals | Cereal, Granola, Oatmeal | 7-34 | whole grain, chia seeds,
            dietary fiber, morning routine
        baking mixes | Baking Mix, Cake Mix, Bread Mix | 6-28 | grain free, birthday party,
            whole grain
        canned fish | Tuna, Sardines, Salmon Fillets | 9-42 | wild caught, olive oil, omega 3,
            high protein
        salad dressings | Salad Dressing, Vinaigrette, Dressing | 6-26 | olive oil, keto friendly
        pancake mixes | Pancake Mix, Waffle Mix, Pancake and Waffle Mix | 6-26 | high protein,
            whole grain, keto friendly
        """,
    ),
)

BRAND_STARTS = words("""
    Bra, Che, Dro, Fei, Gla, Hoo, Jai, Kre, Lum, Mev, Nyo, Pla, Quo, Rin, Sha, Sto, Tre, Vaa, Wex,
    Yul, Zeb, Oru, Ilv, Uba
""")
BRAND_MIDDLES = words("na, ro, li, ve, mo, ta, du, pe, ki, sha, lo, ri, be, zu, fa, ne")
BRAND_ENDS = words(
    "n, lex, rix, mm, sth, nd, rk, lyo, zo, vari, mint, ntal, lis, dorr, bex, to, que"
)
BRAND_HEADS = words("""
    Tall, Quiet, Ninth, Sudden, Patient, Woolly, Crooked, Sleepy, Brisk, Spare, Mossy, Dapper,
    Plain, Seventh, Twice, Early
""")
BRAND_TAILS = words("""
    Otter, Finch, Lantern, Thimble, Kettle, Gable, Heron, Button, Bramble, Ladder, Marmot, Turnip,
    Sparrow, Gatepost, Walrus, Pantry
""")
PACKS: Mapping[str, tuple[str, ...]] = {
    "beauty": words("Pack of 2, 2 Pcs, 1 Count, Set of 3, Gift Set, 3 Pack, 1 Fl Oz, 4 Oz"),
    "electronics": words("2 Pack, 1 Pack, Upgraded, New Version, 2 Pcs, with Manual, Gen 2"),
    "fashion": words("S-5XL, 1 Pack, 2 Piece, Plus Size, New Season, 2 Pack, Gift Idea"),
    "garden": words("Set of 2, 1 Pack, 2 Pack, 1 Piece, 24 Inch, 36 Inch, Set of 4"),
    "grocery": words("Pack of 1, Pack of 6, 12 Count, 8 Ounce, 1 Pound, Pack of 2, 24 Count"),
}

LINES: Mapping[str, tuple[str, ...]] = {
    "before": (
        "{A}: we kept it that way from the first sketch to the last",
        "{A} - one thing less to think about every day",
        "A {noun} that says {a} on the label and means it",
        "{A} design, tested by people who use it at home",
        "You asked for {a}, so here it is",
        "Simple, honest, {a} and made with care",
        "What it stands for: {a}, day after day",
    ),
    "with": (
        "{A}: the part that you notice first when you use it",
        "Made with {a} and checked by hand before it leaves us",
        "We chose {a} for this {noun} after a year of trials",
        "Comes with {a}, so nothing else has to be bought",
        "{A} - a small detail that makes all the difference",
        "Thanks to {a} it is what you would expect of {brand}",
    ),
    "for": (
        "Made for {a} and just as welcome as a present",
        "{A}: this {noun} was made with that in mind",
        "A good match for {a}, whatever the time of year",
        "Suitable for {a} - many of our customers buy it again",
        "Works well for {a}, alone or together with others",
    ),
}
"""Bullet points that name an attribute, by its role."""

BULLETS: Mapping[str, tuple[str, ...]] = {
    "beauty": (
        "How to use: start with a little, wait a moment and add more where you need it",
        "Our {noun} is filled in small lots, so every one of them reaches you fresh",
        "A present that suits mothers, sisters and friends",
        "Please keep it in a dry place away from the sun",
        "If your order is not what you hoped for, write to us and we will put it right",
        "Size and shade may look a little different on your screen",
    ),
    "electronics": (
        "What is in the box: one {noun}, a short guide and a card with our address",
        "Please check the model of your device before you order",
        "One year of free replacement if anything stops working",
        "Fits on a desk, in a drawer or in a bag and is ready in a minute",
        "Works with most devices that were sold in the last years",
        "Our support answers within one day, on weekends too",
    ),
    "fashion": (
        "Size: please look at our chart and take one size up if you are between two",
        "The fabric is soft to the touch and keeps its shape",
        "Goes with jeans, shorts or a skirt and with most of what you own",
        "The color may differ a little from the photo because of the light",
        "A present for a partner, a parent or yourself",
        "Sewn with a double seam so that it lasts more than one season",
    ),
    "garden": (
        "Dimensions: please measure your space and compare it with the last picture",
        "All parts and tools come in one box with a clear guide",
        "The finish goes with light and dark rooms alike",
        "Wipe it with a damp cloth and it looks new again",
        "Packed with care; if a part is broken we send another one for free",
        "The {noun} stands firmly and does not wobble on an uneven floor",
    ),
    "grocery": (
        "Serving idea: share it with friends or keep it for a quiet evening",
        "Packed on the day it is made and sealed to keep the taste",
        "Store in a cool, dry place and close the bag after opening",
        "A family recipe that we have not changed in thirty years",
        "A welcome present for neighbors, teachers and hosts",
        "Goes well with breakfast, lunch or an afternoon break",
    ),
}
"""Bullet points that say nothing the reward asks for."""

SENTENCES: tuple[str, ...] = (
    "The {brand} {noun} was made for people who know what they want.",
    "We are a small team and we use this {noun} ourselves.",
    "Every {noun} is looked at twice before it is packed.",
    "{style} and useful, it finds its place quickly.",
    "Order today and tell us what you think of it.",
    "It makes a thoughtful gift at any time of the year.",
    "{brand} has made things like this since the first shop opened.",
    "Please write to us before you return it, because we can help with most questions.",
    "Package includes: 1 x {noun}.",
    "You will not find many like this {noun}.",
)
DESCRIBING: Mapping[str, tuple[str, ...]] = {
    "before": ("In short: {a}.", "Also good to know: {a}.", "Main feature: {a}."),
    "with": ("It is made with {a}.", "You get {a} as well.", "Look for the {a}."),
    "for": ("It is meant for {a}.", "We recommend it for {a}.", "Many use it for {a}."),
}
"""Sentences of a description that name an attribute, by its role."""

INSTRUCTIONS: tuple[str, ...] = (
    "Find me {before} {query} {with} {for}",
    "Find me {before} {query} {with} {for}",
    "Find me {before} {query} {with} {for}",
    "Find {query} {for} {with} that are {is}",
    "I want {before} {query} {for} {with}",
    "Show me {query} {with} {for}, {is}",
    "Buy {before} {query} {with} {for}",
    "Get me {query} {for}, {is} and {with}",
    "I need {before} {query} {with} {for}",
    "Search for {before} {query} {with} {for}",
    "I am shopping for {before} {query} {with} {for}",
)
"""Texts of synthetic goals. Price limit and options are appended to them."""

REQUESTS: tuple[str, ...] = (
    "i need {thing}",
    "i am looking for {thing}",
    "i'm looking for {thing}",
    "im looking for {thing}",
    "looking for {thing}",
    "i want {thing}",
    "i want to buy {thing}",
    "i would like {thing}",
    "i would like to order {thing}",
    "i'd like to find {thing}",
    "find me {thing}",
    "get me {thing}",
    "show me {thing}",
    "let me see {thing}",
    "can you find {thing}?",
    "do you have {thing}?",
    "where can i get {thing}?",
    "could you help me pick {thing}?",
    "please order {thing}",
    "buy {thing}",
    "{thing}",
    "{thing} please",
    "i am in need of {thing}",
    "i am interested in {thing}",
    "hello, i am shopping for {thing}",
    "hey, my old one broke so i need {thing}",
    "i am trying to find {thing} as a gift",
    "my sister asked me for {thing}",
    "i've been searching for {thing}, any brand will do",
    "it is for a friend, i think i need {thing}",
)
"""What people ask; `thing` names product, attributes and options."""

DESCRIPTIONS: tuple[str, ...] = (
    "i need to find {plain} that {facts}",
    "i am looking for {plain}. make sure that it {facts}",
    "i want {plain} that {facts}",
    "get me {plain}, it should be one that {facts}",
    "i need {plain}, something that {facts}",
    "help me choose {plain} that {facts}",
    "looking for {plain} which {facts}",
    "what i need is {plain} and it is important that it {facts}",
    "is there {plain} that {facts}?",
)
"""The same in two parts: `plain` is the product with its options."""

WISHES: tuple[str, ...] = (
    ". i want it {}",
    ". please pick one {}",
    ", and i would like it {}",
    ". also choose one {}",
    ". it should be {}",
)
"""Options as an afterthought."""

FACTS: Mapping[str, tuple[str, ...]] = {
    "before": ("is {a}",),
    "with": ("has {a}", "comes with {a}"),
    "for": ("is good for {a}", "works for {a}", "is meant for {a}"),
}
ADJECTIVES = ("color", "size", "flavor name", "scent", "pattern name")
"""Option groups whose values can stand before a noun."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "color": ("in {v}", "in the color {v}", "in {v} color", "in {v}"),
    "size": ("in size {v}", "in a size {v}", "size {v}", "in {v}"),
    "flavor name": ("in {v} flavor", "with {v} flavor", "in the flavor {v}"),
    "scent": ("with a {v} scent", "in the scent {v}", "with {v} scent"),
    "style": ("in the {v} style", "in {v} style"),
    "pattern name": ("with a {v} pattern", "in the {v} pattern"),
    "fit type": ("in a {v} fit", "with fit type {v}"),
}
"""How people name an option value, by its group."""
