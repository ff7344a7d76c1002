"""Drum patterns of one bar: x hit, X accent, o soft hit; each string divides the bar evenly."""

from __future__ import annotations

Groove = dict[str, str]

_EIGHTHS = "x.x.x.x.x.x.x.x."
_SIXTEENTHS = "XoxoXoxoXoxoXoxo"

GROOVES: dict[str, tuple[Groove, ...]] = {
    "rock": (
        {"kick": "x.......x.......", "snare": "....X.......X...", "hat": _EIGHTHS},
        {"kick": "x.......x.x.....", "snare": "....X.......X...", "hat": _EIGHTHS},
        {"kick": "x.....x.x.......", "snare": "....X.......X...", "hat": _EIGHTHS},
        {"kick": "x..x....x..x....", "snare": "....X.......X...", "hat": _EIGHTHS},
        {"kick": "x.x.....x.x.....", "snare": "....X.......X..o", "hat": "x...x...x...x..."},
        {"kick": "x.....x...x.....", "snare": "....X.......X...", "hat": "X.o.X.o.X.o.X.o."},
    ),
    "rock16": (
        {"kick": "x......xx.......", "snare": "....X..o.o..X...", "hat": _SIXTEENTHS},
        {"kick": "x..x..x.x..x....", "snare": "....X.......X..o", "hat": _SIXTEENTHS},
    ),
    "halftime": (
        {"kick": "x.......x.x.....", "snare": "........X.......", "hat": _EIGHTHS},
        {"kick": "x..x..x.........", "snare": "........X.......", "hat": "x...x...x...x..."},
        {"kick": "x.....x....x..x.", "snare": "........X.......", "hat": _SIXTEENTHS},
    ),
    "four": (
        {"kick": "x...x...x...x...", "snare": "....X.......X...", "hat": "..x...x...x...x."},
        {"kick": "x...x...x...x...", "snare": "....X.......X...", "hat": _EIGHTHS},
    ),
    "pop": (
        {"kick": "x.....x.x.......", "snare": "....X.......X...", "hat": _EIGHTHS},
        {
            "kick": "x..x......x.....",
            "snare": "....X.......X...",
            "hat": _EIGHTHS,
            "clap": "....x.......x...",
        },
        {
            "kick": "x......x..x.....",
            "snare": "....X.......X...",
            "hat": "xoxoxoxoxoxoxoxo",
            "tambourine": "....x.......x...",
        },
    ),
    "tomrock": (
        {
            "kick": "x...x...x...x...",
            "snare": "....X.......X...",
            "tom_low": "x.xx..x.x.xx..x.",
            "hat": "................",
        },
        {
            "kick": "x.....x.x.......",
            "snare": "....X.......X...",
            "tom_mid": "..x...x...x...xx",
            "tom_low": "x.......x.......",
        },
    ),
    "indie": (
        {"kick": "x...x...x...x...", "snare": "....X.......X...", "hat": "..X...X...X...X."},
        {"kick": "x.x...x.x.x...x.", "snare": "....X.......X...", "hat": _SIXTEENTHS},
        {
            "kick": "x..x..x...x.....",
            "snare": "....X.......X...",
            "shaker": _SIXTEENTHS,
            "hat": "x...x...x...x...",
        },
    ),
    "punk": (
        {"kick": "x...x...x...x...", "snare": "..X...X...X...X.", "hat": _EIGHTHS},
        {"kick": "x..xx.x.x..xx.x.", "snare": "..X...X...X...X.", "hat": "x...x...x...x..."},
    ),
    "metal": (
        {"kick": "xxxxxxxxxxxxxxxx", "snare": "....X.......X...", "hat": "x...x...x...x..."},
        {"kick": "x.xxx.xxx.xxx.xx", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "x.x.x.x.x.x.x.x.", "snare": ".X.X.X.X.X.X.X.X", "hat": "x.x.x.x.x.x.x.x."},
    ),
    "funk": (
        {"kick": "x.x....x..x..x..", "snare": "....X..o.o..X..o", "hat": _SIXTEENTHS},
        {"kick": "x..x..x...x.....", "snare": "....X..o.o.oX...", "hat": "x.xxx.xxx.xxx.xx"},
        {"kick": "x.....x..xx...x.", "snare": "..o.X..o.o..X..o", "hat": _EIGHTHS},
    ),
    "funk16": (
        {
            "kick": "x..x..x..x..x...",
            "snare": "....X.......X..o",
            "hat": _SIXTEENTHS,
            "cowbell": "x...x...x...x...",
        },
        {"kick": "xx.....x..x.....", "snare": "....X..o.o..X.o.", "hat": "xxxxxxxxxxxxxxxx"},
    ),
    "soul": (
        {
            "kick": "x.x.....x.x.....",
            "snare": "....X.......X...",
            "hat": _EIGHTHS,
            "tambourine": "..x...x...x...x.",
        },
        {"kick": "x.....x.x..x....", "snare": "....X..o....X...", "hat": _EIGHTHS},
        {"kick": "x...x...x...x...", "snare": "X...X...X...X...", "hat": _EIGHTHS},
    ),
    "disco": (
        {
            "kick": "x...x...x...x...",
            "snare": "....X.......X...",
            "hat": "x.ox..x.x.ox..x.",
            "open": "..x...x...x...x.",
        },
        {
            "kick": "x...x...x...x...",
            "snare": "....X.......X..o",
            "hat": "xx.xxx.xxx.xxx.x",
            "open": "..x...x...x...x.",
            "conga_high": "..x..xx...x..xx.",
        },
    ),
    "house": (
        {"kick": "X...X...X...X...", "clap": "....x.......x...", "open": "..x...x...x...x."},
        {
            "kick": "X...X...X...X...",
            "snare": "....x.......x..o",
            "open": "..x...x...x...x.",
            "hat": "xxxxxxxxxxxxxxxx",
        },
        {
            "kick": "X...X...X...X..x",
            "clap": "....x.......x...",
            "hat": "x.xxx.xxx.xxx.xx",
            "shaker": _SIXTEENTHS,
        },
    ),
    "electro": (
        {
            "kick": "X..x..x...x.....",
            "snare": "....X.......X...",
            "hat": "x.x.x.x.x.x.x.x.",
            "cowbell": "......x..x......",
        },
        {"kick": "X.....x.X..x....", "clap": "....X.......X...", "hat": "xxxxxxxxxxxxxxxx"},
    ),
    "breakbeat": (
        {"kick": "x.x.......xx....", "snare": "....X..o.o..X..o", "hat": _EIGHTHS},
        {"kick": "x.....x...x..x..", "snare": "....X..o.o....X.", "hat": _EIGHTHS},
    ),
    "hiphop": (
        {"kick": "x......x..x.....", "snare": "....X.......X...", "hat": _EIGHTHS},
        {"kick": "x.x....x.x......", "snare": "....X.......X..o", "hat": _EIGHTHS},
        {"kick": "x..x...x..x..x..", "snare": "....X.......X...", "hat": "x.xxx.x.x.xxx.x."},
    ),
    "boom": (
        {"kick": "x.......xx......", "snare": "....X.......X...", "hat": "x...x...x...x..."},
        {
            "kick": "x.x.......x..x..",
            "snare": "....X.......X...",
            "hat": _EIGHTHS,
            "shaker": _SIXTEENTHS,
        },
    ),
    "trap": (
        {"kick": "x......x..x.....", "snare": "........X.......", "hat": "x.x.x.x.x.xxx.x."},
        {"kick": "x.....x......x..", "clap": "........X.......", "hat": "xxx.x.x.xxx.xxxx"},
        {
            "kick": "x..x......x...x.",
            "snare": "........X.......",
            "hat": "x.x.xxxxx.x.x.xx",
            "open": "..............x.",
        },
    ),
    "ballad": (
        {"kick": "x.......x.......", "snare": "....X.......X...", "hat": _EIGHTHS},
        {"kick": "x.....x.........", "rim": "....X.......X...", "hat": "xoxoxoxoxoxoxoxo"},
        {"kick": "x.......x.......", "rim": "....x.......x...", "shaker": _SIXTEENTHS},
    ),
    "brushes": (
        {"kick": "x.......x.......", "snare": "o.o.X.o.o.o.X.o.", "hat": "....x.......x..."},
        {"kick": "o.......o.......", "snare": "ooooXoooooooXooo"},
    ),
    "folk": (
        {"kick": "x...x...x...x...", "tambourine": "....x.......x..."},
        {"kick": "x.......x.......", "shaker": _SIXTEENTHS, "clap": "....x.......x..."},
        {"kick": "x.......x.......", "snare": "....x.......x...", "shaker": _EIGHTHS},
    ),
    "train": (
        {"kick": "x...x...x...x...", "snare": "oxXooxXooxXooxXo"},
        {"kick": "x...x...x...x...", "snare": "ooXoooXoooXoooXo", "hat": "..x...x...x...x."},
    ),
    "onedrop": (
        {"kick": "........X.......", "rim": "........X.......", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "........X.......", "snare": "........X.....o.", "hat": "x.xox.xox.xox.xo"},
    ),
    "steppers": (
        {"kick": "x...x...x...x...", "rim": "....x.......x...", "hat": "x.xox.xox.xox.xo"},
    ),
    "reggae": ({"kick": "x.......x.......", "rim": "....x.......x..x", "hat": "..x...x...x...x."},),
    "bossa": (
        {"kick": "x..xx..xx..xx..x", "rim": "x..x..x...x..x..", "hat": "xxxxxxxxxxxxxxxx"},
        {"kick": "x..xx..xx..xx..x", "rim": "..x..x...x..x...", "shaker": _SIXTEENTHS},
    ),
    "latin": (
        {
            "kick": "...x..x....x..x.",
            "conga_high": "..x...xx..x...x.",
            "conga_low": "......o.......xx",
            "clave": "x..x..x...x.x...",
            "cowbell": "x.x.x.x.x.x.x.x.",
        },
        {
            "kick": "x.....x.x.....x.",
            "timbale": "x.xx.xx.x.xx.xx.",
            "snare": "....X.......X...",
            "bongo_high": "x.x.x.x.x.x.x.x.",
            "bongo_low": "...............x",
        },
    ),
    "reggaeton": ({"kick": "x...x...x...x...", "snare": "...x..x....x..x.", "hat": _EIGHTHS},),
    "samba": (
        {
            "kick": "x..xx..xx..xx..x",
            "snare": "xoxxoxoxxoxxoxox",
            "shaker": _SIXTEENTHS,
            "agogo": "x.x..xx.x..x.x..",
        },
    ),
    "shuffle": (
        {"kick": "x.....x.....", "snare": "...X.....X..", "hat": "x.xx.xx.xx.x"},
        {"kick": "x....xx.....", "snare": "...X.....X.o", "hat": "x.xx.xx.xx.x"},
    ),
    "blues": (
        {"kick": "x..x..x..x..", "snare": "...X.....X..", "hat": "xxxxxxxxxxxx"},
        {"kick": "x.....x.....", "snare": "...X.....X..", "hat": "x.xx.xx.xx.x"},
    ),
    "swing": (
        {
            "kick": "o..o..o..o..",
            "snare": "..o.....o...",
            "ride": "x..x.xx..x.x",
            "pedal": "...x.....x..",
        },
        {
            "kick": "o.....o.....",
            "rim": ".........x..",
            "ride": "x..x.xx..x.x",
            "pedal": "...x.....x..",
        },
    ),
    "waltz": (
        {"kick": "x...........", "snare": "....x...x...", "hat": "x.x.x.x.x.x."},
        {"kick": "x.....x.....", "rim": "......x.....", "hat": "x.x.x.x.x.x."},
    ),
}

PERCUSSION: tuple[Groove, ...] = (
    {"shaker": _SIXTEENTHS},
    {"tambourine": "....x.......x..."},
    {"tambourine": "x.xxx.xxx.xxx.xx"},
    {"conga_high": "x..x..x...x.x...", "conga_low": "......x.......xx"},
    {"bongo_high": "x.x.x.x.x.x.x.x.", "bongo_low": "...x......x....x"},
    {"cowbell": "x...x...x...x..."},
    {"clap": "....x.......x..."},
    {"snap": "....x.......x..."},
    {"clave": "x..x..x...x.x..."},
    {"wood": "x..x.x..x..x.x.."},
    {"triangle": "..x...x...x...x."},
    {"agogo": "x.x..xx.x..x.x.."},
)

FILLS: tuple[Groove, ...] = (
    {"snare": "........xxxxxxxX"},
    {"snare": "........x.x.xxxX"},
    {"tom_high": "........xx......", "tom_mid": "..........xx....", "tom_low": "............xxxX"},
    {"snare": "....xxxx........", "tom_high": "........xxx.....", "tom_low": "...........xxxxX"},
    {"snare": "............xxxX"},
    {"tom_low": "............x.x.", "snare": ".............x.X"},
    {"kick": "x...............", "snare": "..............X."},
    {"snare": "............X.X.", "kick": "x............x.x"},
)
