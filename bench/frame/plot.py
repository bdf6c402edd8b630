"""Plots as SVG, drawn here: bars for a row with peers, a line for a series of ours."""

from html import escape
from math import floor, log10

WIDTH, LEFT, RIGHT, BAR = 760, 220, 150, 30
OURS, PEER, INK, FAINT = "#1a6fb5", "#b0b7bf", "#20262c", "#e3e6e9"


def _svg(height, title, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13" fill="{INK}">\n<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def bars(title, sides):
    """`sides`: (name, spread, whether it is ours). The bar is the median, the thin line goes from least to greatest."""
    most = max(values["max"] for _, values, _ in sides) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = []
    for index, (name, values, is_ours) in enumerate(sides):
        y = 46 + index * (BAR + 12)
        low, mid, high = (LEFT + values[at] * scale for at in ("min", "median", "max"))
        middle = y + BAR / 2
        parts += [
            f'<text x="{LEFT - 10}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{mid - LEFT:.1f}" height="{BAR}" fill="{OURS if is_ours else PEER}"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 5}v10M{high:.1f} {middle - 5}v10" stroke="{INK}"/>',
            f'<text x="{max(mid, high) + 8:.0f}" y="{middle + 4:.0f}">{values["median"]:,.0f}/s</text>',
        ]
    return _svg(60 + len(sides) * (BAR + 12), f"{title}: transfers/s", parts)


def line(title, what, points):
    """`points`: (x, spread); x by its logarithm."""
    height, bottom, top = 340, 290, 60
    least, most = log10(points[0][0]), log10(points[-1][0])
    peak = round_up(max(values["max"] for _, values in points))

    def place(x, y):
        across = (log10(x) - least) / (most - least) if most > least else 0.5
        return 90 + across * (WIDTH - 150), bottom - y / peak * (bottom - top)

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * (bottom - top)
        parts.append(f'<path d="M80 {y:.1f}H{WIDTH - 40}" stroke="{FAINT}"/>')
        parts.append(f'<text x="72" y="{y + 4:.1f}" text-anchor="end">{peak * share:,.{0 if peak >= 100 else 2}f}</text>')
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(x, values["median"]) for x, values in points))
    parts.append(f'<polyline points="{path}" fill="none" stroke="{OURS}" stroke-width="2"/>')
    for at, values in points:
        x, y = place(at, values["median"])
        low, high = place(at, values["min"])[1], place(at, values["max"])[1]
        parts += [
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{OURS}"/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{OURS}"/>',
            f'<text x="{x:.1f}" y="{bottom + 22}" text-anchor="middle">{at:,}</text>',
        ]
    return _svg(height, f"{title}: {what}", parts)


def round_up(value):
    """The next of 1, 2, 4 and 8 times a power of ten: a quarter of it is a round number too."""
    if value <= 0:
        return 1
    power = 10 ** floor(log10(value))
    return next(power * times for times in (1, 2, 4, 8, 10) if power * times >= value)


def all_plots(rows, names):
    """File names and their drawings."""
    plots, groups = {}, {}
    for row in rows:
        if "ours" not in row["digest"]:
            continue
        if "x" in row:
            groups.setdefault(row["group"], []).append(row)
        else:
            sides = [(names.get(who, who), side["per_s"], who == "ours") for who, side in row["digest"].items()]
            plots[f"{row['name']}.svg"] = bars(row["title"], sides)
    for group, members in groups.items():
        members.sort(key=lambda row: row["x"])
        if len(members) > 1:
            rate = [(row["x"], row["digest"]["ours"]["per_s"]) for row in members]
            cost = [(row["x"], row["digest"]["ours"]["cpu_us"]["all"]) for row in members]
            plots[f"{group}.svg"] = line(group, "transfers/s", rate)
            plots[f"{group}-cpu.svg"] = line(group, "CPU µs a transfer", cost)
    return plots
