"""Words to sing: small word lists and a generator of pronounceable nonsense, by language."""

from __future__ import annotations

import numpy as np

VOCALISES = ("ooh", "aah", "oh", "hey", "yeah", "la", "na", "doo", "woh", "mm")


def _listed(text: str) -> list[str]:
    return text.split()


_ENGLISH = _listed("""
love heart baby tonight forever never always only lonely away today moment morning evening
summer winter river ocean mountain island city highway road home door window fire water rain
thunder lightning sun moon star sky light shadow dark night day time life dream sleep wake feel
touch hold kiss break fall rise run walk dance sing song music rhythm guitar radio party people
crazy lazy easy ready steady money honey sugar candy silver golden diamond paper letter picture
mirror story memory history mystery magic angel devil heaven hell freedom danger stranger lover
brother sister mother father children somebody nobody everybody something nothing everything
wonder under over higher deeper closer slower faster stronger better believe remember forget
surrender return tomorrow yesterday sorrow hollow follow yellow purple crimson velvet burning
turning learning waiting shaking breaking falling calling crying flying dying trying lying
running coming going knowing growing showing blowing I you we they me my your our this that what
when where why who how can will want need give take make know say tell ask call come go stay
leave live die hope pray wish try cry fly shine blind mind find kind wild child smile while mile
fine line mine wine again begin within skin sin spin win street feet sweet heat beat seat meet
deep keep free tree see be alone stone phone gone bone zone rose close those cold gold told soul
roll show slow grow blow flow hands lands stands plans chance glance past fast last ask glass
black back track crack jack smoke broke heavy empty twenty seven eleven hundred thousand million
simple little middle battle trouble double generation revolution imagination celebration
satisfaction beautiful wonderful terrible invisible electric romantic fantastic plastic desire
vampire satellite paradise hurricane avenue melody harmony anyway anymore anyone hallelujah
carry marry sorry hurry worry funny sunny bunny jungle single jingle strong wrong along belong
song long young tongue among church search judge bridge fridge edge catch watch please freeze
breeze leaves thieves dreams screams streams schemes friend end send bend spend weekend
""")

_ITALIAN = _listed("""
amore cuore notte sole luna mare cielo vento terra fuoco acqua strada casa porta vita sogno
bella cara sempre mai ancora domani adesso dove quando come perche senza dentro fuori sopra
sotto piano forte dolce cantare ballare volare tornare restare partire dormire sentire morire
vivere aspettare guardare lasciare parole silenzio musica canzone chitarra ragazza ragazzo
bambina amico mondo giorno mattina sera estate inverno primavera stella nuvola pioggia sabbia
fiore rosa rosso bianco nero azzurro verde grande piccolo mani occhi bocca pelle anima corpo
sangue destino fortuna libero solo insieme niente tutto qualcosa
""")

_SPANISH = _listed("""
amor corazon noche sol luna mar cielo viento tierra fuego agua calle casa puerta vida sueno
bella linda siempre nunca todavia ahora donde cuando como porque adentro fuera arriba abajo
lento fuerte dulce cantar bailar volar volver quedar partir dormir sentir morir vivir esperar
mirar dejar palabras silencio musica cancion guitarra muchacha amigo mundo manana tarde verano
invierno estrella nube lluvia arena flor rosa rojo blanco negro azul verde grande pequeno manos
ojos boca piel alma cuerpo sangre destino suerte libre solo juntos nada todo alegria fiesta
caliente despacito quiero tengo puedo vamos dime dame besame
""")

_GERMAN = _listed("""
liebe herz nacht sonne mond meer himmel wind erde feuer wasser haus leben traum immer niemals
heute morgen gestern tanzen singen fliegen bleiben gehen kommen schlafen warten sehen lassen
worte stille musik lied freund welt tag abend sommer winter stern wolke regen sand blume rose
rot weiss schwarz blau gross klein hand auge mund haut seele blut schicksal frei allein zusammen
nichts alles etwas sehnsucht freiheit zeit licht schatten dunkel strasse stadt fenster bruder
schwester kinder warum wohin woher
""")

_FRENCH = _listed("""
amour coeur nuit soleil lune mer ciel vent terre feu maison porte vie belle toujours jamais
encore demain maintenant quand comment pourquoi dehors doucement chanter danser voler revenir
rester partir dormir sentir mourir vivre attendre regarder laisser paroles silence musique
chanson guitare ami monde jour matin soir hiver printemps nuage pluie sable fleur rose rouge
blanc noir bleu vert grand petit mains yeux bouche peau corps sang destin chance libre seul
ensemble rien tout quelque
""")

# onsets, nuclei, codas and the share of closed syllables, for nonsense that the voice can say
_PHONOTACTICS: dict[str, tuple[str, str, str, float]] = {
    "english": (
        "b d f g h j k l m n p r s sh t v w y st tr br fl gr cl",
        "a e i o u ay ee oo oa ow",
        "n m l r s t k d ng",
        0.35,
    ),
    "italian": (
        "b c d f g l m n p r s t v z st tr br gr fl pr",
        "a e i o u a e o",
        "n l r s",
        0.12,
    ),
    "spanish": ("b c d f g l m n p r s t v tr br fl pr ch ll", "a e i o u a e o", "n s r l", 0.2),
    "portuguese": (
        "b c d f g l m n p r s t v tr br fl pr ch",
        "a e i o u a ei ou",
        "m s r l",
        0.15,
    ),
    "german": (
        "b d f g h k l m n p r s sch t w z st tr br fl",
        "a e i o u au ei ie",
        "n m l r s t ch",
        0.4,
    ),
    "french": (
        "b c d f g j l m n p r s t v ch tr br fl pl",
        "a e i o u ou eu oi an on",
        "r l s t",
        0.2,
    ),
    "czech": ("b d h j k l m n p r s t v z st tr pr kr sl", "a e i o u a e o", "n m l s k t", 0.25),
    "finnish": ("h j k l m n p r s t v k t", "a e i o u aa ee ii oo uu ai ei au", "n s l t r", 0.3),
    "catalan": ("b c d f g j l m n p r s t v tr br pl x", "a e i o u a e o", "n s r l m", 0.3),
    "polish": ("b d g j k l m n p r s t w z st tr pr kr", "a e i o u y a e", "n m l s k t", 0.25),
    "swedish": (
        "b d f g h j k l m n p r s t v st tr br fl",
        "a e i o u y aa ee",
        "n m l r s t",
        0.35,
    ),
    "japanese": ("k s t n h m y r w g z d b p sh ch", "a i u e o aa oo ei", "n", 0.15),
    "indonesian": ("b c d g h j k l m n p r s t w y ng", "a e i o u a i u", "n ng k s r", 0.25),
}
_LISTS = {
    "english": _ENGLISH,
    "italian": _ITALIAN,
    "spanish": _SPANISH,
    "german": _GERMAN,
    "french": _FRENCH,
    "catalan": _SPANISH,
    "portuguese": _SPANISH,
}


def nonsense(rng: np.random.Generator, language: str) -> str:
    """One made-up word of one to three syllables that follows the language's spelling."""
    onsets, nuclei, codas, closed = _PHONOTACTICS[language]
    word = ""
    for _ in range(int(rng.choice([1, 2, 2, 3]))):
        word += str(rng.choice(onsets.split())) + str(rng.choice(nuclei.split()))
    return word + (str(rng.choice(codas.split())) if rng.random() < closed else "")


def draw_words(rng: np.random.Generator, language: str, count: int) -> list[str]:
    """`count` different words in `language`: vocalises first, then listed and made-up words."""
    words = list(VOCALISES[:count])
    listed = list(dict.fromkeys(_LISTS.get(language, [])))
    share = 0.85 if language == "english" else 0.6
    wanted = min(len(listed), int((count - len(words)) * share))
    if wanted > 0:
        words += [str(word) for word in rng.choice(listed, size=wanted, replace=False)]
    while len(words) < count:
        word = nonsense(rng, language)
        if word not in words:
            words.append(word)
    return words
