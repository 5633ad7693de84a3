"""Word lists of our own for the tokenizer's corpus; nothing here comes from a data set."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COLOURS = _words(
    "red green blue purple yellow grey gray black white brown orange pink navy teal beige ivory "
    "silver gold bronze maroon olive turquoise lavender coral crimson indigo khaki burgundy cream "
    "charcoal mint peach rose aqua violet amber magenta rust sand plum lilac mustard emerald"
)
MATERIALS = _words(
    "cotton wool leather suede denim linen silk polyester nylon steel wood bamboo glass ceramic "
    "plastic rubber velvet canvas fleece cashmere spandex rayon viscose acrylic metal aluminum "
    "marble cork paper foam mesh lace satin copper brass iron titanium silicone stone clay felt "
    "microfiber stainless wooden synthetic organic recycled faux"
)
PRODUCTS = _words(
    "shirt dress jacket coat jeans shorts skirt sweater hoodie sock shoe boot sandal sneaker hat "
    "cap scarf glove belt wallet bag backpack purse watch ring necklace bracelet earring lamp "
    "desk chair table sofa couch bed pillow blanket curtain rug mirror shelf cabinet drawer bench "
    "stool mattress sheet towel mug cup plate bowl bottle kettle pan pot knife spoon fork blender "
    "oven toaster grill speaker headphone headset earbud charger cable adapter keyboard mouse "
    "monitor laptop tablet phone camera tripod lens printer router drone console controller "
    "television antenna battery flashlight lantern tent stool candle vase clock frame poster "
    "sticker notebook pen pencil marker eraser folder stapler scissors tape glue brush comb razor "
    "shampoo conditioner soap lotion serum mask lipstick mascara perfume deodorant toothbrush "
    "toothpaste sunscreen moisturizer cleanser toner cream gel oil vitamin protein powder snack "
    "cookie cracker chip bar nut almond cashew coffee tea juice soda water sauce pasta rice "
    "noodle soup bread cereal honey jam butter cheese chocolate candy gum popcorn spice salt "
    "pepper sugar flour bike helmet ball bat racket net yoga mat dumbbell rope skate board puzzle "
    "doll toy robot truck car train plane kite balloon costume wig slipper pajama bra underwear "
    "legging swimsuit bikini robe tie vest blouse cardigan tunic blazer suit pants trousers "
    "jumpsuit romper loafer heel pump clog trainer hammer drill saw wrench screwdriver pliers "
    "ladder bucket hose sprinkler shovel rake planter seed fertilizer broom mop vacuum sponge "
    "detergent bin basket hanger hook rack organizer case cover sleeve stand mount holder bracket "
    "screen protector stylus projector microphone guitar piano drum violin flute ukulele heater "
    "fan humidifier purifier thermostat sensor alarm lock"
)
ADJECTIVES = _words(
    "new old small large big tiny huge long short wide narrow thick thin tall low high heavy "
    "light soft hard warm cool hot cold dry wet clean dirty bright dark loud quiet fast slow "
    "quick strong weak smart simple easy modern classic vintage casual formal elegant stylish "
    "portable wireless waterproof durable adjustable foldable reusable rechargeable comfortable "
    "breathable lightweight ergonomic compact natural fresh gluten free vegan sugarless fragrance "
    "hypoallergenic sensitive slim regular relaxed loose tight stretch printed striped floral "
    "plain solid matte glossy round square oval flat curved double single multi extra premium "
    "deluxe original digital electric manual automatic hydrating nourishing gentle rich pure raw "
    "sweet spicy sour bitter salty crispy next previous first last left right top bottom open "
    "closed locked full empty ready missing valid invalid correct wrong possible impossible "
    "likely sure final best better good bad worse worst same different equal other every each "
    "many few more less most least enough available public private local remote current recent "
    "early late active pending complete partial unique"
)
NOUNS = _words(
    "people person man woman child friend family team group company customer user agent assistant "
    "system model world house home room kitchen bedroom bathroom office garden school store shop "
    "market street city town country river mountain lake sea beach forest tree flower grass bird "
    "dog cat horse fish animal food breakfast lunch dinner morning evening night day week month "
    "year hour minute second time date place name address number size color style brand price "
    "rating review feature description option item order cart page list result search query "
    "button link menu text word sentence question answer message email letter report file folder "
    "path document table row column cell value key type field record index id code test task step "
    "action state goal plan problem solution reason idea example case rule limit error warning "
    "success failure start end begin middle side front back corner edge wall door box floor "
    "ceiling window roof object target grid cell map direction distance hand eye head foot game "
    "move turn score reward point level budget cost money dollar cent percent total sum "
    "difference product ratio fraction weather rain snow wind cloud sun temperature degree flight "
    "ticket hotel train station airport car engine fuel tire brake seat speed road trip travel "
    "map guide music song movie book story news picture photo video sound voice language english "
    "function method argument parameter class string integer boolean array object request "
    "response status tool call data database server network account password login session token "
    "stock share trade portfolio watchlist post tweet comment follower tag ticket priority "
    "support contact calendar event meeting reminder note alarm recipe ingredient inventory plank "
    "stick log ingot ore diamond emerald gold iron coal chest furnace bucket torch pickaxe axe "
    "sword shovel armor mail planks glass stone brick dye wool"
)
VERBS = _words(
    "go turn pick drop put get take give make use find look see open close search click buy add "
    "remove move walk run stop start begin finish end try help ask answer tell say show write "
    "read send receive call return create delete update set check list count sort filter choose "
    "select compare match test fix build break cut cook bake boil mix pour wash clean dry fold "
    "hang carry hold push pull lift throw catch kick hit drive ride fly swim climb jump sit stand "
    "sleep wake eat drink play work learn teach study think know believe want need like love hate "
    "hope wish feel hear smell taste touch watch listen speak talk visit meet join leave stay "
    "wait follow lead bring keep lose win pay cost spend save earn sell order ship deliver pack "
    "wrap load store share post reply forward copy paste print scan sign book cancel confirm "
    "accept reject change replace repeat reach explore toggle unlock lock craft solve reply "
    "combine divide multiply subtract contain require include provide allow support enable "
    "disable fill empty measure"
)
FUNCTION_WORDS = _words(
    "the a an and or but if then else when while because so than that this these those it its he "
    "she they we you I me him her them us my your his our their who what which where why how not "
    "no yes is are was were be been being am do does did done have has had can could will would "
    "shall should may might must of in on at by for with without from to into onto over under "
    "above below between among through across behind before after during until since about "
    "against near up down out off again once here there now always never often sometimes only "
    "just also too very still already yet both either neither any some all none such own per via "
    "as like next please"
)
FIRST_NAMES = _words(
    "Ada Ben Clara David Elena Felix Grace Hugo Iris Jonas Kira Leo Maya Noah Olga Paul Quinn "
    "Rosa Sam Tara Uma Victor Wendy Xavier Yara Zoe Alex Bella Carlos Diana Emil Fatima George "
    "Hana Ivan Julia Karl Lina Marco Nina Oscar Priya Ravi Sofia Tom Vera Will Yusuf Anna John "
    "Mary Lucas Emma"
)
CITIES = _words(
    "London Paris Berlin Madrid Rome Vienna Oslo Lisbon Dublin Athens Tokyo Delhi Cairo Lagos "
    "Nairobi Sydney Toronto Boston Chicago Denver Seattle Austin Dallas Miami Lima Bogota "
    "Santiago Seoul"
)
SYLLABLES = _words(
    "ba be bi bo bra ca ce ci co cra da de di do dra el en er es fa fe fi fo fra ga ge go gra ha "
    "he hi ho in is ja jo ka ke ki ko kra la le li lo lu ma me mi mo mu na ne ni no or pa pe pi "
    "po pra qua ra re ri ro ru sa se si so sta ta te ti to tra ul un va ve vi vo wa we wi xa xi "
    "ya yo za ze zo zu lex dor tek mar ton vin sol lum net fit lux pro max ver nor"
)
SIZES = ("small", "medium", "large", "x-large", "xx-large", "8", "10.5", "32w x 30l")
UNITS = _words("inch inches ft cm mm oz ounce lb pound kg g ml liter pack count piece pair set")
MISSION_OBJECTS = _words("ball box key door")
GRID_COLOURS = _words("red green blue purple yellow grey")
GRID_ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
API_VERBS = _words(
    "get set create delete update list search send cancel book find add remove check start stop "
    "calculate convert open close read write move copy compare place fetch submit resolve "
    "retrieve"
)
API_NOUNS = _words(
    "file directory message user ticket order stock flight weather event reminder account balance "
    "watchlist invoice mileage engine door tire city zipcode temperature distance post comment "
    "priority budget card insurance mean deviation logarithm percentage item price report "
    "location"
)
TYPES = _words("string integer number boolean array object")
