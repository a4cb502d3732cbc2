#!/usr/bin/env python3
"""Scores choices of `pointsman replay --outcomes FILE --choices CHOICES` by the definitions in docs/outcomes.md, with nothing of
ours: only Python's standard library, and other ways to the same figures where there are any.

Usage: score-outcomes.py OUTCOMES CHOICES [RESAMPLES], which prints JSON.
"""
import json
import random
import sys


def read(outcomes, choices):
    """The answers by prompt and model, and the choices by setting and prompt."""
    answers, tasks, settings = {}, {}, {}
    for line in open(outcomes, encoding="utf-8"):
        a = json.loads(line)
        answers.setdefault(a["id"], {})[a["model"]] = (a["score"], a["cost_usd"])
        if "task" in a:
            tasks[a["id"]] = a["task"]
    models = sorted({m for by in answers.values() for m in by})
    answers = {i: by for i, by in answers.items() if len(by) == len(models)}
    for line in open(choices, encoding="utf-8"):
        c = json.loads(line)
        settings.setdefault(c["setting"], {})[c["id"]] = (c["score"], c["cost_usd"], c.get("model"))
    return models, answers, tasks, settings


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def mix(singles, cost):
    """The best accuracy at a cost of tossing between any two models, which no toss between more can exceed."""
    best = max((y for y, x in singles if x <= cost), default=min(singles, key=lambda s: (s[1], -s[0]))[0])
    for y1, x1 in singles:
        for y2, x2 in singles:
            if x1 <= cost <= x2 and x1 < x2:
                best = max(best, y1 + (y2 - y1) * (cost - x1) / (x2 - x1))
    return best


def joined(points, x):
    """The height at x of straight lines between points."""
    points = sorted({p[0]: max(q[1] for q in points if q[0] == p[0]) for p in points}.items())
    if x <= points[0][0]:
        return points[0][1]
    for (x1, y1), (x2, y2) in zip(points, points[1:]):
        if x <= x2:
            return y1 + (y2 - y1) * (x - x1) / (x2 - x1)
    return points[-1][1]


def area(height, corners, low, high):
    """The mean height between two places, of what is straight between the corners."""
    at = sorted({low, high} | {c for c in corners if low < c < high})
    return sum((b - a) * (height(a) + height(b)) / 2 for a, b in zip(at, at[1:])) / (high - low)


def first(points, y):
    """The first place where the lines between points reach a height."""
    points = sorted(points)
    for (x1, y1), (x2, y2) in zip(points, points[1:]):
        if y1 >= y:
            return x1
        if y2 >= y:
            return x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return None


def figures(models, answers, chosen, ids):
    """Of some prompts: each model, and one setting's choices, as (accuracy, cost)."""
    singles = {m: (mean(answers[i][m][0] for i in ids), mean(answers[i][m][1] for i in ids)) for m in models}
    return singles, (mean(chosen[i][0] for i in ids), mean(chosen[i][1] for i in ids))


def score(models, answers, tasks, settings, resamples):
    ids = list(answers)
    out = {"prompts": len(ids), "settings": {}, "tasks": {}}
    ways = {s: figures(models, answers, chosen, ids)[1] for s, chosen in settings.items()}
    singles = figures(models, answers, settings["as configured"], ids)[0]
    cheapest = min(models, key=lambda m: (singles[m][1], -singles[m][0]))
    strong = max(models, key=lambda m: (singles[m][0], -singles[m][1]))
    out["singles"], out["cheapest"], out["best_single"] = singles, cheapest, strong
    best = [max(answers[i].values(), key=lambda a: (a[0], -a[1])) for i in ids]
    out["oracle"] = (mean(b[0] for b in best), mean(b[1] for b in best))
    for s, (y, x) in ways.items():
        out["settings"][s] = {"accuracy": y, "cost": x, "random": mix(singles.values(), x)}
    for task in sorted({tasks[i] for i in ids}):
        part = [i for i in ids if tasks[i] == task]
        out["tasks"][task] = figures(models, answers, settings["as configured"], part)[1]
    ends = [(singles[m][1], singles[m][0]) for m in (cheapest, strong)]
    low, high = ends[0][0], ends[1][0]
    if low < high:
        points = ends + [(x, y) for y, x in ways.values()]
        out["area"] = area(lambda x: mix([(y, x) for x, y in points], x), [p[0] for p in points], low, high)
        out["random_area"] = area(lambda x: mix(singles.values(), x), [s[1] for s in singles.values()], low, high)
    if len(models) == 2:
        weak = next(m for m in models if m != strong)
        gap = singles[strong][0] - singles[weak][0]
        points = [(0, 0), (1, 1)]
        for s, chosen in settings.items():
            share = mean(chosen[i][2] == strong for i in ids)
            if share not in (0, 1):  # there it is the one model or the other
                points.append((share, (ways[s][0] - singles[weak][0]) / gap))
        out["apgr"] = area(lambda x: joined(points, x), [p[0] for p in points], 0, 1)
        out["cpt50"], out["cpt80"] = first(points, 0.5), first(points, 0.8)
    toss = random.Random(20240626)
    samples = []
    for _ in range(resamples):
        drawn = toss.choices(ids, k=len(ids))
        some, (y, x) = figures(models, answers, settings["as configured"], drawn)
        samples.append((y, x, y - mix(some.values(), x)))
    for n, name in enumerate(["accuracy", "cost", "gain"]):
        values = sorted(s[n] for s in samples)
        if values:
            out[name + "_interval"] = (values[int(0.025 * len(values))], values[int(0.975 * len(values))])
    return out


if __name__ == "__main__":
    print(json.dumps(score(*read(*sys.argv[1:3]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)))
