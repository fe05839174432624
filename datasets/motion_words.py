"""Which English words tell of motion? The word lists of the rule-based caption splitter (`datasets/motion_text.py`).

Lemmas, lower case, by what they say of a video: verbs that anyone sees happen, everyday actions, verbs of staying and
of talk, gerunds that name things, nouns that name an action, directions, manners, words of the camera. Source: ours,
made for captions in the style of WebVid (stock-video titles) and MSR-VTT (short sentences).
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ---- verbs, by how much is seen to happen ----

STRONG = _words(
    """
    accelerate approach arrive ascend assault attack backflip bike blast blow boil bounce bow box break breakdance
    bubble buck burn burst canter capsize catch cartwheel charge chase circle clap climb clink collapse collide
    crash crawl creep cross crumble dance dash depart descend dig disappear dissolve dive drag drift drip drive drop
    drown duel dunk emerge enter erupt escape evaporate expand explode fall fight flap flash fling flick flicker
    flip float flood flow flutter fly follow freeze gallop glide grapple grow gush hammer hike hit hop hover hug
    hunt hurl hurry jerk jog juggle jump kick kickbox knock launch leap lift march meander melt move nod orbit
    overtake paddle parachute parade pedal plunge poke pop pounce pound pour pull pulsate pulse punch push race
    raise rally rappel reverse revolve ride rip ripple rise roam rock roll rotate row run rush sail salute sashay
    scamper scatter scoot scramble scroll shake shatter shift shoot shove shrink sink skate skateboard ski skid skip
    slam slap slide slip slither smash snowboard soar somersault spar spill spin splash spray spread sprinkle sprint
    squirm stagger stampede steer step stir stomp storm stretch stroll struggle stumble surf surge swarm sway swerve
    swim swing swipe swirl swoop tackle tap throw thrash thrust tip toddle toss travel tremble trickle trot trudge
    tumble turn twirl twist vibrate vault wade waddle wag walk waltz wander wave whip whirl wiggle wobble wrestle
    zigzag zip zoom
    """
)
ACTION = _words(
    """
    act add adjust apply arrange assemble bake bat bathe bark beat bend bite bless blink bloom blossom boat bowl
    braid bring brush build bury butter button buy carry carve cast celebrate change chew chop clean clear close
    collect comb come compete construct cook count cover cruise cuddle curl cut deal decorate deliver demonstrate
    destroy dip do drain draw dress drill drink drum dry dust eat embrace empty enter examine exercise exit fan farm
    feed fill fish fit fix flatten fold fry gather gesture get give go grab grate graze greet grill grind grip groom
    hand handle harvest heat hide inflate inject inspect install iron kiss knead knit land laugh lay lead leave lick
    light load lower make manipulate massage measure meet mix mop mow nail navigate open operate oil pack paint park
    patrol peel perform pet pick pitch place plant plaster play plow plug point polish practice practise prepare
    press prick print pump put rehearse reload remove repair replace return rinse rub salt sand saw score scoop
    scrape scratch scrub search season serve set sew shave shop shovel shred shuffle sift simmer skin slice smear
    sniff solder sort spar spit squat squeeze stack stain stamp steal stick stuff suck sunbathe swallow sweep take
    tear tend test text throw tickle tie toast touch tour train trim tune type unbox unfold unload unpack unwrap use
    visit wash water weave weed weld whisk whistle wipe work wrap write
    """
)
STATIC = _words(
    """
    advertise advise announce answer appear argue ask attend be become begin belong chat comment compare contain
    converse debate describe detail depict die discuss display dream enjoy exist explain face feature film gaze
    happen have hear hold include instruct interview introduce involve joke keep lean learn lie like listen live
    look love mention mirror model narrate need observe overlook own pan pose pray present read recline record relax
    remain report represent rest reveal review seem shine show sing sit sleep smell smile speak squint stand stare
    start stay stop study surround talk taste teach tell think tilt try tutor understand wait want watch wear welcome
    wonder worry
    """
)
VERBS = {**dict.fromkeys(STATIC, 0.0), **dict.fromkeys(ACTION, 0.6), **dict.fromkeys(STRONG, 0.85)}
UNKNOWN_GERUND = 0.5  # of a verb in no list: as likely as not

_PAST = _words(  # a form: its verb
    """
    bent:bend bit:bite bitten:bite blew:blow blown:blow broke:break broken:break brought:bring built:build
    bought:buy came:come caught:catch crept:creep dealt:deal did:do done:do dove:dive drank:drink drawn:draw
    drew:draw driven:drive drove:drive dug:dig eaten:eat ate:eat fallen:fall fed:feed fell:fall flew:fly flown:fly
    flung:fling fought:fight froze:freeze gave:give gone:go got:get grew:grow grown:grow hidden:hide laid:lay
    leapt:leap led:lead left:leave lit:light made:make ran:run ridden:ride rode:ride risen:rise rose:rise
    sailed:sail sang:sing sat:sit sank:sink sewn:sew shaken:shake shook:shake shot:shoot shrank:shrink slid:slide
    spoke:speak sprang:spring spun:spin stood:stand stole:steal struck:strike stuck:stick swam:swim swept:sweep
    swung:swing taken:take threw:throw thrown:throw took:take told:tell torn:tear tore:tear went:go woven:weave
    wrote:write written:write lying:lie dying:die tying:tie
    """
)
IRREGULAR = {form: verb for form, _, verb in (pair.partition(":") for pair in _PAST)}
SAME_IN_PAST = _words("beat burst cast cut fit hit put set shut spread")
STATES = _words(  # participles that tell how a thing is, not what becomes of it
    """
    animated armed baked blown-up boiled broken built burnt carved chopped closed covered cut decorated dressed
    dried driven filled fit fitted flattened folded fried frozen gathered grated grilled grown grown-up heated
    hidden illuminated inflated knitted laid left lit loaded located made melted mixed opened packed painted parked
    peeled pictured placed planted polished pressed printed ripped rolled salted scattered set shaved sliced sorted
    spread stacked stained stuffed surrounded tied toasted torn trained twisted used washed woven wrapped written
    """
)
RISING = _words("sit stand lie get lay kneel wake")  # verbs of staying that are motion with "up" or "down"

# ---- words that look like verbs and are none, or may be none ----

THINGS = _words(  # gerunds that name a thing, a time or a quality
    """
    amazing anything awning bedding being boring building casing ceiling charming clearing clothing coating costing
    covering crossing darling during earring evening everything exciting fencing flooring frightening gathering
    greeting housing icing inspiring interesting king landing lightning lighting living lodging meaning meeting
    missing morning nothing offering opening outstanding paneling painting parking pudding railing ring roofing
    sibling shocking sling something spring sterling string stuffing stunning surprising swing thing tubing viking
    wedding wing wiring writing
    """
)
HEADS = _words(  # after a gerund they make a thing of it: swimming pool, running shoes, cutting board
    """
    accessories aid area arena bag bags bank banner bath bed bench bike board boards boat boats book boots bowl
    bridge business camp car card center centre chair class classes club competition contest course cream dress
    equipment exhibition facility festival field fields floor gear glasses goods ground grounds gym gun hall hat
    house instructions kit knife lesson lights list lot machine machines mall mat material mill museum oil pad
    paddle page pan paper path plant plate platform point pole pool pools pot powder rack range ring rink rod rods
    room rooms salon school set shed sheet ship shoe shoes shop show shows sign site slope soda stand station stick
    stool store studio suit suits supplies system table tables tank test tips tool tools tower toy track trail
    trophy trunks tutorial utensils venue vest village wall water wheel yard zone
    """
)
DOUBTFUL = _words(  # as a noun at least as often: only a verb where the words around say so
    """
    act answer arrange bark bat bath beat bike bite blast blow board boat bow bowl box break brush bubble bus butter
    button camp cast catch change charge chase chop circle clap climb close comb cook count cover crawl cross cruise
    curl cut dance dash deal dive dress drift drill drink drip drive drop drum dust empty escape exercise exit face
    fall fan farm feature fight film fish fit fix flap flash flicker flip float flood flow fly fold freeze gesture
    grill grip groom guide hammer hand handle harvest heat hike hit hop hug hunt iron jump kick kiss knit knock land
    launch laugh lead leap leave lift light look load march massage measure model mop move nail oil open pack paint
    parade park pet pick pitch place plant plaster play plug point polish pop pound practice present press print
    pulse pump punch push race rally record report rest return ride rip ripple rise rock roll row run salt sand saw
    score scoop scratch scroll search season set shake shave shift shop shovel show shower skate ski skin skip slam
    slap slice slide slip smash smile smoke snow sort spin splash spray spread spring sprint squat stack stain stamp
    stand start step stick stomp stop storm stretch stroll study stuff surf surge swing switch tackle tap taste tear
    test text throw tie tip toast toss touch tour train travel trim trot tune turn twist type use vault visit wait
    walk wash watch water wave weed whip whistle wing work wrap
    """
)
MOSTLY_THINGS = _words("drops falls leaves lights rocks shots steps waves works")
WAVES = _words(
    """
    big blue calm foamy giant heat high huge large light ocean radio rough sea shock small sound stormy water
    """
)
ACTS = _words(  # nouns that name what happens
    """
    animation avalanche backflip ballet breakdance burnout cartwheel chase combat dance dunk earthquake eruption
    explosion fight fireworks flip gymnastics handstand hurricane kickflip lap marathon parade pirouette
    pull-up pull-ups pullup pushup push-up push-ups pushups race rotation sit-up sit-ups situps somersault splash
    spin squat squats stampede stunt stunts takeoff tango tornado transition tsunami waltz wheelie workout wrestling
    boxing skiing
    """
)
INERT = _words(
    """
    arcade bag ball band car cars class club course floor hall mat movie music number official party poster room
    scene school shoes show song studio suit teacher team track video
    """
)

ADJECTIVES = _words(  # common ones before a gerund that is part of a name: "new running shoes"
    """
    afternoon beautiful big black blank blue brown cheap classic clean colorful colourful cozy different digital
    dirty early electric empty evening expensive famous fresh golden gray green grey huge indoor industrial large
    little long luxury metal modern new nice old open orange outdoor pink plastic pretty private professional public
    purple red round short silver small special stylish traditional vintage various white wooden yellow
    """
)

# ---- where to, how, and by which camera ----

DIRECTIONS = _words(
    """
    above across ahead anticlockwise apart around aside away back backward backwards clockwise counterclockwise down
    downhill downstairs downstream downward downwards east forth forward forwards in into inward left leftward
    leftwards north off out outward outwards over overhead past right rightward rightwards round sideways south
    through together toward towards up uphill upstairs upstream upward upwards west bigger closer faster farther
    further higher larger lower slower smaller wider
    """
)
AT_END = _words("in over back right left round")  # a direction only where no noun follows: "zooms in", "turns left"
MANNERS = _words(
    """
    abruptly briskly energetically fast frantically gently gracefully hastily rapidly repeatedly rhythmically slowly
    smoothly speedily steadily suddenly swiftly vigorously violently wildly quickly
    """
)
CAMERA = {
    "timelapse": 0.85, "time-lapse": 0.85, "hyperlapse": 0.85, "hyper-lapse": 0.85, "slow-motion": 0.8,
    "slowmotion": 0.8, "slow-mo": 0.8, "slowmo": 0.8, "panning": 0.8, "zooming": 0.8, "tilting": 0.8,
    "dolly": 0.8, "flyover": 0.8,
    "fly-over": 0.8, "flythrough": 0.8, "fly-through": 0.8, "pan": 0.0, "tilt": 0.0, "zoom": 0.0, "stop-motion": 0.7,
}  # fmt: skip
CAMERA_MOVES = _words("dolly pan tilt track zoom truck orbit push pull move glide fly")
PHRASES = {
    ("time", "lapse"): 0.85, ("hyper", "lapse"): 0.85, ("slow", "motion"): 0.8, ("slow", "mo"): 0.8,
    ("fast", "motion"): 0.8, ("stop", "motion"): 0.7, ("tracking", "shot"): 0.8, ("dolly", "shot"): 0.8,
    ("push", "ups"): 0.8, ("pull", "ups"): 0.8, ("sit", "ups"): 0.8, ("jumping", "jacks"): 0.8,
    ("camera", "movement"): 0.8, ("camera", "motion"): 0.8,
}  # fmt: skip
PARTLY = {("tracking", "shot"): 1, ("dolly", "shot"): 1, ("camera", "movement"): 1, ("camera", "motion"): 1}

# ---- the frame of a sentence ----

DETERMINERS = _words(
    """
    a an the this that these those his her its their my your our some any each every no another several many few two
    three four five six seven eight nine ten one both all lots
    """
)
AUXILIARIES = _words(
    "is are was were be been being am get gets got getting has have had does did do will can could would may might "
    "must should s re ve"
)
PASSIVE = _words("is are was were be been being get gets got getting")
BEFORE_BASE = _words("to will can could would may might must should i you we they who let lets does do did not")
PLURALS = _words(
    """
    people men women children kids police fish sheep geese mice teeth feet crowd couple team family group
    """
)
PRONOUNS = _words("he she it who that which someone somebody somone one everyone everybody another they i we you")
BREAKS = _words(  # where a phrase of motion ends
    """
    against although among amid and as at because before behind below beneath beside besides between but by concept
    during for from how if in inside like near next of on onto or outside so than that then under underneath until
    when where which while who with within without
    """
)
PREPOSITIONS = _words(
    """
    about above across after against along amid among around at before behind below beneath beside between by during
    for from in inside into like near of off on onto over past through to toward towards under up upon with within
    without
    """
)
COLLECTIVE = _words(
    """
    array assortment bunch clip clips close-up closeup collection couple crowd flock footage group herd image images
    lot lots number pack pair picture pictures portrait portraits row school series shot shots silhouette slow swarm
    team up variety video videos view
    """
)
LOOSE = AUXILIARIES | _words("and to while then but as who that") | {","}  # what needs something behind it
NO_NOUNS = BREAKS | PREPOSITIONS | DIRECTIONS | MANNERS
