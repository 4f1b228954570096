"""Draws a recording (asciinema, version 2) as an animated SVG without scripts: `draw.py CAST SVG`.

The terminal is taken to be as tall as all that was printed; each state of each line is one text that
is visible for its time, and the whole moves up where a terminal would scroll. Where animation is
switched off, the last picture is shown.
"""

import json
import sys
from html import escape

import pyte

CELL, LINE, PAD, FONT = 8, 17, 12, 13
# Longer silences are cut to this, in seconds.
LONGEST_PAUSE = 3.0
REST = 4.0
COLOURS = {
    "default": "#d6deeb", "green": "#7fdb8a", "red": "#ef6b73", "brown": "#ffcb6b",
    "blue": "#82aaff", "magenta": "#c792ea", "cyan": "#7fdbca", "white": "#ffffff",
}
# Lines of a unified diff, which pyro prints without colours.
DIFF = {"+": COLOURS["green"], "-": COLOURS["red"]}


def main(cast, svg):
    with open(cast) as file:
        head, *lines = (json.loads(line) for line in file)
    states, scroll, length = follow(head, lines)
    with open(svg, "w") as file:
        file.write(picture(head, states, scroll, length))


def follow(head, events):
    """Each state of a line as `(row, from, to, markup)`, and `(time, rows scrolled)`."""
    screen = pyte.Screen(head["width"], 600)
    stream = pyte.Stream(screen)
    shown, states, scroll = {}, [], [(0.0, 0)]
    now = before = 0.0
    for at, kind, data in events:
        now += min(at - before, LONGEST_PAUSE)
        before = at
        if kind != "o":
            continue
        screen.dirty.clear()
        stream.feed(data)
        for row in sorted(screen.dirty):
            drawn = markup(screen, row)
            since, old = shown.get(row, (now, ""))
            if drawn == old:
                continue
            if old:
                states.append((row, since, now, old))
            shown[row] = (now, drawn)
        last = max([row for row, (_, drawn) in shown.items() if drawn] + [screen.cursor.y])
        rows = max(0, last + 1 - head["height"])
        if rows != scroll[-1][1]:
            scroll.append((now, rows))
    length = now + REST
    states += [(row, since, length, drawn) for row, (since, drawn) in shown.items() if drawn]
    return sorted(states), scroll, length


def markup(screen, row):
    """A line as `tspan`s of one colour each."""
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    text = "".join(cell.data for cell in cells).rstrip()
    if not text:
        return ""
    if text[0] in DIFF and not text.startswith(("---", "+++")):
        return f'<tspan fill="{DIFF[text[0]]}">{still(text)}</tspan>'
    parts, at = [], 0
    while at < len(text):
        end, look = at, (cells[at].fg, cells[at].bold)
        while end < len(text) and (cells[end].fg, cells[end].bold) == look:
            end += 1
        words = still(text[at:end])
        fill = COLOURS.get(look[0], COLOURS["default"])
        bold = ' font-weight="bold"' if look[1] else ""
        plain = fill == COLOURS["default"] and not bold
        parts.append(words if plain else f'<tspan fill="{fill}"{bold}>{words}</tspan>')
        at = end
    return "".join(parts)


def still(text):
    """Spaces that no renderer folds."""
    return escape(text, quote=False).replace(" ", "\u00a0")


def picture(head, states, scroll, length):
    width = round(head["width"] * CELL + 2 * PAD)
    height = head["height"] * LINE + 2 * PAD
    rules, names, texts = [], {}, []
    for row, since, until, drawn in states:
        name = names.get((since, until))
        if name is None:
            name = names[since, until] = f"s{len(names)}"
            rules.append(visible(name, since, until, length))
        texts.append(f'<text class="{name}" y="{(row + 1) * LINE - 4}">{drawn}</text>')
    steps = "".join(f"{at / length:.2%}{{transform:translateY({-rows * LINE}px)}}" for at, rows in scroll)
    rules.append(f"@keyframes up{{{steps}}}")
    rules.append(f".up{{transform:translateY({-scroll[-1][1] * LINE}px);animation-name:up}}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="{FONT}">\n'
        f"<title>{escape(head.get('title', ''))}</title>\n<style>\n"
        f"text,.up{{animation-duration:{length:.2f}s;animation-iteration-count:infinite;"
        "animation-timing-function:step-end}\n"
        "@media (prefers-reduced-motion:reduce){text,.up{animation:none!important}}\n"
        + "\n".join(rules)
        + f'\n</style>\n<rect width="{width}" height="{height}" rx="8" fill="#0f1720"/>\n'
        f'<svg x="{PAD}" y="{PAD}" width="{width - 2 * PAD}" height="{height - 2 * PAD}" '
        f'fill="{COLOURS["default"]}"><g class="up">\n' + "\n".join(texts) + "\n</g></svg>\n</svg>\n"
    )


def visible(name, since, until, length):
    """The rules that show a class from `since` to `until`; without animation, what stays to the end."""
    steps = f"0%{{opacity:0}}{since / length:.2%}{{opacity:1}}"
    if until < length:
        steps += f"{until / length:.2%},to{{opacity:0}}"
    else:
        steps += "to{opacity:1}"
    stays = 1 if until >= length else 0
    return f"@keyframes {name}{{{steps}}}.{name}{{opacity:{stays};animation-name:{name}}}"


main(*sys.argv[1:])
